"""The workflow as a user runs it: whole DAG, reruns, kills, bad input, and a --use-conda run through a stub
conda.
"""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import labelled
import pytest
import yaml
from common import REPOSITORY

COPIED = ("Snakefile", "workflow", "config", "src", "resources", "envs", "profiles")


def checkout(folder: Path) -> Path:
    folder.mkdir()
    for name in COPIED:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / name)
    return folder


def snakemake(folder, *arguments, check=True, env=None):
    command = [
        sys.executable,
        "-m",
        "snakemake",
        "--cores",
        "2",
        "--max-jobs-per-timespan",
        "100/1s",  # the profile's own lets each run wait five seconds at its end
        "--configfile",
        "config/smoke.yaml",
        *arguments,
    ]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **(env or {})}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment, timeout=1500)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


def rules_to_run(folder) -> set[str]:
    done = snakemake(folder, "-n", "--quiet", "host")
    text = done.stdout + done.stderr
    return {
        line.split()[0]
        for line in text.splitlines()
        if len(line.split()) == 2
        and line.split()[1].isdigit()
        and line[0].isalpha()
        and line.split()[0] != "total"
    }


def table(path):
    return [
        {k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(open(path, newline=""))
    ]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished smoke run; tests that change it copy it first (timestamps kept)."""
    folder = checkout(tmp_path_factory.mktemp("smoke") / "clone")
    snakemake(folder)
    return folder


def copy_of(done, tmp_path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "copy", copy_function=shutil.copy2, symlinks=True))


def test_smoke_run_makes_everything(done):
    results = done / "results/smoke"
    for name in (
        "report.html",
        "claims.csv",
        "figures/forces-percent.svg",
        "figures/forces-losses.png",
        "figures/forces-plane.pdf",
        "figures/voxels-slices.png",
        "figures/forces-axis_data.png",
        "figures/forces-cost.png",
        "figures/flow-times.png",
        "figures/forces-head.png",
        "figures/flow-chains.png",
        "figures/forces-efficiency.png",
        "efficiency.csv",
    ):
        assert (results / name).stat().st_size > 500, name
    page = (results / "report.html").read_text()
    assert "held-out" in page and " object at 0x" not in page  # a name that a template takes for a method
    rows = table(results / "runs/forces/decomposition.csv")
    assert {(r["weights"], r["rotations"], r["loss"]) for r in rows} >= {
        ("live", "haar", "mse"),
        ("ema", "haar", "l2"),
        ("live", "cube", "mse"),
        ("live", "haar", "l2-plugin"),
    }
    spectra = table(results / "runs/forces/curvature.csv")
    steps = sorted({float(r["step"]) for r in spectra})
    found = [(float(r["step"]), r["block"]) for r in spectra if r["term"] == "twirled"]
    assert found == [*((step, "force.weight") for step in steps), (steps[-1], "magnitude.weight")]
    agnostic, fewer, tied = table(results / "efficiency.csv")
    assert (agnostic["role"], fewer["n_train"], tied["role"]) == ("agnostic", "20", "equivariant")
    assert float(tied["floors"]) < 10 < float(agnostic["floors"])
    assert rules_to_run(done) == set()


def test_bare_snakemake_names_jobs(tmp_path):
    folder = checkout(tmp_path / "bare")
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "-n"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0 and "decompose" in done.stdout + done.stderr


def test_a_plotting_edit_reruns_only_that_figure(done, tmp_path):
    folder = copy_of(done, tmp_path)
    with open(folder / "src/equidyn/figures/percent.py", "a") as file:
        file.write("\n# a comment changes nothing\n")
    assert rules_to_run(folder) == set()
    with open(folder / "src/equidyn/figures/percent.py", "a") as file:
        file.write("\nEXTRA = 1\n")
    assert rules_to_run(folder) == {"figure", "report_page", "all"}


def test_a_model_edit_reruns_only_its_runs(done, tmp_path):
    folder = copy_of(done, tmp_path)
    with open(folder / "src/equidyn/models/rawdir.py", "a") as file:
        file.write("\nEXTRA = 1\n")
    done_text = snakemake(folder, "-n").stdout
    assert "results/smoke/runs/forces-raw/model.pt" in done_text
    assert (
        "output: results/smoke/runs/forces/checkpoints" not in done_text and "rule dataset" not in done_text
    )


def test_tasks_models_readers_and_figures_from_outside_join_by_one_file_each(done, tmp_path):
    """Trained, measured, in claims, figures and report; a change in a file makes what hangs on it anew, and
    nothing else.
    """
    folder = copy_of(done, tmp_path)
    files = {"net": "my_net.py", "figure": "my_figure.py", "task": "my_task.py", "reader": "my_reader.py"}
    for name, file in files.items():
        shutil.copy(REPOSITORY / f"tests/extension_{name}.py", folder / file)
    (folder / "frames.jsonl").write_text("".join(json_lines()))
    config = yaml.safe_load((folder / "config/smoke.yaml").read_text())
    options = dict(hidden=8, layers=1, heads=2, n_gaussians=4, cutoff=4.0, n_neighbours=4)
    imported = {"import": "equidyn.models.rawdir:RawDirectionTransformer", "options": options}
    config["extensions"] = [*files.values()]
    config["datasets"]["lines"] = dict(source="json_lines", files=["frames.jsonl"], licence="x", n_held_out=2)
    training = {key: config["defaults"]["forces"]["training"][key] for key in COMMON}
    measure = dict(n_items=2, n_rotations=4, batch_size=2)
    model = {"architecture": "weighted", "size": "tiny"}
    config["defaults"]["centres"] = dict(model=model, training=training, measure=measure)
    run = {"task": "forces", "dataset": "molecules"}
    config["runs"]["forces-springs"] = {**run, "model": {"architecture": "springs", "size": "tiny"}}
    config["runs"]["forces-imported"] = {**run, "model": imported}
    config["runs"]["centres"] = {"task": "centres", "dataset": "lines"}
    comparison = {
        "agnostic": "forces-springs",
        "equivariant": ["forces-control"],
        "between": ["forces-imported"],
    }
    config["comparisons"] = {"toys": comparison}
    (folder / "config/smoke.yaml").write_text(json.dumps(config))  # JSON is YAML
    snakemake(folder, "--", "results/smoke/report.html", "estimate")
    page = (folder / "results/smoke/report.html").read_text()
    for name in ("forces-springs", "forces-imported", "centres"):
        rows = table(folder / f"results/smoke/runs/{name}/decomposition.csv")
        assert {r["run"] for r in rows} == {name} and name in page
        assert float(rows[-1]["equivariance"]) > 10 * float(rows[-1]["floor"])
    assert {r["baseline"] for r in rows} == {"half"} and {r["rotations"] for r in rows} == {"haar", "cube"}
    of_c2 = page.split('<section class="claim" id="C2">')[1].split("<section")[0]
    assert "Last total loss of every run" in of_c2 and "Total loss by step" in of_c2  # under the claim
    assert "Centres of charge" in page and "From the centre of the atoms" in page
    claims = table(folder / "results/smoke/claims.csv")
    assert [r["claim"] for r in claims if "centres" in r["place"]] == ["C2", "C10", "C11", "C11"]
    estimated = table(folder / "results/smoke/estimate.csv")
    assert any(r["name"] == "centres" and "not estimated" in r["basis"] for r in estimated)
    assert (folder / "results/smoke/figures/forces-last_total.svg").stat().st_size > 500
    assert "forces-springs over forces-control" in "".join(r["statement"] for r in claims)
    assert "forces-imported" in (folder / "results/smoke/figures/forces-efficiency.svg").read_text()

    def after_an_edit(file):
        with open(folder / file, "a") as opened:
            opened.write("\nEXTRA = 1\n")
        lines = [line.strip() for line in snakemake(folder, "-n").stdout.splitlines()]
        return "\n".join(line for line in lines if line.startswith("output:"))

    drawn, trained = "smoke/figures/forces-{}.svg", "runs/{}/model.pt"
    text = after_an_edit("my_figure.py")
    assert drawn.format("last_total") in text and drawn.format("percent") not in text
    text = after_an_edit("my_net.py")
    assert trained.format("forces-springs") in text and trained.format("forces-imported") not in text
    assert trained.format("centres") not in text and "data/lines.h5" not in text
    text = after_an_edit("my_task.py")
    assert trained.format("centres") in text and trained.format("forces-imported") not in text
    assert "smoke/data/lines.h5" in after_an_edit("my_reader.py")


COMMON = (
    "optimizer", "lr", "weight_decay", "warmup", "final_lr_fraction", "steps", "batch_size", "clip", "ema",
    "n_checkpoints", "log_every", "augment",
)  # fmt: skip


def json_lines():
    """Lines of what tests/extension_reader.py reads: 32 labelled structures of eight molecules."""
    for atoms in labelled.frames(32):
        yield (
            json.dumps(
                dict(
                    name=str(atoms.symbols),
                    numbers=atoms.numbers.tolist(),
                    positions=atoms.positions.tolist(),
                    forces=atoms.arrays["forces"].tolist(),
                    energy=atoms.info["energy"],
                )
            )
            + "\n"
        )


@pytest.mark.parametrize(
    "table, dependents",
    [
        ("runs/forces/gradients.csv", {"forces-gradients"}),
        ("runs/voxels-0.3/fields.h5", {"voxels-slices", "voxels-elements"}),
        (
            "runs/flow/decomposition.csv",
            {
                "flow-times",
                "flow-time_losses",
                "flow-final_times",
                "flow-chains",
                "flow-plane",
                "flow-cost",
            },
        ),
    ],
)
def test_deleting_a_table_reruns_what_depends_on_it(done, tmp_path, table, dependents):
    folder = copy_of(done, tmp_path)
    (folder / "results/smoke" / table).unlink()
    text = snakemake(folder, "-n").stdout
    drawn = {
        Path(word).stem
        for line in text.splitlines()
        if line.strip().startswith("output:")
        for word in line.replace(",", " ").split()
        if word.endswith(".svg")
    }
    assert drawn == dependents
    assert (
        ("rule claims:" in text) == table.endswith(".csv")
        and "rule train:" not in text
        and "rule dataset:" not in text
    )


def test_files_within_a_folder_are_inputs(tmp_path):
    """Not the folder: one of them replaced in place leaves the folder's own time as it was."""
    folder = checkout(tmp_path / "clone")
    config = yaml.safe_load((folder / "config/smoke.yaml").read_text())
    (folder / "chains/deep").mkdir(parents=True)
    (folder / "chains/deep/a.pdb").write_text("x")
    config["datasets"]["backbones"] = dict(
        source="structures",
        files=["chains"],
        licence="x",
        min_residues=5,
        max_residues=60,
        identity=0.5,
        n_held_out=8,
    )
    (folder / "config/smoke.yaml").write_text(yaml.safe_dump(config))
    text = snakemake(folder, "-n", "results/smoke/data/backbones.h5").stdout
    assert "chains/deep/a.pdb" in next(
        line for line in text.splitlines() if line.strip().startswith("input:") and "backbones" in line
    )


def test_other_settings_train_the_run_anew(done, tmp_path):
    folder = copy_of(done, tmp_path)
    config = folder / "config/smoke.yaml"
    config.write_text(config.read_text().replace("lr: 2.0e-3", "lr: 1.0e-3", 1))
    rules = rules_to_run(folder)
    assert "train" in rules and "decompose" in rules and "dataset" not in rules


def test_measuring_otherwise_trains_nothing(done, tmp_path):
    folder = copy_of(done, tmp_path)
    config = folder / "config/smoke.yaml"
    settings = yaml.safe_load(config.read_text())
    for task in settings["defaults"].values():
        task["measure"]["n_rotations"] += 1
    config.write_text(yaml.safe_dump(settings, sort_keys=False))
    rules = rules_to_run(folder)
    assert {"configure", "decompose", "claims"} <= rules and not {"train", "dataset"} & rules


def test_a_new_value_on_an_axis_trains_one_run(done, tmp_path):
    folder = copy_of(done, tmp_path)
    config = folder / "config/smoke.yaml"
    config.write_text(config.read_text().replace("training.n_train: [20]", "training.n_train: [20, 30]"))
    text = snakemake(folder, "-n").stdout
    assert (
        text.count("rule train:") == 1
        and "runs/forces-data-30/model.pt" in text
        and "rule dataset:" not in text
    )


def test_figures_are_redrawn_without_checkpoints(done, tmp_path):
    folder = copy_of(done, tmp_path)
    for path in (folder / "results/smoke/runs").glob("*/checkpoints"):
        shutil.rmtree(path)
    shutil.rmtree(folder / "results/smoke/figures")
    assert rules_to_run(folder) == {"figure", "report_page", "all"}
    snakemake(folder)
    assert (folder / "results/smoke/figures/forces-percent.png").exists()


def test_kills_leave_the_same_tables(done, tmp_path):
    """Driver or job killed at five random moments, then run to the end."""
    folder, chance = checkout(tmp_path / "killed"), random.Random(1)
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", "config/smoke.yaml"]
    runs = ("forces", "forces-raw", "forces-control", "flow")
    tables = [f"results/smoke/runs/{run}/decomposition.csv" for run in runs]
    for attempt in range(5):
        driver = subprocess.Popen(
            [*command, "--", *tables],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        time.sleep(chance.uniform(4, 14))
        jobs = subprocess.run(
            ["pgrep", "-f", "scripts/(train|dataset|decompose).py"], capture_output=True, text=True
        ).stdout.split()
        inside = [int(p) for p in jobs if _cwd(p) == str(folder)]
        if attempt % 2 and inside:
            os.kill(inside[0], signal.SIGKILL)  # a job only: the driver sees it fail and ends by itself
            driver.wait(timeout=600)
        else:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()
        subprocess.run([*command, "--unlock"], cwd=folder, capture_output=True, env=environment, check=True)
    snakemake(folder, "--", *tables)
    for name in tables:
        assert table(folder / name) == table(done / name), name


def _cwd(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def test_bad_config_and_bad_files_are_one_paragraph(done, tmp_path):
    folder = copy_of(done, tmp_path)
    bad = snakemake(folder, "-n", "--config", "seeed=1", check=False)
    said = bad.stdout + bad.stderr
    assert bad.returncode != 0 and "seeed" in said and "Traceback" not in said
    data = folder / "results/smoke/data/molecules.h5"
    data.write_bytes(data.read_bytes()[:5000])
    script = [
        sys.executable,
        "workflow/scripts/train.py",
        "--config",
        "results/smoke/runs/forces/training.yaml",
        "--data",
        str(data),
        "--out",
        "results/x",
    ]
    broken = subprocess.run(
        script,
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder / "src")},
    )
    assert broken.returncode == 1 and "molecules.h5" in broken.stderr and "Traceback" not in broken.stderr
    assert not (folder / "results/x/model.pt").exists()


def test_a_key_that_stands_twice_in_a_config_is_refused(tmp_path):
    folder = checkout(tmp_path / "clone")
    with open(folder / "config/smoke.yaml", "a") as file:
        file.write("\nseed: 3\n")
    bad = snakemake(folder, "-n", check=False)
    said = bad.stdout + bad.stderr
    assert bad.returncode != 0 and "smoke.yaml, line" in said and "key 'seed', which line" in said
    assert "Traceback" not in said


def test_lint():
    done = subprocess.run(
        [sys.executable, "-m", "snakemake", "--lint"], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_use_conda_through_a_stub(done, tmp_path):
    """A real --use-conda run of one figure, in an environment of the stub's making.

    conda itself is not tested.
    """
    folder, prefix = copy_of(done, tmp_path), tmp_path / "stub"
    (prefix / "bin").mkdir(parents=True)
    shutil.copy(REPOSITORY / "tests/workflow/stub_conda.py", prefix / "bin/conda")
    (prefix / "bin/conda").write_text(f"#!{sys.executable}\n" + (prefix / "bin/conda").read_text())
    (prefix / "bin/conda").chmod(0o755)
    (prefix / "bin/activate").write_text('export CONDA_PREFIX="$1"; export PATH="$1/bin:$PATH"\n')
    (folder / "results/smoke/figures/forces-percent.png").unlink()
    path = f"{prefix}/bin:{Path(sys.executable).parent}:{os.environ['PATH']}"
    snakemake(
        folder,
        "--use-conda",
        "--rerun-triggers",
        "mtime",  # the environment is new to all jobs, and one of them is enough
        "--",
        "results/smoke/figures/forces-percent.png",
        env={"PATH": path, "STUB_CONDA_PREFIX": str(prefix), "STUB_CONDA_PYTHON": sys.executable},
    )
    assert (folder / "results/smoke/figures/forces-percent.png").exists()
    assert list((folder / ".snakemake/conda").glob("*_/stub-environment"))
