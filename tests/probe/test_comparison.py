"""``equidyn compare``: pairs structures where it can, and says what it cannot tell."""

import csv
import json

import ase.io
import numpy as np
import pytest
from probe.stand_ins import frames
from probe.test_command import CALCULATOR, LABELS, run

from equidyn import cli
from equidyn.errors import DataError
from equidyn.probe.comparison import compare, verdict
from equidyn.results.columns import DECOMPOSITION
from equidyn.results.tables import write_table


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The stretched model twice, with other rotations, and the exact one."""
    file, made = tmp_path_factory.mktemp("structures") / "test.extxyz", {}
    ase.io.write(file, frames(45))
    for name, more in (("a", ()), ("b", ("--seed", 1)), ("exact", ("--kwargs", '{"stretch": false}'))):
        made[name] = tmp_path_factory.mktemp(name)
        asked = ("--calculator", CALCULATOR, "--structures", file, *LABELS, "--rotations", 4)
        assert run(*asked, "--out", made[name], *more) == 0
    return made


def test_the_same_structures_are_paired(folders):
    change = next(c for c in compare(folders["a"], folders["exact"]) if "forces" in c.what)
    assert change.paired and change.verdict == "less than before" and change.ratio < 1e-20
    assert change.difference == pytest.approx(-change.first) and change.difference_hi < 0
    rows = {r["quantity"]: r for r in csv.DictReader(open(folders["a"] / "decomposition.csv"))}
    half = (float(rows["forces"]["percent_hi"]) - float(rows["forces"]["percent_lo"])) / 2
    assert change.difference_hi - change.difference == pytest.approx(half)  # the second has no scatter


def test_other_rotations_are_no_difference(folders):
    change = next(c for c in compare(folders["a"], folders["b"]) if "forces" in c.what)
    assert change.paired and change.verdict == "no difference shown"
    assert change.difference_lo < 0 < change.difference_hi
    same = next(c for c in compare(folders["a"], folders["a"]) if "forces" in c.what)
    assert same.difference == same.difference_lo == 0 and same.ratio == 1


def test_the_command_prints_and_says_what_was_not_alike(folders, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["compare", str(folders["a"]), str(folders["b"]), "--out", str(tmp_path / "c.csv")])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "note: seed: 0 and 1" in shown and "(paired)" in shown
    assert len(list(csv.DictReader(open(tmp_path / "c.csv")))) == 2


def row(run_name, step, percent, half=0.1, **more):
    values = dict.fromkeys(DECOMPOSITION, 1.0) | dict(run=run_name, task="forces", step=step, condition="")
    values |= dict(items="held-out", weights="live", rotations="haar", loss="mse", baseline="zero")
    return values | dict(percent=percent, percent_lo=percent - half, percent_hi=percent + half) | more


def test_folders_of_workflow_results(tmp_path):
    for name, last in (("old", 3.0), ("new", 1.0)):
        for run_name, percent in (("forces", last), ("flow", 2.0)):
            rows = [row(run_name, 0, 50.0), row(run_name, 10, percent), row(run_name, 10, 9.0, weights="ema")]
            rows.append(row(run_name, 10, 7.0, items="training"))
            path = tmp_path / name / "runs" / run_name / "decomposition.csv"
            path.parent.mkdir(parents=True)
            write_table(path, rows, list(DECOMPOSITION))
    found = compare(tmp_path / "old", tmp_path / "new")
    assert len(found) == 2  # held-out items and live weights alone
    changes = {change.what.split(",")[0]: change for change in found}
    assert set(changes) == {"forces", "flow"} and not changes["forces"].paired
    assert (
        changes["forces"].verdict == "less than before" and changes["flow"].verdict == "no difference shown"
    )
    half = (changes["forces"].difference_hi - changes["forces"].difference_lo) / 2
    assert half == pytest.approx(0.1 * np.sqrt(2))


def test_nothing_to_compare(folders, tmp_path):
    with pytest.raises(DataError, match="no decomposition.csv there or under runs/"):
        compare(folders["a"], tmp_path)
    (tmp_path / "decomposition.csv").write_text(
        (folders["a"] / "decomposition.csv").read_text().replace("haar", "x")
    )
    with pytest.raises(DataError, match="no row in common"):
        compare(folders["a"], tmp_path)
    assert verdict(float("nan"), float("nan")) == "no interval"
    assert json.loads((folders["a"] / "summary.json").read_text())["n_rotations"] == 4
