# Names, folders and helpers shared by all rules.
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

# also where another workflow includes this one
ROOT = Path(str(workflow.current_basedir)).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

from equidyn import config as equidyn_config
from equidyn.download.table import names as names_of_downloads
from equidyn.errors import ConfigError, DataError
from equidyn.figures.catalogue import DYNAMICS, HEAD, figures_of
from equidyn.cost.requests import requests
from equidyn.declarations import own_models, own_tasks
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
    for file in workflow.configfiles:  # Snakemake keeps the last of two equal keys
        equidyn_config.read(file)
    equidyn_config.validate(config)
    config, POINTS = equidyn_config.expand(config)
    DOWNLOADABLE = names_of_downloads(TABLE)
    equidyn_config.check_downloads(config, DOWNLOADABLE)
except (ConfigError, DataError) as error:
    raise WorkflowError(str(error)) from None

OTHER = (
    [] if config["name"] == "default" else [config["name"]]
)  # other configs never overwrite the default's results
RESULTS, LOGS = (os.path.join(folder, *OTHER) for folder in ("results", "logs"))
BENCHMARKS = os.path.join("benchmarks", "results", config["name"])
EXTENSIONS = config.get("extensions", [])
TASKS = equidyn_config.declared_tasks(config)
RUNS, DATASETS = sorted(config["runs"]), sorted(config["datasets"])
RUNS_OF = {
    task: [run for run in RUNS if config["runs"][run]["task"] == task] for task in TASKS
}


DYNAMIC_RUNS = [
    run for run in RUNS if "dynamics" in equidyn_config.resolve_run(config, run)
]
HEAD_RUNS = [
    run
    for run in DYNAMIC_RUNS
    if equidyn_config.resolve_run(config, run)["model"].get("architecture") == "escaip"
]
# Runs that figures of single runs show: those written out, or the references of a matrix alone; its many appear in the figures of its axes.
REFERENCES = {point["reference"] for point in POINTS.values()}
SHOWN_OF = {
    task: [run for run in runs if run not in POINTS]
    or [run for run in runs if run in REFERENCES]
    for task, runs in RUNS_OF.items()
}

# What tasks declare beside the decomposition, of the runs that are shown.
TABLES_OF_TASKS = [
    f"{RESULTS}/runs/{run}/{table}"
    for name, task in TASKS.items()
    for run in SHOWN_OF[name]
    for table in task.tables
]


# Runs that are compared at equal training time, by task, each once.
COMPARISONS = config.get("comparisons", {})
COMPARED = {}
for comparison in COMPARISONS.values():
    for run in equidyn_config.members_of(comparison):
        of_task = COMPARED.setdefault(config["runs"][run]["task"], [])
        of_task += [run] if run not in of_task else []


wildcard_constraints:
    entry="|".join(DOWNLOADABLE),
    run="|".join(RUNS),
    dataset="|".join(DATASETS),
    task="|".join(TASKS),
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
    files = [settings[key] for key in ("molecules", "chains") if key in settings]
    files += [f"{RESULTS}/data/{settings['of']}.h5"] if "of" in settings else []
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


def measured_jobs():
    """Benchmark files that there are, and the estimate, with when they were written: they are no inputs of what gathers them."""
    files = [
        *sorted(Path(BENCHMARKS).rglob("*.tsv")),
        *Path(RESULTS).glob("estimate.csv"),
    ]
    return [f"{file} {file.stat().st_mtime_ns}" for file in files]


def dataset_of(wildcards):
    return f"{RESULTS}/data/{config['runs'][wildcards.run]['dataset']}.h5"


def grids_of(wildcards):
    """The held-out grids that a run is measured on, where its task declares that it has them."""
    run = config["runs"][wildcards.run]
    wanted = TASKS[run["task"]].grids
    return [f"{RESULTS}/data/{run['dataset']}/grids.h5"] if wanted else []


def grids_option(wildcards, input):
    """How a step is told of them."""
    return f"--grids {input.grids}" if input.grids else ""


def gpus(wildcards):
    """One where the config insists on CUDA, so that ``--resources gpu=N`` limits the jobs that run at once."""
    return int(config.get("device", "auto") == "cuda")


def requested(step, what):
    """Memory in MB or minutes that a step of a run asks a cluster for: from the estimate, where there is one."""

    def request(wildcards, attempt):
        device, n = config.get("device", "auto"), processes_of(wildcards)
        estimate = f"{RESULTS}/estimate.csv"
        return requests(estimate, wildcards.run, step, device, n, attempt)[what]

    return request


def gpus_of_processes(wildcards):
    """One for each process of a job that several share."""
    return gpus(wildcards) * processes_of(wildcards)


def processes_of(wildcards):
    """Processes that share a run's training and measuring."""
    settings = equidyn_config.resolve_run(config, wildcards.run)
    return settings["training"].get("processes", 1)


def launcher(wildcards):
    n = processes_of(wildcards)
    return (
        "python"
        if n == 1
        else f"python -m torch.distributed.run --standalone --nproc-per-node {n}"
    )


def run_code(script):
    """Digest of a step together with the task and the model of this package that it loads by name; files outside
    go with their digests in the settings.
    """

    def digest(wildcards):
        settings = equidyn_config.resolve_run(config, wildcards.run)
        loaded = [
            own_tasks().get(settings["task"]),
            own_models().get(settings["model"].get("architecture")),
        ]
        return code_digest(
            f"{SCRIPTS}/{script}", *(found.module for found in loaded if found)
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


def comparison_tables(wildcards):
    """Times of the tasks that are compared, and the table of the comparisons."""
    times = [f"{RESULTS}/timing-{task}.csv" for task in COMPARED]
    return [*times, f"{RESULTS}/efficiency.csv"] if times else []


def all_tables(wildcards):
    """What figures and claims are made from: asked for by name, so that a deleted one is made again, and what depends on it."""
    per_run = {"decomposition.csv": RUNS, "landscape.h5": DYNAMIC_RUNS}
    return [
        f"{RESULTS}/runs/{run}/{name}" for name, runs in per_run.items() for run in runs
    ] + [*TABLES_OF_TASKS, *dynamics_tables(wildcards), *comparison_tables(wildcards)]


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


def figures_of_task(task):
    """The figures of a task that has runs, by name."""
    shown = SHOWN_OF[task]
    varied = {
        key for run in RUNS_OF[task] if run in POINTS for key in POINTS[run]["axes"]
    }
    dynamic, head = (
        any(run in runs for run in shown) for runs in (DYNAMIC_RUNS, HEAD_RUNS)
    )
    asked = config.get("figures", [])
    return figures_of(task, dynamic, head, varied, EXTENSIONS, task in COMPARED, asked)


FIGURES = {task: figures_of_task(task) for task, runs in RUNS_OF.items() if runs}
DRAWN = [f"{task}-{name}" for task, figures in FIGURES.items() for name in figures]


def figure_of(wildcards):
    known = FIGURES.get(wildcards.task, {})
    if wildcards.figure not in known:
        raise WorkflowError(
            f"no figure {wildcards.task}-{wildcards.figure}, expected one of {', '.join(DRAWN)}"
        )
    return known[wildcards.figure]


def code_of_figure(wildcards):
    """Digest of what draws a figure: of a module of this package, or of a file outside it."""
    script, module = f"{SCRIPTS}/figure.py", figure_of(wildcards).module
    if module in EXTENSIONS:
        return f"{code_digest(script)} {code_digest(module)}"
    return code_digest(script, f"equidyn.figures.{module}")


def tables_of_figure(wildcards):
    """Tables of the runs that a figure shows: of an axis all of the matrix."""
    figure = figure_of(wildcards)
    runs = RUNS_OF if figure.axes or figure.comparisons else SHOWN_OF
    return expand(f"{RESULTS}/runs/{{run}}/decomposition.csv", run=runs[wildcards.task])


def extra_of_figure(wildcards):
    """Files that a figure needs beside the tables, of the runs that have them."""
    figure = figure_of(wildcards)
    if figure.comparisons:
        return [f"{RESULTS}/timing-{wildcards.task}.csv"]
    if figure.extra is None:
        return []
    runs = (RUNS_OF if figure.axes else SHOWN_OF)[wildcards.task]
    having = RUNS
    if figure.extra in DYNAMICS:
        having = HEAD_RUNS if figure.extra == HEAD else DYNAMIC_RUNS
    return [f"{RESULTS}/runs/{run}/{figure.extra}" for run in runs if run in having]


def comparisons_of(task):
    """The comparisons of a task, by name."""
    return {
        name: comparison
        for name, comparison in COMPARISONS.items()
        if config["runs"][comparison["agnostic"]]["task"] == task
    }


def asked_of_figure(wildcards):
    """What the config says of what a figure compares, as JSON. Apart from the files that it needs: Snakemake does not see a change of what is made of inputs."""
    figure = figure_of(wildcards)
    if figure.comparisons:
        asked = {"comparisons": comparisons_of(wildcards.task), "points": POINTS}
    elif figure.axes:
        asked = {"axes": list(figure.axes), "points": POINTS}
    else:
        return ""
    return json.dumps(asked, sort_keys=True)


def extra_arguments(wildcards, input):
    asked = asked_of_figure(wildcards)
    quoted = [shlex.quote(asked)] if asked else []
    more = " ".join([*quoted, *map(str, input.extra)])
    return f"--extra {more}" if more else ""


def timed(pattern):
    """A file of every run that the comparisons of a task name, in their order."""

    def files(wildcards):
        return [
            pattern.format(run=run, dataset=config["runs"][run]["dataset"])
            for run in COMPARED[wildcards.task]
        ]

    return files
