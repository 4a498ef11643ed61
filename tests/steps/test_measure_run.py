"""A trained run through the same door: its table to the last digit, and as a calculator with units."""

import csv
import importlib
import shutil

import numpy as np
import pytest
import torch
import yaml
from common import TRAINING

import equidyn
from equidyn import cli
from equidyn.errors import ConfigError, DataError
from equidyn.steps.decompose import decompose
from equidyn.steps.measure_run import load_last, load_run, measure_run
from equidyn.steps.molecule import molecule
from equidyn.steps.run_calculator import calculator
from equidyn.steps.train import train
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Vector


@pytest.fixture(scope="module")
def run(dataset, tmp_path_factory):
    """A folder of results with one run of a few steps and its table."""
    results = tmp_path_factory.mktemp("results")
    (results / "data").mkdir()
    (results / "data/molecules.h5").symlink_to(dataset)
    folder = results / "runs/raw"
    folder.mkdir(parents=True)
    settings = dict(run="raw", task="forces", dataset="molecules", device="cpu", seed=0, training=TRAINING)
    settings |= dict(model=dict(architecture="rawdir", size="tiny"))
    settings |= dict(measure=dict(n_items=8, n_rotations=3, batch_size=3))
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    data = results / "data/molecules.h5"
    train(folder / "config.yaml", data, folder)
    decompose(folder / "config.yaml", data, folder / "checkpoints", folder / "decomposition.csv")
    return folder


def test_the_molecule_of_the_picture_is_a_held_out_one_with_its_twirl(run, tmp_path):
    molecule(run / "config.yaml", load_run(run)[1], run / "checkpoints", tmp_path / "molecule.csv")
    with open(tmp_path / "molecule.csv", newline="") as file:
        rows = [{k: v if k == "run" else float(v) for k, v in row.items()} for row in csv.DictReader(file)]
    loaded, step = load_last(run)
    task, model = loaded.task, loaded.model
    counts = [int(task.mask[item].sum()) for item in task.test]
    assert len(rows) in counts and {row["step"] for row in rows} == {step}

    def forces(name):
        return torch.tensor([[row[f"{name}_{axis}"] for axis in "xyz"] for row in rows])

    batches = task.held_out(model)
    batch = batches[len(batches) // 2][:1]
    assert torch.equal(forces("target"), batch.target[0, : len(rows)])
    turned = []
    for rotation in groups.cube().float():
        inputs = batch.inputs | dict(positions=batch.inputs["positions"] @ rotation.T)
        turned.append(task.predict(model, inputs)[0, : len(rows)] @ rotation)
    assert torch.allclose(forces("predicted"), turned[0], atol=1e-6)
    assert torch.allclose(forces("twirled"), torch.stack(turned).mean(0), atol=1e-5)
    assert not torch.allclose(forces("twirled"), forces("predicted"), atol=1e-3)
    figure = importlib.import_module("equidyn.figures.molecule").draw(
        [], [], [str(tmp_path / "molecule.csv")]
    )
    assert len(figure.axes) == 3


def test_a_missing_checkpoint_is_no_shorter_table(run, tmp_path):
    """Its last row would be another step, with what the last step alone is measured with."""
    folder, out = tmp_path / "checkpoints", tmp_path / "decomposition.csv"
    shutil.copytree(run / "checkpoints", folder)
    sorted(folder.glob("*.pt"))[-1].unlink()
    with pytest.raises(DataError, match=r"checkpoints of steps \[.*\], expected \[.*, 12\]; rerun .*train"):
        decompose(run / "config.yaml", load_run(run)[1], folder, out)
    assert not out.exists()


def test_the_table_comes_back_to_the_last_digit(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["measure", "--run", str(run), "--out", str(tmp_path / "again.csv")])
    shown = capsys.readouterr().out
    assert ended.value.code == 0 and "rows, to the last digit" in shown and "raw, step 12" in shown
    again = list(csv.DictReader(open(tmp_path / "again.csv")))
    kept = list(csv.DictReader(open(run / "decomposition.csv")))
    assert {row["loss"] for row in again} == {"mse", "l2", "l2-plugin"}
    for row in again:
        same = [k for k in kept if all(k[c] == row[c] for c in row if c != "seconds")]
        assert len(same) == 1


def test_symmetries_of_a_run_have_the_row_of_its_table(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["measure", "--run", str(run), "--symmetries", str(tmp_path / "s.csv")])
    assert ended.value.code == 0 and "raw, step 12, rotation (haar, 3): " in capsys.readouterr().out
    rows = {row["symmetry"]: row for row in csv.DictReader(open(tmp_path / "s.csv"))}
    wanted = dict(step="12", loss="mse", rotations="haar", items="held-out", weights="live")
    table = csv.DictReader(open(run / "decomposition.csv"))
    kept = next(row for row in table if all(row[name] == value for name, value in wanted.items()))
    for name in set(kept) & set(rows["rotation"]) - {"seconds", "floor"}:
        assert rows["rotation"][name] == kept[name], name
    exact = {name: row["exact"] for name, row in rows.items()}
    assert exact == dict(rotation="no", inversion="no", translation="yes", permutation="yes")


def test_averages_of_a_run(run, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["twirl", "--run", str(run), "--out", str(tmp_path / "t.csv")])
    assert ended.value.code == 0 and "raw, mean over 24: loss" in capsys.readouterr().out
    rows = list(csv.DictReader(open(tmp_path / "t.csv")))
    assert [row["n"] for row in rows] == ["1", "2", "4", "8", "24"]
    assert float(rows[-1]["total"]) < float(rows[0]["total"])


def test_symmetries_are_those_of_a_run(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["measure", "--symmetries", str(tmp_path / "s.csv")])
    assert ended.value.code == 2 and "expected --run with it" in capsys.readouterr().err


def test_a_changed_table_is_seen(run, tmp_path, capsys):
    text = (run / "decomposition.csv").read_text()
    row = [r for r in csv.DictReader(text.splitlines()) if r["step"] == "12" and r["loss"] == "mse"][0]
    (run / "decomposition.csv").write_text(text.replace(row["percent"], row["percent"] + "1"))
    try:
        measure_run(run)
        assert "differs in percent" in capsys.readouterr().out
    finally:
        (run / "decomposition.csv").write_text(text)


def test_a_checkpoint_is_a_calculator_with_units(run):
    from ase import Atoms

    made, (loaded, _) = calculator(str(run)), load_run(run)
    batch = loaded.task.held_out(loaded.model)[0]
    item = int(batch.inputs["mask"].sum(1).argmin())
    here = batch.inputs["mask"][item]
    atoms = Atoms(batch.inputs["numbers"][item][here].numpy(), batch.inputs["positions"][item][here].numpy())
    atoms.calc = made
    made_by_task = loaded.task.predict(made.model, {k: v[item : item + 1] for k, v in batch.inputs.items()})
    expected = made_by_task[0][here].detach().numpy()
    assert np.allclose(atoms.get_forces(), expected, atol=1e-4 * np.abs(expected).max())
    near = np.abs(loaded.task.energy.numpy() - atoms.get_potential_energy()).min()
    assert near < 5.0  # eV, of energies of hundreds
    assert np.ptp(loaded.task.energy.numpy()) > 100


def test_a_checkpoint_takes_many_structures_at_once(run):
    from ase.build import molecule

    made, given = calculator(str(run), double=True), [molecule(name) for name in ("CH4", "H2O", "CH3OH")]
    together = made.calculate_many(given)
    for atoms, found in zip(given, together):
        atoms.calc = made
        assert found["forces"].shape == (len(atoms), 3)
        assert np.allclose(found["forces"], atoms.get_forces(), rtol=1e-9, atol=1e-9)
        assert found["energy"] == pytest.approx(atoms.get_potential_energy(), rel=1e-12)


def test_a_periodic_structure_is_refused(run):
    from ase.build import bulk

    with pytest.raises(DataError, match="a periodic structure, expected molecules"):
        calculator(str(run)).calculate(bulk("Cu"))


def test_a_checkpoint_is_measured_like_any_calculator(run):
    from ase import Atoms

    loaded, _ = load_run(run)
    batches, frames = loaded.task.held_out(loaded.model), []
    for batch in batches:
        for item in range(len(batch)):
            here = batch.inputs["mask"][item]
            numbers, positions = (batch.inputs[n][item][here].numpy() for n in ("numbers", "positions"))
            atoms = Atoms(numbers, positions)
            atoms.arrays["F"] = batch.target[item][here].numpy()
            frames.append(atoms)
    found = equidyn.measure_calculator(calculator(str(run)), frames, rotations=3, forces_key="F")["forces"]
    heldout = equidyn.HeldOut(batches, loaded.task.actions, Vector(), loaded.task.predict)
    direct = equidyn.measure(calculator(str(run)).model, heldout, rotations=3)["output"]
    assert found.total == pytest.approx(direct.total, rel=1e-3)
    assert found.equivariance == pytest.approx(direct.equivariance, rel=0.02)  # neighbours are found anew


def test_what_is_no_run_is_said(tmp_path, run):
    with pytest.raises(DataError, match="no config.yaml there"):
        measure_run(tmp_path)
    with pytest.raises(DataError, match="no such dataset file"):
        measure_run(run, tmp_path / "x.h5")
    settings = yaml.safe_load((run / "config.yaml").read_text())
    other = run.parent / "flow"
    other.mkdir()
    (other / "config.yaml").write_text(yaml.safe_dump(settings | dict(task="none")))
    with pytest.raises(Exception, match="none"):
        calculator(str(other))
    assert issubclass(ConfigError, ValueError)
