"""Averages over rotations: again a model or a calculator, and the loss that they are expected to have."""

import csv
import itertools
import math

import ase.io
import numpy as np
import pytest
import torch
from probe import my_net
from probe.stand_ins import STRETCH, Springs, crystal, frames, stretched
from probe.test_command import CALCULATOR, LABELS, run

import equidyn
from equidyn.errors import EquidynError
from equidyn.probe import averaging
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Scalar, Vector
from equidyn.symmetry.decomposition import ratio_interval
from equidyn.symmetry.expected_loss import expected


def forces_of(calculator, atoms):
    atoms = atoms.copy()
    atoms.calc = calculator
    return atoms.get_forces()


def test_the_cube_makes_of_a_stretch_its_mean():
    twirled = equidyn.Twirled(Springs(stretched), "cube")
    for atoms in frames(3):
        plain = forces_of(Springs(), atoms)
        assert np.allclose(forces_of(twirled, atoms), plain * (1 + STRETCH / 3), rtol=1e-12, atol=1e-12)


def test_every_result_of_an_equivariant_calculator_is_as_before():
    atoms, plain = crystal(), crystal()
    atoms.calc, plain.calc = equidyn.Twirled(Springs(), 5), Springs()
    assert atoms.get_potential_energy() == pytest.approx(plain.get_potential_energy())
    assert np.allclose(atoms.get_forces(), plain.get_forces())
    assert np.allclose(atoms.get_stress(), plain.get_stress())
    assert np.allclose(atoms.get_dipole_moment(), plain.get_dipole_moment())


def test_an_average_of_a_whole_group_is_exact_under_that_group():
    twirled = equidyn.Twirled(Springs(stretched), "icosahedron")
    found = equidyn.measure_calculator(twirled, frames(3), rotations=3)
    assert found["forces"].verdict.startswith("exact")  # of degree 2, which the icosahedron averages exactly


def test_rotations_are_the_same_always_or_fresh():
    atoms = frames(1)[0]
    fixed, fresh = (equidyn.Twirled(Springs(stretched), 1, fresh=value) for value in (False, True))
    first, again, other = forces_of(fixed, atoms), forces_of(fixed, atoms), forces_of(fresh, atoms)
    fresh.reset()
    assert (first == again).all() and not np.allclose(forces_of(fresh, atoms), other)


def test_a_torch_model_stays_one():
    model = my_net.load().eval()
    twirled = equidyn.Twirled(model, 24, dict(x=Vector(), kind=Fixed()), Vector())
    assert len(list(twirled.parameters())) == len(list(model.parameters()))
    inputs, _ = my_net.items(6, 0)
    twirled(**inputs).sum().backward()
    assert model.inner.weight.grad is not None
    few, many = (
        equidyn.measure(
            equidyn.Twirled(model, n, dict(x=Vector(), kind=Fixed()), Vector()), my_net.heldout(), rotations=4
        )["output"].equivariance
        for n in (1, 24)
    )
    assert few / 60 < many < few / 5


def test_a_torch_model_may_change_its_inputs():
    """In place: each rotation begins with what was given."""

    def greedy(x, scale):
        scale *= 0.5
        return x * scale

    x, scale = torch.ones(2, 3), torch.ones(2, 1)
    model = equidyn.Twirled(greedy, 4, {"x": Vector(), "scale": Scalar()}, Vector())
    assert torch.allclose(model(x=x, scale=scale), x / 2) and (scale == 1).all()


def test_unknown_averages_are_refused():
    for bad in (dict(over=0), dict(over="sphere")):
        with pytest.raises(EquidynError, match="expected"):
            equidyn.Twirled(Springs(), **bad)
    with pytest.raises(EquidynError, match="how each field of the model turns"):
        equidyn.Twirled(torch.nn.Linear(3, 3))


def test_measured_losses_are_those_expected():
    def crooked(forces, atoms):
        return forces * np.array([0.8, 1.0, 1.3])

    found = equidyn.measure_calculator(Springs(crooked), frames(90), rotations=24, forces_key="REF_forces")
    lines = [line for line in averaging.table(found) if line.quantity == "forces"]
    assert [line.n for line in lines] == [1, 2, 4, 8, 24]
    assert lines[0].total == pytest.approx(found["forces"].total, rel=1e-12)
    for line in lines:
        assert line.total_lo < line.expected < line.total_hi
        assert line.total == pytest.approx(line.expected, rel=0.05)
    totals = [line.total for line in lines]
    assert totals == sorted(totals, reverse=True)
    assert lines[4].seconds == pytest.approx(24 * lines[0].seconds)


def test_the_table_has_intervals_over_clusters_and_excesses_over_the_twirled_error():
    how = dict(rotations=4, cluster_key="name", forces_key="REF_forces")
    found = equidyn.measure_calculator(Springs(stretched), frames(18), **how)
    sums = [record.quantities["forces"] for record in found.records]
    loss, count = (torch.tensor([one[k] for one in sums], dtype=torch.float64) for k in ("total", "count"))
    first = next(line for line in averaging.table(found) if line.quantity == "forces")
    names = np.unique([record.cluster for record in found.records], return_inverse=True)[1]
    expected = ratio_interval(loss, 100 * count, torch.from_numpy(names))[:3]
    assert len(set(names)) == 9 and (first.total, first.total_lo, first.total_hi) == pytest.approx(expected)
    assert first.excess == pytest.approx(found["forces"].equivariance / found["forces"].twirled)


def test_nodes_of_a_quadrature_are_no_random_averages():
    """The first n of them are no draw of n: no line says so."""
    found = equidyn.measure_calculator(Springs(), frames(2), quadrature="cube", forces_key="REF_forces")
    assert averaging.table(found) == []


def test_what_is_advised_is_enough_at_the_upper_end_of_the_interval():
    given = dict(rotations=2, forces_key="REF_forces")
    found = equidyn.measure_calculator(Springs(stretched), frames(9, noise=0.04), **given)
    row = found["forces"]
    low, high = (averaging.recommended(share / 100) for share in (row.percent, row.percent_hi))
    (line,) = [line for line in averaging.advice(found) if line.startswith("forces")]
    assert low < high and line.startswith(f"forces: mean over {high} ")


def test_an_average_is_not_over_the_poses_that_it_is_measured_in():
    """Its errors would be smaller there than elsewhere."""
    twirled = equidyn.Twirled(torch.nn.Linear(3, 3), 6, {"input": Vector()}, Vector(), seed=3)
    measured = groups.draw_per_item("haar", 6, 20, seed=3)[0].reshape(-1, 9)
    assert torch.cdist(twirled.draw().reshape(-1, 9), measured).min() > 1e-3


def test_the_whole_cube_leaves_the_twirled_error():
    given = dict(rotations=24, group="cube", forces_key="REF_forces")
    found = equidyn.measure_calculator(Springs(stretched), frames(9), **given)
    last = averaging.table(found, order=24)[-1]
    assert last.n == 24 and last.total == pytest.approx(found["forces"].twirled, rel=1e-12) == last.expected


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_the_loss_expected_of_a_part_of_a_group_is_that_of_all_its_parts(n):
    """Of a group of five: every mean over n of its elements, drawn without replacement."""
    values, target = np.array([0.3, -1.0, 2.0, 0.9, 4.0]), 0.5
    losses = [(np.mean(part) - target) ** 2 for part in itertools.combinations(values, n)]
    found = expected((values.mean() - target) ** 2, values.var(), n, 5)
    assert found == pytest.approx(np.mean(losses), rel=1e-12)


def test_what_is_recommended_keeps_the_tolerance():
    for share, tolerance in ((0.05, 0.01), (0.5, 0.1), (0.001, 0.01)):
        n = averaging.recommended(share, tolerance)
        twirled, equivariance = 1 - share, share
        assert expected(twirled, equivariance, n, None) <= twirled * (1 + tolerance) * (1 + 1e-12)
        assert n == 1 or expected(twirled, equivariance, n - 1, None) > twirled * (1 + tolerance)
    assert averaging.recommended(1.0) == 0


def test_the_command_writes_a_table_and_a_choice(tmp_path, capsys):
    ase.io.write(tmp_path / "test.extxyz", frames(18))
    asked = ("--calculator", CALCULATOR, "--structures", tmp_path / "test.extxyz", "--out", tmp_path / "out")
    assert run(*asked, *LABELS, "--rotations", 8, command="twirl") == 0
    shown = capsys.readouterr().out
    assert "forces, mean over 8: loss" in shown and "within 1 % of the whole average" in shown
    lines = list(csv.DictReader(open(tmp_path / "out/twirl.csv")))
    assert [line["n"] for line in lines] == ["1", "2", "4", "8"] and math.isfinite(float(lines[0]["total"]))
    assert run(*asked, command="twirl") == 2
    assert "needs reference labels" in capsys.readouterr().err
