"""All settings of one run or dataset, from the config's defaults and its own keys."""

import copy
from pathlib import Path

from equidyn.config.declared import declared_sources
from equidyn.declarations import model_in, task_in
from equidyn.defaults import DEVICE
from equidyn.errors import ConfigError
from equidyn.provenance import code_digest


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
        a section that neither the run nor its task's defaults have
    """
    settings = overridden(config, name)
    if "model" in settings:
        settings["model"] = _resolve_model(config, settings["model"])
    for file in config.get("extensions", []):
        declared = task_in(file)
        if declared is not None and declared.name == settings["task"]:
            settings["extension"] = _with_digest(file)
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
            return {**model, "extension": _with_digest(file)}
    return model


def _with_digest(file: str | Path) -> dict[str, str]:
    return {"file": str(file), "digest": code_digest(file)}


def of_training(settings: dict) -> dict:
    """A run's settings without those of measuring: what a checkpoint depends on."""
    return {key: value for key, value in settings.items() if key not in ("measure", "dynamics", "sample")}


def overridden(config: dict, name: str) -> dict:
    """A run's own keys over its task's defaults, with the config's seed and device."""
    run = config["runs"][name]
    return {
        "run": name,
        "seed": config["seed"],
        "device": config.get("device", DEVICE),
        **merge(config.get("defaults", {}).get(run.get("task"), {}), run),
    }


def resolve_dataset(config: dict, name: str) -> dict:
    """All settings of one dataset."""
    settings = {"seed": config["seed"], **config["datasets"][name]}
    if source := declared_sources(config).get(settings["source"]):
        settings["extension"] = _with_digest(source.file)
    return settings


def origin(config: dict, name: str) -> dict:
    """Settings of the dataset that the structures come from: this one, or the one that it turns."""
    dataset = config["datasets"][name]
    return config["datasets"][dataset["of"]] if dataset["source"] == "turned" else dataset
