"""What a result prints, writes and draws; its columns are those of the workflow where they mean the same."""

import csv
import importlib.util
import math

import numpy as np
import pytest
from probe.stand_ins import Springs, frames, stretched

import equidyn
from equidyn.errors import MissingPackageError
from equidyn.probe import rows, verdicts
from equidyn.results.columns import DECOMPOSITION
from equidyn.symmetry import groups

OWN = {  # columns that tables of runs do not have
    "quantity", "unit", "equivariance_lo", "equivariance_hi", "rms", "size", "spread", "floor_repeats",
    "floor_translations", "floor_permutations", "floor_rounding", "n_clusters", "verdict",
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    labels = dict(forces_key="REF_forces", energy_key="REF_energy")
    return equidyn.measure_calculator(Springs(stretched), frames(18), rotations=4, **labels)


def test_columns_are_those_of_runs_or_new():
    assert set(rows.COLUMNS) - OWN <= set(DECOMPOSITION)
    assert not OWN & set(DECOMPOSITION)


def test_a_floor_is_never_less_than_that_of_float64():
    values = dict(size=4.0, spread=4.0, floor_rounding=math.nan, floor_repeats=math.nan)
    values |= dict(floor_translations=math.nan, floor_permutations=math.nan)
    assert rows._floor(values) == 4 * 2.0**-104
    assert rows._floor(values | dict(floor_rounding=1e-20, floor_translations=1e-19)) == 1e-19
    assert rows._floor(values | dict(floor_rounding=1e-20, floor_translations=1e-17)) == 1e-20
    assert rows._floor(values | dict(floor_rounding=1e-20, floor_permutations=1e-5)) == 1e-20


MEASURED = dict(size=1.0, spread=1.0, floor=0.0, floor_repeats=0.0, equivariance=0.02, total=1.0)
MEASURED |= dict(zero_loss=2.0, baseline_ratio=0.5, baseline_ratio_hi=0.6)


@pytest.mark.parametrize(
    "percent, more, expected, passes",
    [
        ((1.0, 0.5, 2.0), {}, "at most 2 %", True),
        ((1.9, 1.7, 2.1), {}, "inconclusive: the interval includes 2 %", False),
        ((2.1, 1.9, 2.3), {}, "inconclusive: the interval includes 2 %", False),
        ((3.0, 2.1, 3.9), {}, "above 2 %", False),
        ((1.0, 0.5, 1.5), dict(baseline_ratio=0.85, baseline_ratio_hi=0.95), verdicts.UNLEARNED, False),
        ((1.0, 0.5, 1.5), dict(baseline_ratio_hi=math.nan), verdicts.UNLEARNED, False),
        ((1.0, math.nan, math.nan), {}, verdicts.NO_INTERVAL, False),
        ((3.0, 2.1, 3.9), dict(floor=0.0021), verdicts.AT_FLOOR, True),  # within ten floors
        ((3.0, 2.1, 3.9), dict(floor=0.0019), "above 2 %", False),
    ],
)
def test_a_share_is_judged_by_its_whole_interval(percent, more, expected, passes):
    """As is what was learned: by the upper end of its ratio to a baseline."""
    row = MEASURED | dict(zip(("percent", "percent_lo", "percent_hi"), percent)) | more
    judged = verdicts.verdict(row, 2.0)
    assert judged == expected and verdicts.passes(judged) == passes


def test_an_error_is_told_as_its_root_in_the_unit_and_as_a_share_of_the_prediction(found):
    row = found["forces"]
    assert row.rms == pytest.approx(math.sqrt(row.equivariance))
    share = math.sqrt(row.equivariance / row.size)
    assert f"{row.rms:.3g} eV/Å, {100 * share:.3g} % of the prediction" in str(row)


def test_a_row_is_a_readable_line(found):
    energy, forces = str(found).splitlines()
    assert energy.startswith("energy: exact (at the floor). r.m.s. equivariance error")
    assert " of the loss" in forces and "eV/Å" in forces and forces.startswith("forces: above 2 %")
    assert found["forces"] is found.rows[1] and list(found) == found.rows


def test_tables_read_back_exactly(found, tmp_path):
    found.to_csv(tmp_path / "rows.csv")
    found.items_to_csv(tmp_path / "items.csv")
    lines = list(csv.DictReader(open(tmp_path / "rows.csv")))
    assert [float(row["percent"]) for row in lines] == [row.percent for row in found]
    items = [r for r in csv.DictReader(open(tmp_path / "items.csv")) if r["quantity"] == "forces"]
    sizes = np.array([float(r["n_atoms"]) for r in items])
    mean = np.array([float(r["equivariance"]) for r in items]) @ sizes / sizes.sum()
    assert len(items) == 18 and math.isclose(mean, found["forces"].equivariance, rel_tol=1e-12)
    total = np.array([float(r["total"]) for r in items])
    assert math.isclose(total @ sizes / sizes.sum(), found["forces"].total, rel_tol=1e-12)
    percent = [100 * float(r["equivariance"]) / float(r["total"]) for r in items]
    assert [float(r["percent"]) for r in items] == pytest.approx(percent)


def test_the_worst_pose_can_be_seen_again(found):
    from equidyn.probe import calculators

    record = max(found.records, key=lambda r: r.quantities["forces"]["worst"])
    rotation = np.reshape(record.quantities["forces"]["worst_rotation"], (3, 3))
    assert np.allclose(rotation @ rotation.T, np.eye(3))
    atoms = frames(18)[record.index]
    poses = groups.draw_per_item("haar", 4, 18, 0)[0][:, record.index].numpy()
    back = [
        calculators.evaluate(Springs(stretched), calculators.turned(atoms, R), ["forces"])["forces"] @ R
        for R in (rotation, *poses)
    ]
    far = [np.sqrt(((one - np.mean(back[1:], 0)) ** 2).mean()) for one in back]
    assert far[0] == pytest.approx(max(far[1:])) == record.quantities["forces"]["worst"] > 1.2 * min(far)


def test_a_figure_is_written(found, tmp_path):
    figure = found.plot(tmp_path / "equivariance.png")
    assert (tmp_path / "equivariance.png").read_bytes().startswith(b"\x89PNG")
    assert [axis.get_title() for axis in figure.axes] == [
        "energy: exact (at the floor)",
        f"forces: {found['forces'].verdict.split(':')[0]}",
    ]


@pytest.mark.skipif(importlib.util.find_spec("pandas") is not None, reason="pandas is installed")
def test_without_pandas_one_sentence_says_so(found):
    with pytest.raises(MissingPackageError, match="pandas"):
        found.to_frame()


@pytest.mark.skipif(importlib.util.find_spec("pandas") is None, reason="pandas is not installed")
def test_a_frame_has_the_columns(found):
    assert list(found.to_frame().columns) == rows.COLUMNS
