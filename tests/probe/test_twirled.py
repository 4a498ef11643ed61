"""Averages over rotations: again a model or a calculator, and the loss that they are expected to have."""

import csv
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
from equidyn.symmetry.actions import Fixed, Scalar, Vector
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


def test_the_whole_cube_leaves_the_twirled_error():
    given = dict(rotations=24, group="cube", forces_key="REF_forces")
    found = equidyn.measure_calculator(Springs(stretched), frames(9), **given)
    last = averaging.table(found, order=24)[-1]
    assert last.n == 24 and last.total == pytest.approx(found["forces"].twirled, rel=1e-12) == last.expected


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
