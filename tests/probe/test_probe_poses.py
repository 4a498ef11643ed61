"""Which poses: quadratures, mirror images, special ones; and the error in parts."""

import csv

import numpy as np
import pytest
import torch
from probe import my_net
from probe.stand_ins import SHARE, Springs, crystal, frames, stretched
from probe.test_command import CALCULATOR, file, run  # noqa: F401

import equidyn
from equidyn.errors import EquidynError
from equidyn.probe import calculators, parts, verdicts
from equidyn.probe.poses import poses, special
from equidyn.symmetry import groups


def closed_form(given):
    plain = np.concatenate([calculators.evaluate(Springs(), a, ["forces"])["forces"] for a in given])
    return SHARE * (plain**2).mean()


@pytest.mark.parametrize("rule, n", [("icosahedron", 60), ("lebedev:5", 84), ("cube", 24)])
def test_a_quadrature_gives_the_closed_form_and_its_degree(rule, n):
    given = frames(4)
    found = equidyn.measure_calculator(Springs(stretched), given, quadrature=rule)
    row = found["forces"]
    assert row.equivariance == pytest.approx(closed_form(given), rel=1e-11)
    assert row.n_rotations == n and row.rotations == rule
    content = {
        p.part: p for p in parts.parts(found) if p.quantity == "forces" and p.kind in ("degree", "irrep")
    }
    if rule == "cube":
        assert content["E"].value + content["T2"].value == pytest.approx(row.equivariance, rel=1e-10)
    else:
        assert content["2"].value == pytest.approx(row.equivariance, rel=1e-9)
        assert abs(content["rest"].value) + abs(content["1"].value) < 1e-9 * row.equivariance


def test_random_poses_find_the_degree_within_its_interval():
    found = equidyn.measure_calculator(Springs(stretched), frames(90), rotations=8)
    row, content = found["forces"], {}
    for part in parts.parts(found):
        if part.quantity == "forces" and part.kind == "degree":
            content[part.part] = part
    assert sum(part.value for part in content.values()) == pytest.approx(row.equivariance, rel=1e-9)
    assert content["2"].value_lo < closed_form(frames(90)) < content["2"].value_hi
    assert content["2"].percent_lo < 100 < content["2"].percent_hi and content["2"].percent_lo > 70
    for name in ("1", "3", "4", "rest"):
        assert content[name].percent_lo < 0 < content[name].percent_hi, name


def test_what_differs_between_poses_grows_with_their_angle():
    found = equidyn.measure_calculator(Springs(stretched), frames(45), rotations=8)
    means = [p.value for p in parts.parts(found) if p.quantity == "forces" and p.kind == "angle"]
    assert means[0] < means[1] < means[2] and means[0] < 0.5 * closed_form(frames(45))


def handed(forces, atoms):
    """Equivariant under rotations, not under mirror images: forces gain a part across."""
    return forces + 0.2 * np.cross(atoms.positions - atoms.positions.mean(0), forces)


def test_mirror_images_find_what_rotations_do_not():
    asked = dict(rotations=6, quantities=("forces",))
    rotated = equidyn.measure_calculator(Springs(handed), frames(9), **asked)
    assert rotated["forces"].verdict == verdicts.AT_FLOOR
    mirrored = equidyn.measure_calculator(Springs(handed), frames(9), group="o3", **asked)
    assert mirrored["forces"].verdict == verdicts.UNLABELLED and mirrored["forces"].rotations == "haar-o3"
    content = {p.part: p.percent for p in parts.parts(mirrored) if p.kind == "degree"}
    assert content["0-"] == pytest.approx(100, abs=40)
    exact = equidyn.measure_calculator(Springs(handed), frames(9), group="o3", quadrature="cube", **asked)
    assert exact["forces"].n_rotations == 48 and exact["forces"].equivariance > 1e-6
    plain = equidyn.measure_calculator(Springs(handed), frames(9), quadrature="cube", **asked)
    assert plain["forces"].verdict == verdicts.AT_FLOOR


def upright_edge(forces, atoms):
    """Fails where the shortest bond lies along y, and nowhere else."""
    apart = atoms.positions[:, None] - atoms.positions[None]
    length = np.linalg.norm(apart, axis=-1) + np.diag(np.full(len(atoms), np.inf))
    bond = apart[np.unravel_index(length.argmin(), length.shape)]
    return forces * (1.5 if np.hypot(bond[0], bond[2]) < 1e-9 else 1.0)


def test_special_poses_find_what_random_ones_do_not():
    asked = dict(rotations=4, quantities=("forces",))
    given = frames(3, names=("CH3OH", "CH3CH2OH", "NH3"))
    random = equidyn.measure_calculator(Springs(upright_edge), given, **asked)
    assert random["forces"].verdict == verdicts.AT_FLOOR
    found = equidyn.measure_calculator(Springs(upright_edge), given, special_poses=True, **asked)
    assert found["forces"].verdict == verdicts.AT_FLOOR
    note = next(note for note in found.notes if "along an axis" in note)
    assert float(note.split("at most ")[1].split()[0]) > 0.01
    assert all(record.quantities["forces"]["special"] > 0.01 for record in found.records)


def test_special_poses_are_rotations_that_align_a_bond():
    positions = frames(1)[0].positions
    found = special(positions)
    assert torch.allclose(found @ found.mT, torch.eye(3, dtype=torch.float64), atol=1e-14)
    assert torch.allclose(torch.linalg.det(found), torch.ones(6, dtype=torch.float64))
    apart = positions[:, None] - positions[None]
    length = np.linalg.norm(apart, axis=-1) + np.diag(np.full(len(positions), np.inf))
    bond = apart[np.unravel_index(length.argmin(), length.shape)]
    turned = (found.numpy() @ bond) / np.linalg.norm(bond)
    assert np.allclose(sorted(map(tuple, turned.round(9))), sorted(map(tuple, [*np.eye(3), *-np.eye(3)])))
    assert special(np.zeros((1, 3))).shape == (6, 3, 3)
    assert torch.allclose(
        special(np.diag([0.0, 0.0, 1.0])[1:]).abs().sum((1, 2)), torch.full((6,), 3.0).double()
    )


def test_a_torch_model_takes_a_quadrature():
    model = my_net.train(steps=20)
    exact = equidyn.measure(model, my_net.heldout(), quadrature="lebedev:13")["output"]
    random = equidyn.measure(model, my_net.heldout(), rotations=32)["output"]
    assert random.equivariance == pytest.approx(exact.equivariance, rel=0.1)
    coarse = equidyn.measure(model, my_net.heldout(), quadrature="lebedev:9")["output"]
    assert coarse.equivariance == pytest.approx(exact.equivariance, rel=1e-3)
    probe = equidyn.Probe(my_net.heldout(), quadrature="cube")
    assert probe.forward_passes == 2 * 24 + 4 and probe.step(model, 0).n_rotations == 24


def test_a_quadrature_leaves_nothing_to_chance_in_the_variance_of_items():
    found = equidyn.measure_calculator(
        Springs(stretched), frames(9), quadrature="icosahedron", forces_key="REF_forces"
    )
    losses = [one.quantities["forces"]["total"] / one.quantities["forces"]["count"] for one in found.records]
    assert found["forces"].variance_items == pytest.approx(np.var(losses, ddof=1))


def test_draws_and_rules_that_do_not_fit():
    assert poses("cube", 24, 3, 0).order == 24 and poses("so3", 2, 3, 0).order is None
    assert (torch.linalg.det(poses("o3", 40, 5, 0).rotations) < 0).any()
    assert torch.equal(poses("so3", 4, 3, 0).rotations, groups.draw_per_item("haar", 4, 3, 0)[0])
    for bad in (("cube", "icosahedron"), ("so3", "sphere"), ("so2", "haar")):
        with pytest.raises(EquidynError, match="expected"):
            poses(bad[0], 4, 3, 0, bad[1])


def test_the_command_writes_parts(file, tmp_path):  # noqa: F811
    asked = ("--calculator", CALCULATOR, "--structures", file, "--out", tmp_path, "--limit", 6)
    assert run(*asked, "--quadrature", "icosahedron", "--special-poses") == 0
    read = [r for r in csv.DictReader(open(tmp_path / "parts.csv")) if r["quantity"] == "forces"]
    assert [row["part"] for row in read if row["kind"] == "degree"] == ["1", "2", "rest"]
    assert float(read[1]["percent"]) == pytest.approx(100.0)
    assert "Parts of the error" in (tmp_path / "report.html").read_text()


def test_the_error_by_element_and_by_distance_adds_up_to_the_whole():
    """The stretch of a force is of that force's atom: each element's part is its closed form."""
    given = frames(12, names=("CH3OH", "H2O"))
    found = equidyn.measure_calculator(Springs(stretched), given, rotations=24, group="cube")
    row, lines = found["forces"], [p for p in parts.parts(found) if p.quantity == "forces"]
    by_element = {p.part: p for p in lines if p.kind == "element"}
    assert set(by_element) == {"C", "H", "O"}
    for symbol, part in by_element.items():
        vectors = np.concatenate(
            [
                calculators.evaluate(Springs(), a, ["forces"])["forces"][
                    np.array(a.get_chemical_symbols()) == symbol
                ]
                for a in given
            ]
        )
        assert part.value == pytest.approx(SHARE * (vectors**2).mean(), rel=1e-10)
    for kind in ("element", "distance"):
        assert sum(p.percent for p in lines if p.kind == kind) == pytest.approx(100, rel=1e-10)
    nodes = equidyn.measure_calculator(Springs(stretched), given, quadrature="lebedev:5")  # of unequal weight
    for kind in ("element", "distance"):
        shares = [p.percent for p in parts.parts(nodes) if p.quantity == "forces" and p.kind == kind]
        assert sum(shares) == pytest.approx(100, rel=1e-10)
    shells = [p.part for p in lines if p.kind == "distance"]
    assert shells == sorted(shells) and shells[0] == "0-2 Å"
    periodic = equidyn.measure_calculator(Springs(stretched), [crystal()], rotations=4)
    assert {p.kind for p in parts.parts(periodic)} & {"element", "distance"} == {"element"}
    assert row.equivariance > 0
