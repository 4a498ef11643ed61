# Names, folders and helpers shared by all rules.
import json
import os
import shlex
import sys
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

ROOT = Path(workflow.basedir).resolve()
ROOT = ROOT if (ROOT / "src").is_dir() else ROOT.parent
sys.path.insert(0, str(ROOT / "src"))

from equidyn import config as equidyn_config
from equidyn.provenance import code_digest

# Jobs import the package from this checkout, also inside conda environments, where Snakemake unsets PYTHONPATH.
shell.prefix(
    f"set -euo pipefail; export PYTHONPATH={shlex.quote(str(ROOT / 'src'))} PYTHONUNBUFFERED=1 OMP_NUM_THREADS=1; "
)

HERE = os.path.relpath(ROOT)  # relative, so that moving a checkout changes no command
SCRIPTS = os.path.normpath(f"{HERE}/workflow/scripts")
DOWNLOADS = "downloads"
TABLE = os.path.normpath(f"{HERE}/resources/datasets.yaml")
LOCK = os.path.normpath(f"{HERE}/resources/datasets.lock.json")
PAPER = os.path.normpath(f"{HERE}/resources/paper_milestones.csv")

try:
    equidyn_config.validate(config, ROOT / "workflow/schemas/config.schema.json")
    config, POINTS = equidyn_config.expand(config)
except equidyn_config.ConfigError as error:
    raise WorkflowError(str(error)) from None

OTHER = (
    [] if config["name"] == "default" else [config["name"]]
)  # other configs never overwrite the default's results
RESULTS, LOGS, BENCHMARKS = (
    os.path.join(folder, *OTHER)
    for folder in ("results", "logs", os.path.join("benchmarks", "results"))
)
RUNS, DATASETS = sorted(config["runs"]), sorted(config["datasets"])
TASK_MODULES = {
    "forces": "equidyn.tasks.forces",
    "voxels": "equidyn.tasks.voxels",
    "flow": "equidyn.tasks.flow",
}
MODEL_MODULES = {
    "escaip": "equidyn.models.escaip",
    "rawdir": "equidyn.models.rawdir",
    "voxmol": "equidyn.models.voxmol",
    "proteina": "equidyn.models.proteina",
}
RUNS_OF = {
    task: [run for run in RUNS if config["runs"][run]["task"] == task]
    for task in TASK_MODULES
}


DYNAMIC_RUNS = [
    run for run in RUNS if "dynamics" in equidyn_config.resolve_run(config, run)
]
HEAD_RUNS = [
    run
    for run in DYNAMIC_RUNS
    if equidyn_config.resolve_run(config, run)["model"]["architecture"] == "escaip"
]
# Runs that figures of single runs show: those written out; the many of a matrix appear in the figure of its axes.
SHOWN_OF = {
    task: [run for run in runs if run not in POINTS] or runs
    for task, runs in RUNS_OF.items()
}


# read here without the package's own reader, whose imports a driver need not have; the job checks the table
DOWNLOADABLE = sorted(
    row["name"]
    for row in yaml.safe_load((ROOT / "resources/datasets.yaml").read_text())
)


wildcard_constraints:
    entry="|".join(DOWNLOADABLE),
    run="|".join(RUNS),
    dataset="|".join(DATASETS),
    task="|".join(TASK_MODULES),
    figure="[a-z_]+",


def settings_json(wildcards):
    """Resolved settings of the dataset, the run or its training, as JSON: plain, sorted, machine-independent."""
    if wildcards.kind == "data":
        settings = equidyn_config.resolve_dataset(config, wildcards.name)
    else:
        settings = equidyn_config.resolve_run(config, wildcards.name)
    if wildcards.part == "training":
        settings = equidyn_config.of_training(settings)
    return json.dumps(settings, sort_keys=True)


for name, settings in config["datasets"].items():
    for key in ("download", "held_out_download"):
        unknown = sorted(set(settings.get(key, [])) - set(DOWNLOADABLE))
        if unknown:
            raise WorkflowError(
                f"config, datasets.{name}.{key}: {unknown}, expected names of resources/datasets.yaml: {', '.join(DOWNLOADABLE)}"
            )


def contents(folder):
    """Files in a folder, of any depth, in order: Snakemake sees a change of one of them, not of the folder."""
    return sorted(
        os.path.join(place, name)
        for place, _, names in os.walk(folder)
        for name in names
    )


def dataset_inputs(wildcards):
    """Files that a dataset is made from; for downloads, the lists of checked files."""
    settings = config["datasets"][wildcards.dataset]
    files = [settings["molecules"]] if "molecules" in settings else []
    files += [settings["split_list"]["file"]] if "split_list" in settings else []
    for key in ("", "held_out_"):
        files += [
            name
            for given in settings.get(f"{key}files", [])
            for name in (contents(given) or [given])
        ]
        files += [
            f"{DOWNLOADS}/{entry}.json" for entry in settings.get(f"{key}download", [])
        ]
    return files


def made_datasets(wildcards):
    """Names and sizes of the dataset files that exist."""
    files = [Path(f"{RESULTS}/data/{name}.h5") for name in DATASETS]
    return [f"{file.name} {file.stat().st_size}" for file in files if file.is_file()]


def dataset_of(wildcards):
    return f"{RESULTS}/data/{config['runs'][wildcards.run]['dataset']}.h5"


def grids_of(wildcards):
    """The held-out grids that a run of the task voxels is measured on; nothing for other tasks."""
    run = config["runs"][wildcards.run]
    return (
        [f"{RESULTS}/data/{run['dataset']}/grids.h5"] if run["task"] == "voxels" else []
    )


def gpus(wildcards):
    """One where the config insists on CUDA, so that ``--resources gpu=N`` limits the jobs that run at once."""
    return int(config.get("device", "auto") == "cuda")


def run_code(script):
    """Digest of a step together with the task and the model that it loads by name."""

    def digest(wildcards):
        settings = equidyn_config.resolve_run(config, wildcards.run)
        return code_digest(
            f"{SCRIPTS}/{script}",
            TASK_MODULES[settings["task"]],
            MODEL_MODULES[settings["model"]["architecture"]],
        )

    return digest


def dynamics_tables(wildcards):
    """Gradient and curvature tables of the runs that declare ``dynamics``, and the head's where the model has a linear force head."""
    return [
        f"{RESULTS}/runs/{run}/{table}.csv"
        for run in DYNAMIC_RUNS
        for table in ("gradients", "curvature", "head")
        if table != "head" or run in HEAD_RUNS
    ]


def all_tables(wildcards):
    """What figures and claims are made from: asked for by name, so that a deleted one is made again, and what depends on it."""
    per_run = {
        "decomposition.csv": RUNS,
        "pictures.h5": SHOWN_OF["voxels"],
        "samples.csv": SHOWN_OF["flow"],
        "chirality.csv": SHOWN_OF["flow"],
        "landscape.h5": DYNAMIC_RUNS,
    }
    return [
        f"{RESULTS}/runs/{run}/{name}" for name, runs in per_run.items() for run in runs
    ] + dynamics_tables(wildcards)


def all_figures(wildcards):
    return expand(
        f"{RESULTS}/figures/{{figure}}.{{format}}",
        figure=DRAWN,
        format=["svg", "png", "pdf"],
    )


def folder_of_output(wildcards, output):
    return os.path.dirname(output[0])


def stem_of_output(wildcards, output):
    return os.path.splitext(output[0])[0]


def module_of(wildcards):
    """Module of equidyn.figures that draws a figure: its own name, but for those along an axis of the matrix."""
    return "axes" if wildcards.figure in AXIS_FIGURES else wildcards.figure


def tables_of_figure(wildcards):
    """Tables of the runs that a figure shows."""
    runs = RUNS_OF if wildcards.figure in AXIS_FIGURES else SHOWN_OF
    return expand(f"{RESULTS}/runs/{{run}}/decomposition.csv", run=runs[wildcards.task])


def extra_of_figure(wildcards):
    """Files that a figure needs beside the tables."""
    if wildcards.figure in AXIS_FIGURES:
        return expand(
            f"{RESULTS}/runs/{{run}}/summary.json", run=RUNS_OF[wildcards.task]
        )
    if wildcards.figure in DYNAMIC_FIGURES:
        name = DYNAMIC_FIGURES[wildcards.figure][0]
        runs = HEAD_RUNS if wildcards.figure == "head" else DYNAMIC_RUNS
    else:
        name, runs = EXTRA.get((wildcards.task, wildcards.figure)), RUNS
    shown = [run for run in SHOWN_OF[wildcards.task] if run in runs and name]
    return [f"{RESULTS}/runs/{run}/{name}" for run in shown]


def extra_arguments(wildcards, input):
    if wildcards.figure in AXIS_FIGURES:
        asked = {"axes": AXIS_FIGURES[wildcards.figure][0], "points": POINTS}
        return f"--extra {shlex.quote(json.dumps(asked, sort_keys=True))} {input.extra}"
    return f"--extra {input.extra}" if input.extra else ""
