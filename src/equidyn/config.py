"""Configuration: validate against the schema, fill in defaults, resolve one run or dataset.

Experiments only, never machines.
"""

import copy
import hashlib
import itertools
import json
import math
import os
import re
from decimal import Decimal
from pathlib import Path

from equidyn.declarations import figures, model_in, models, source_in
from equidyn.errors import ConfigError, optional_packages

with optional_packages():
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from jsonschema.validators import extend

SCHEMA = Path(__file__).with_name("config.schema.json")
# Sources of datasets that fit a task; written here because a driver that only validates need not have torch.
KINDS = {"forces": "forces", "voxels": "molecules", "flow": "backbones"}  # of datasets, by task
SOURCES = {
    "forces": ("conformers", "extxyz", "npz", "spice"),
    "voxels": ("conformers", "sdf", "xyz", "geom"),
    "flow": ("backbones", "structures", "chains"),
}
OWN_SOURCES = (*dict.fromkeys(source for sources in SOURCES.values() for source in sources), "turned")
CHANNELS = 8  # of VoxMol by default
# 1.0 is an integer to JSON Schema, but not to range() and to seeds
INTEGERS = Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
Validator = extend(Draft202012Validator, type_checker=INTEGERS)


def validate(config: dict) -> None:
    """Check types, bounds, unknown keys, and that runs, those of the matrix included, have a dataset and a
    model that fit their task.

    Raises
    ------
    ConfigError
    """
    schema = json.loads(SCHEMA.read_text())
    _check(config, schema)
    known = declared_models(config)
    _check_sources(config, schema)
    _check_figures(config)
    if "matrix" in config:
        config, _ = expand(config)
        _check(config, schema)
    for name, dataset in config["datasets"].items():
        _check_files(f"config, datasets.{name}", dataset)
        _check_turned(f"config, datasets.{name}", dataset, config["datasets"])
    for name, run in config["runs"].items():
        if run["dataset"] not in config["datasets"]:
            raise ConfigError(
                f"config, runs.{name}.dataset: {run['dataset']!r}, expected one of "
                f"{sorted(config['datasets'])}"
            )
        settings, dataset = resolve_run(config, name), origin(config, run["dataset"])
        if "import" in run.get("model", {}) and {"architecture", "size"} & set(run["model"]):
            raise ConfigError(
                f"config, runs.{name}.model: import beside architecture or size, expected it alone"
            )
        _check_fit(
            f"config, runs.{name}", settings, f"datasets.{run['dataset']}", dataset, declared_sources(config)
        )
        _check_model(f"config, runs.{name}", settings, f"datasets.{run['dataset']}", dataset, known)
        _check_counts(f"config, runs.{name}", settings, f"datasets.{run['dataset']}", dataset)


def _check_figures(config: dict) -> None:
    """A figure of an unknown task would be drawn nowhere, without a word."""
    for figure in figures(tuple(config.get("extensions", []))):
        if figure.task not in ("", *SOURCES):
            raise ConfigError(
                f"{figure.module}: figure {figure.name!r} of task {figure.task!r}, expected one of "
                f"{', '.join(SOURCES)}, or an empty one for all"
            )


def declared_models(config: dict) -> dict:
    """The architectures of the package and of the config's ``extensions``, by name.

    Raises
    ------
    ConfigError
        see ``declarations.models``; a model of no task
    """
    known = models(tuple(config.get("extensions", [])))
    for model in known.values():
        if model.task not in SOURCES:
            raise ConfigError(f"{model.file}: task {model.task!r}, expected one of {', '.join(SOURCES)}")
    return known


def declared_sources(config: dict) -> dict:
    """The sources of datasets that the config's ``extensions`` declare, by name.

    Raises
    ------
    ConfigError
        see ``declarations.source_in``; a name that another source has
    """
    known = {}
    for file in config.get("extensions", []):
        source = source_in(file)
        if source is None:
            continue
        if source.name in known or source.name in OWN_SOURCES:
            raise ConfigError(f"{file}: source {source.name!r}, expected another name: there is one")
        known[source.name] = source
    return known


def _check_sources(config: dict, schema: dict) -> None:
    """That every source is known, and the keys of those that extensions declare."""
    outside = declared_sources(config)
    for name, dataset in config["datasets"].items():
        if dataset["source"] in OWN_SOURCES:
            continue
        if dataset["source"] not in outside:
            known = ", ".join([*OWN_SOURCES, *outside])
            raise ConfigError(
                f"config, datasets.{name}.source: {dataset['source']!r}, expected one of {known}"
            )
        keys = {"$defs": schema["$defs"], **schema["$defs"]["source_outside"]}
        _check(dataset, keys, f"datasets.{name}")


def origin(config: dict, name: str) -> dict:
    """Settings of the dataset that the structures come from: this one, or the one that it turns."""
    dataset = config["datasets"][name]
    return config["datasets"][dataset["of"]] if dataset["source"] == "turned" else dataset


def _check_turned(place: str, dataset: dict, datasets: dict) -> None:
    if dataset["source"] != "turned":
        return
    known = sorted(name for name, other in datasets.items() if other["source"] != "turned")
    if dataset["of"] not in known:
        raise ConfigError(f"{place}.of: {dataset['of']!r}, expected one of {known}")


def _check_fit(place: str, run: dict, dataset_name: str, dataset: dict, outside: dict) -> None:
    """Task and dataset; ``outside`` are the sources that extensions declare."""
    task, source = run["task"], dataset["source"]
    fitting = [*SOURCES[task], *(s.name for s in outside.values() if s.kind == KINDS[task])]
    if source not in fitting:
        raise ConfigError(
            f"{place}.dataset: {dataset_name} has the source {source!r}, expected one of "
            f"{', '.join(fitting)} for the task {task}"
        )
    if task == "forces" and not dataset.get("labels", True):
        raise ConfigError(
            f"{place}.dataset: {dataset_name} has no labels, expected labels: true for the task forces"
        )
    if task == "voxels" and "voxels" not in dataset:
        raise ConfigError(
            f"{place}.dataset: {dataset_name} has no section voxels (elements, grid, resolution, radius), "
            f"expected one for the task voxels"
        )


def _check_model(place: str, run: dict, dataset_name: str, dataset: dict, known: dict) -> None:
    """Task, dataset and model; what is imported from elsewhere is checked in the job, which has it."""
    task, model = run["task"], run["model"]
    if "import" in model:
        return
    fitting = {name: declared for name, declared in known.items() if declared.task == task}
    if model.get("architecture") not in fitting:
        raise ConfigError(
            f"{place}.model.architecture: {model.get('architecture')!r}, expected one of "
            f"{', '.join(fitting)} for the task {task}"
        )
    sizes = fitting[model["architecture"]].sizes
    if model.get("size") not in sizes:
        raise ConfigError(
            f"{place}.model.size: {model.get('size')!r}, expected one of {', '.join(sizes)} for "
            f"{model['architecture']}"
        )
    if model["architecture"] == "voxmol" and (
        n := model.get("options", {}).get("n_channels", CHANNELS)
    ) != len(dataset["voxels"]["elements"]):
        raise ConfigError(
            f"{place}.model.options.n_channels: {n}, expected {len(dataset['voxels']['elements'])}, the "
            f"number of {dataset_name}.voxels.elements"
        )


def _check_counts(place: str, run: dict, dataset_name: str, dataset: dict) -> None:
    """More items than there will be, found before anything is trained."""
    n_items, limits = run["measure"]["n_items"], []
    if (
        "n_held_out" in dataset and dataset.get("leaks") != "keep"
    ):  # which may hold out blocks of frames, more of them
        limits += [
            (
                f"{section}.n_items",
                run[section]["n_items"],
                f"{dataset_name}.n_held_out",
                dataset["n_held_out"],
            )
            for section in ("measure", "dynamics")
            if section in run
        ]
    if "sample" in run:
        limits.append(("sample.n_chains", run["sample"]["n_chains"], "measure.n_items", n_items))
    if "checkpoints_from" in run["training"]:
        first, steps = run["training"]["checkpoints_from"], run["training"]["steps"]
        limits.append(("training.checkpoints_from", first, "training.steps", steps))
    for key, found, other, limit in limits:
        if found > limit:
            raise ConfigError(f"{place}.{key}: {found}, expected at most {other} = {limit}")


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


def _check(config, schema, within: str = ""):
    """Against a schema; ``within`` is where in the config that part stands."""
    _check_finite(config, "config")
    error = best_match(Validator(schema).iter_errors(config))
    if error is not None:
        path = [within] * bool(within) + [str(part) for part in error.absolute_path]
        place = ".".join(path) or "top level"
        allowed = (
            f"; known keys: {', '.join(sorted(error.schema['properties']))}"
            if error.validator == "additionalProperties" and "properties" in error.schema
            else ""
        )
        raise ConfigError(f"config, {place}: {error.message}{allowed}")


def _check_finite(value, place: str) -> None:
    """YAML knows .nan and .inf, and they pass every bound of the schema but those that they are compared
    with.
    """
    entries = {}
    if isinstance(value, dict):
        entries = value
    elif isinstance(value, list):
        entries = dict(enumerate(value))
    for key, entry in entries.items():
        _check_finite(entry, f"{place}, {key}" if place == "config" else f"{place}.{key}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{place}: {value}, expected a finite number")


def _check_files(place: str, dataset: dict) -> None:
    """What the schema cannot say in words: where a dataset's files come from, and how they are split."""
    if dataset["source"] in ("turned", "conformers", "backbones"):
        return
    if dataset["source"] == "chains":
        if ("chains" in dataset) == ("download" in dataset):
            found = "both chains and download" if "chains" in dataset else "neither chains nor download"
            raise ConfigError(f"{place}: {found}, expected exactly one of the two")
        return
    if ("files" in dataset) == ("download" in dataset):
        found = "both files and download" if "files" in dataset else "neither files nor download"
        raise ConfigError(f"{place}: {found}, expected exactly one of the two")
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
    for sort in ("files", "download"):
        sides = [
            [os.path.normpath(name) for name in dataset.get(key, [])] for key in (sort, f"held_out_{sort}")
        ]
        if twice := sorted(set(sides[0]) & set(sides[1])):
            raise ConfigError(f"{place}.held_out_{sort}: {twice} also in {sort}, expected other ones")
        for key, names in zip((sort, f"held_out_{sort}"), sides):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ConfigError(f"{place}.{key}: {twice} more than once, expected each file once")


def expand(config: dict) -> tuple[dict, dict]:
    """The config with the runs of ``matrix`` written out, and what each of them stands for.

    A group of the matrix is ``{base, axes, reference}``: one run per element of the product of its axes,
    ``base`` with each axis's dotted key set, named ``<group>-<value>[-<value>…]``. ``reference`` names a run
    with the same settings but for the axes, which counts as one more point; without it the group's first
    point takes its place. Points are kept out of the runs, so that a further value changes the settings of no
    other run.

    Returns
    -------
    config : without ``matrix``, all runs in ``runs``; nothing is changed in place
    points : {run: {group, axes: {dotted key: value}, reference, reference_axes: {dotted key: value, None
        where the reference does not set it}}}

    Raises
    ------
    ConfigError
        two runs of one name, an axis without values, or a reference that is no run or has another task than
        the group
    """
    runs, points = dict(config.get("runs", {})), {}
    groups = config.get("matrix", {})
    for group, content in groups.items():
        for axis, values in content["axes"].items():
            if not values:
                raise ConfigError(f"config, matrix.{group}.axes.{axis}: no values")
        members = []
        for values in itertools.product(*content["axes"].values()):
            axes = dict(zip(content["axes"], values))
            name = "-".join([group, *map(_readable, values)])
            if name in runs:
                owner = f"matrix.{points[name]['group']}" if name in points else "runs"
                raise ConfigError(
                    f"config, matrix.{group}: the run {name!r} of {axes} exists already in {owner}"
                )
            runs[name] = merge(content["base"], *(_nested(axis, value) for axis, value in axes.items()))
            points[name] = {"group": group, "axes": axes}
            members.append(name)
        for name in members:
            points[name]["reference"] = content.get("reference", members[0])
    result = {**{key: value for key, value in config.items() if key != "matrix"}, "runs": runs}
    for name, point in points.items():
        reference = point["reference"]
        if reference not in runs:
            raise ConfigError(
                f"config, matrix.{point['group']}.reference: {reference!r}, expected one of {sorted(runs)}"
            )
        if runs[reference].get("task") != runs[name].get("task"):
            raise ConfigError(f"config, matrix.{point['group']}.reference: {reference!r} has another task")
        settings = _settings(result, reference)
        point["reference_axes"] = {axis: _value(settings, axis) for axis in point["axes"]}
    return result, points


def _readable(value) -> str:
    """A value as part of a run's name: 1e-3 is 0.001, and what a name may not hold becomes a hyphen."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        value = f"{Decimal(repr(value)):f}".removesuffix(".0")
    return re.sub(r"[^A-Za-z0-9.-]+", "-", str(value))


def _nested(path: str, value) -> dict:
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def _value(settings, path: str):
    for key in path.split("."):
        settings = settings.get(key) if isinstance(settings, dict) else None
    return settings


def merge(base: dict, *overrides: dict) -> dict:
    """Nested dictionaries, later ones winning; nothing is changed in place."""
    result = copy.deepcopy(base)
    for override in overrides:
        for key, value in override.items():
            result[key] = (
                merge(result[key], value)
                if isinstance(value, dict) and isinstance(result.get(key), dict)
                else copy.deepcopy(value)
            )
    return result


def resolve_run(config: dict, name: str) -> dict:
    """All settings of one run: the task's defaults, overridden by the run's own keys.

    Raises
    ------
    ConfigError
        if the task has no defaults and the run lacks a section
    """
    settings = _settings(config, name)
    if "model" in settings:
        settings["model"] = _resolve_model(config, settings["model"])
    missing = [key for key in ("model", "training", "measure") if key not in settings]
    if missing:
        raise ConfigError(
            f"config, runs.{name}: no {', '.join(missing)}, neither there nor in defaults.{settings['task']}"
        )
    return settings


def _resolve_model(config: dict, model: dict) -> dict:
    """The section ``model`` with where its class comes from: a file outside the package goes with its digest,
    so that a change in it trains anew; what is imported has no architecture of the defaults.
    """
    if "import" in model:
        return {key: value for key, value in model.items() if key not in ("architecture", "size")}
    for file in config.get("extensions", []):
        declared = model_in(file)
        if declared is not None and declared.name == model.get("architecture"):
            digest = hashlib.sha256(Path(file).read_bytes()).hexdigest()
            return {**model, "extension": {"file": file, "sha256": digest}}
    return model


def of_training(settings: dict) -> dict:
    """A run's settings without those of measuring: what a checkpoint depends on."""
    return {key: value for key, value in settings.items() if key not in ("measure", "dynamics", "sample")}


def _settings(config, name):
    run = config["runs"][name]
    return {
        "run": name,
        "seed": config["seed"],
        "device": config.get("device", "auto"),
        **merge(config.get("defaults", {}).get(run.get("task"), {}), run),
    }


def resolve_dataset(config: dict, name: str) -> dict:
    """All settings of one dataset."""
    settings = {"seed": config["seed"], **config["datasets"][name]}
    if source := declared_sources(config).get(settings["source"]):
        digest = hashlib.sha256(source.file.read_bytes()).hexdigest()
        settings["extension"] = {"file": str(source.file), "sha256": digest}
    return settings
