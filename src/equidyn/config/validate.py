"""Everything that can be said of a config before anything runs."""

import math
import os

from equidyn.config.declared import (
    check_figures,
    declared_models,
    declared_sources,
    declared_tasks,
    fitting_sources,
)
from equidyn.config.matrix import expand, members_of
from equidyn.config.parse import check, keys_of, unknown_key
from equidyn.config.resolve import origin, resolve_run
from equidyn.config.sections import (
    CUBE_ORDER,
    RUNS,
    SETTINGS,
    Config,
    Measure,
    OutsideRun,
    OutsideSettings,
    Training,
)
from equidyn.config.sources import SOURCES, Outside
from equidyn.declarations import Model, Task
from equidyn.defaults import AVERAGE, COPIES, EQUIVARIANCE_PENALTY, EXECUTION, LABELS, PROCESSES
from equidyn.errors import ConfigError

KINDS = {bool: "true or false", str: "text", (int, float): "a number"}  # in this order: true is an int
RESOLVED = ("run", "device", "extension")  # what resolving adds to the keys of a run, or of its model


def validate(config: dict) -> None:
    """Check types, bounds, unknown keys, and that runs, those of the matrix included, have a dataset and a
    model that fit their task.

    Raises
    ------
    ConfigError
    """
    check(config, Config)
    if "runs" not in config and "matrix" not in config:
        raise ConfigError("config, top level: no key 'runs', expected runs, or a matrix of them")
    tasks, models = declared_tasks(config), declared_models(config)
    check_figures(config)
    _check_datasets(config)
    for task, settings in config.get("defaults", {}).items():
        if task not in tasks:
            raise ConfigError(f"config, defaults.{task}: expected one of {', '.join(tasks)}")
        check(settings, SETTINGS.get(task, OutsideSettings), f"defaults.{task}", partial=True)
        _check_own_keys(f"config, defaults.{task}", settings, tasks[task])
    _check_keys_of_runs(config, tasks)
    if "matrix" in config:
        config, _ = expand(config)
        _check_keys_of_runs(config, tasks)
    for name in config["runs"]:
        _check_run(config, name, tasks, models)
    for name, comparison in config.get("comparisons", {}).items():
        _check_comparison(config, f"config, comparisons.{name}", comparison)


def _check_datasets(config: dict) -> None:
    outside = declared_sources(config)
    for name, dataset in config["datasets"].items():
        place, source = f"datasets.{name}", dataset.get("source")
        if not isinstance(source, str) or (source not in SOURCES and source not in outside):
            known = ", ".join([*SOURCES, *outside])
            raise ConfigError(f"config, {place}.source: {source!r}, expected one of {known}")
        check(dataset, SOURCES.get(source, Outside), place)
        _check_files(f"config, {place}", dataset)
        _check_made(f"config, {place}", dataset)
        _check_turned(f"config, {place}", dataset, config["datasets"])


def _check_made(place: str, dataset: dict) -> None:
    """Molecules of which some are held out: more than that."""
    n, held_out = dataset.get("n_molecules"), dataset.get("n_held_out")
    if n is not None and held_out is not None and held_out >= n:
        raise ConfigError(f"{place}.n_held_out: {held_out}, expected less than n_molecules = {n}")


def _check_keys_of_runs(config: dict, tasks: dict[str, Task]) -> None:
    """Each run's own keys, whatever its task's defaults add."""
    for name, run in config.get("runs", {}).items():
        task, place = run.get("task"), f"runs.{name}"
        if isinstance(task, str) and task not in tasks:
            raise ConfigError(f"config, {place}.task: {task!r}, expected one of {', '.join(tasks)}")
        check(run, RUNS.get(task, OutsideRun) if isinstance(task, str) else OutsideRun, place, partial=True)
        _check_own_keys(f"config, {place}", run, tasks[task])


def _check_own_keys(place: str, sections: dict, task: Task) -> None:
    """Keys that a task from outside the package has beside the common ones: those that it declares."""
    if task.name in SETTINGS:
        return
    for name, common, own in (("training", Training, task.training), ("measure", Measure, task.measure)):
        known = [*keys_of(common), *own]
        for key in sections.get(name, {}):
            if key not in known:
                raise ConfigError(
                    f"{place}.{name}: {unknown_key(key, known)} (TASK of {task.file} may list more as "
                    f"{name!r})"
                )


def _check_run(config: dict, name: str, tasks: dict[str, Task], models: dict[str, Model]) -> None:
    """A run with its defaults: whether all keys are there, and whether dataset and model fit the task."""
    run, place = config["runs"][name], f"config, runs.{name}"
    if run["dataset"] not in config["datasets"]:
        raise ConfigError(
            f"{place}.dataset: {run['dataset']!r}, expected one of {sorted(config['datasets'])}"
        )
    if "import" in run.get("model", {}) and {"architecture", "size"} & set(run["model"]):
        raise ConfigError(f"{place}.model: import beside architecture or size, expected it alone")
    settings, dataset = resolve_run(config, name), origin(config, run["dataset"])
    task = tasks[settings["task"]]
    complete = {key: value for key, value in settings.items() if key not in RESOLVED}
    complete["model"] = {key: value for key, value in settings["model"].items() if key not in RESOLVED}
    check(complete, RUNS.get(task.name, OutsideRun), f"runs.{name}")
    where = f"datasets.{run['dataset']}"
    _check_fit(place, task, where, dataset, fitting_sources(config, task))
    _check_model(place, task, settings["model"], where, dataset, models)
    _check_counts(place, settings, where, dataset)
    _check_rotations(place, settings, task)
    _check_copies(f"{place}.training", settings["training"])
    _check_warmup(f"{place}.training", settings["training"])
    _check_average(f"{place}.training", settings["training"])
    _check_processes(f"{place}.training", settings["training"])
    _check_execution(f"{place}.training", settings["training"], settings["model"], models)


def _check_comparison(config: dict, place: str, comparison: dict) -> None:
    """Runs that there are, and that are measured alike: else their losses cannot be compared."""
    named = members_of(comparison)
    if unknown := [run for run in named if run not in config["runs"]]:
        raise ConfigError(f"{place}: {unknown}, expected runs: {', '.join(sorted(config['runs']))}")
    if twice := sorted({run for run in named if named.count(run) > 1}):
        raise ConfigError(f"{place}: {twice} more than once, expected each run once")
    first, *others = resolved = [resolve_run(config, run) for run in named]
    for run, settings in zip(named, resolved):  # steps are timed in one process
        if (n := settings["training"].get("processes", PROCESSES)) > 1:
            raise ConfigError(f"{place}: {run} has processes: {n}, expected 1: runs are compared on one")
    for run, other in zip(named[1:], others):
        for key in ("task", "dataset", "measure"):
            if other[key] != first[key]:
                raise ConfigError(
                    f"{place}: {run} has another {key} than {named[0]} ({other[key]!r}, not {first[key]!r}), "
                    f"expected the same for all"
                )


def _check_turned(place: str, dataset: dict, datasets: dict) -> None:
    if dataset["source"] != "turned":
        return
    known = sorted(name for name, other in datasets.items() if other["source"] != "turned")
    if dataset["of"] not in known:
        raise ConfigError(f"{place}.of: {dataset['of']!r}, expected one of {known}")
    if "share" in dataset and "cone" in dataset:
        raise ConfigError(f"{place}: both share and cone, expected at most one of the two")
    if {"share", "cone"} & set(dataset) and dataset["poses"] != "haar":
        raise ConfigError(f"{place}.poses: {dataset['poses']!r} beside share or cone, expected haar")


def _check_fit(place: str, task: Task, dataset_name: str, dataset: dict, fitting: list[str]) -> None:
    """Task and dataset; ``fitting`` are the sources that it may have."""
    if dataset["source"] not in fitting:
        raise ConfigError(
            f"{place}.dataset: {dataset_name} has the source {dataset['source']!r}, expected one of "
            f"{', '.join(fitting)} for the task {task.name}"
        )
    if task.kind == "forces" and not dataset.get("labels", LABELS):
        raise ConfigError(
            f"{place}.dataset: {dataset_name} has no labels, expected labels: true for the task {task.name}"
        )
    if task.grids and "voxels" not in dataset:
        raise ConfigError(
            f"{place}.dataset: {dataset_name} has no section voxels (elements, grid, resolution, radius), "
            f"expected one for the task {task.name}"
        )


def _check_model(
    place: str, task: Task, model: dict, dataset_name: str, dataset: dict, known: dict[str, Model]
) -> None:
    """Task, dataset and model; what is imported from elsewhere is checked in the job, which has it."""
    if "import" in model:
        return
    fitting = {name: declared for name, declared in known.items() if declared.task == task.name}
    if model.get("architecture") not in fitting:
        raise ConfigError(
            f"{place}.model.architecture: {model.get('architecture')!r}, expected one of "
            f"{', '.join(fitting)} for the task {task.name}"
        )
    declared, options = fitting[model["architecture"]], model.get("options", {})
    if model.get("size") not in declared.sizes:
        raise ConfigError(
            f"{place}.model.size: {model.get('size')!r}, expected one of {', '.join(declared.sizes)} for "
            f"{model['architecture']}"
        )
    _check_options(f"{place}.model.options", options, declared)
    if task.grids:
        n = declared.argument("n_channels", model["size"], options)
        expected = len(dataset["voxels"]["elements"])
        if n not in (None, expected):
            raise ConfigError(
                f"{place}.model.options.n_channels: {n}, expected {expected}, the number of "
                f"{dataset_name}.voxels.elements"
            )


def _check_options(place: str, options: dict, declared: Model) -> None:
    """Arguments of the model's class, as far as its source says: their names, and the kind of value that
    sizes and defaults give them.
    """
    for name, value in options.items() if declared.arguments is not None else ():
        if name not in declared.arguments:
            raise ConfigError(f"{place}: {unknown_key(name, sorted(declared.arguments))}")
        usual = declared.usual(name)
        expected = next((text for kind, text in KINDS.items() if isinstance(usual, kind)), None)
        found = next((text for kind, text in KINDS.items() if isinstance(value, kind)), None)
        if expected and found and found != expected:
            raise ConfigError(f"{place}.{name}: {value!r}, expected {expected}")


def _check_counts(place: str, run: dict, dataset_name: str, dataset: dict) -> None:
    """More items than there will be, found before anything is trained."""
    n_items, limits = run["measure"]["n_items"], []
    # with leaks: keep blocks of frames may be held out, which are more
    if "n_held_out" in dataset and dataset.get("leaks") != "keep":
        other, limit = f"{dataset_name}.n_held_out", dataset["n_held_out"]
        for section in ("measure", "dynamics"):
            if section in run:
                limits.append((f"{section}.n_items", run[section]["n_items"], other, limit))
    if "sample" in run:
        limits.append(("sample.n_chains", run["sample"]["n_chains"], "measure.n_items", n_items))
    if "checkpoints_from" in run["training"]:
        first, steps = run["training"]["checkpoints_from"], run["training"]["steps"]
        limits.append(("training.checkpoints_from", first, "training.steps", steps))
    if "n_train" in run["training"]:
        copies = run["training"].get("copies", COPIES)
        batch, n_train = run["training"]["batch_size"], copies * run["training"]["n_train"]
        other = "training.n_train x copies" if copies > 1 else "training.n_train"
        limits.append(("training.batch_size", batch, other, n_train))
    for key, found, other, limit in limits:
        if found > limit:
            raise ConfigError(f"{place}.{key}: {found}, expected at most {other} = {limit}")


def _check_rotations(place: str, run: dict, task: Task) -> None:
    """Draws without replacement from the rotations of the cube are at most all of them, and a grid has no
    others.
    """
    for section in ("measure", "dynamics"):
        settings = run.get(section, {})
        group = settings.get("rotations", task.rotations)
        if task.rotations == "cube" and group != "cube":
            raise ConfigError(
                f"{place}.{section}.rotations: {group!r}, expected cube for the task {task.name}"
            )
        if group == "cube" and (n := settings.get("n_rotations", 0)) > CUBE_ORDER:
            raise ConfigError(
                f"{place}.{section}.n_rotations: {n}, expected at most {CUBE_ORDER}, those of the cube"
            )


def _check_warmup(place: str, training: dict) -> None:
    """A rate that is still rising when training ends never is the one that the config names."""
    if training["warmup"] > training["steps"]:
        raise ConfigError(
            f"{place}.warmup: {training['warmup']}, expected at most steps = {training['steps']}"
        )


def _check_copies(place: str, training: dict) -> None:
    copies = training.get("copies", COPIES)
    if training["batch_size"] % copies:
        raise ConfigError(
            f"{place}.copies: {copies}, expected a divisor of batch_size = {training['batch_size']}"
        )
    if copies > 1 and training["augment"] < 1:
        raise ConfigError(
            f"{place}.augment: {training['augment']} beside copies: {copies}, expected 1: copies that "
            f"are not rotated are one item several times"
        )


def _check_processes(place: str, training: dict) -> None:
    """Each needs a part of every batch."""
    n, size = training.get("processes", PROCESSES), training["batch_size"]
    if "micro_batch" in training:
        parts = math.ceil(size / training["micro_batch"])
        fits, told = n <= parts, f"at most {parts}, the micro-batches"
    else:
        fits, told = size % n == 0, f"a divisor of batch_size = {size}"
    if not fits:
        raise ConfigError(f"{place}.processes: {n}, expected {told}")


def _check_execution(place: str, training: dict, model: dict, known: dict[str, Model]) -> None:
    """A graph replays what it recorded: one batch in one part, and nothing that the host is asked about."""
    execution = training.get("execution", EXECUTION)
    if not execution.endswith("graphs"):
        return
    name = model.get("architecture")
    if name in known and not known[name].graphs:
        raise ConfigError(f"{place}.execution: {execution!r}, expected eager or compiled for {name}")
    defaults = dict(processes=PROCESSES, average=AVERAGE, equivariance_penalty=EQUIVARIANCE_PENALTY)
    beside = [key for key, value in defaults.items() if training.get(key, value) != value]
    if beside := [*beside, *(["micro_batch"] if "micro_batch" in training else [])]:
        raise ConfigError(
            f"{place}.execution: {execution!r} beside {', '.join(beside)}, expected eager or compiled there"
        )


def _check_average(place: str, training: dict) -> None:
    """The penalty compares two single predictions, which an average does not have."""
    average = training.get("average", AVERAGE)
    if average > 1 and training.get("equivariance_penalty", EQUIVARIANCE_PENALTY) > 0:
        raise ConfigError(f"{place}.average: {average} beside equivariance_penalty, expected one of the two")


def check_downloads(config: dict, known: list[str]) -> None:
    """That the entries of the table of datasets which datasets name are there.

    Raises
    ------
    ConfigError
    """
    for name, settings in config["datasets"].items():
        for key in ("download", "held_out_download"):
            if unknown := sorted(set(settings.get(key, [])) - set(known)):
                place, where = f"config, datasets.{name}.{key}", "resources/datasets.yaml"
                raise ConfigError(f"{place}: {unknown}, expected names of {where}: {', '.join(known)}")


def _check_files(place: str, dataset: dict) -> None:
    """What the schema cannot say in words: where a dataset's files come from, and how they are split."""
    if dataset["source"] in ("turned", "backbones"):
        return
    if shipped := {"chains": "chains", "conformers": "molecules"}.get(dataset["source"]):
        if (shipped in dataset) == ("download" in dataset):
            found = f"both {shipped} and" if shipped in dataset else f"neither {shipped} nor"
            raise ConfigError(f"{place}: {found} download, expected exactly one of the two")
        return
    if ("files" in dataset) == ("download" in dataset):
        found = "both files and download" if "files" in dataset else "neither files nor download"
        raise ConfigError(f"{place}: {found}, expected exactly one of the two")
    _check_split(place, dataset)
    for sort in ("files", "download"):
        _check_names(place, dataset, sort, f"held_out_{sort}")


def _check_split(place: str, dataset: dict) -> None:
    """That a split is published in one way at most, and drawn where it is not."""
    ways = ("held_out_files", "held_out_download", "split_list")
    published = [key for key in ways if key in dataset]
    if len(published) > 1:
        raise ConfigError(
            f"{place}: both {' and '.join(published)}, expected at most one of {', '.join(ways)}"
        )
    if not published and "n_held_out" not in dataset:
        raise ConfigError(
            f"{place}.n_held_out: missing, expected unless one of {', '.join(ways)} gives the held-out items"
        )
    if "leaks" in dataset and not published:
        raise ConfigError(
            f"{place}.leaks: {dataset['leaks']!r} without any of {', '.join(ways)}, expected only beside "
            f"one of them"
        )


def _check_names(place: str, dataset: dict, key: str, held_out_key: str) -> None:
    """That no file is named twice."""
    names, held_out = ([os.path.normpath(name) for name in dataset.get(k, [])] for k in (key, held_out_key))
    if twice := sorted(set(names) & set(held_out)):
        raise ConfigError(f"{place}.{held_out_key}: {twice} also in {key}, expected other ones")
    for k, found in ((key, names), (held_out_key, held_out)):
        if twice := sorted({name for name in found if found.count(name) > 1}):
            raise ConfigError(f"{place}.{k}: {twice} more than once, expected each file once")
