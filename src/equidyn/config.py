"""Configuration: validate against the schema, fill in defaults, resolve one run or dataset. Experiments only, never machines."""

import copy
import json
from pathlib import Path

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match


class ConfigError(ValueError):
    """A bad config: one paragraph that names the key, the value found and what was expected."""


def validate(config: dict, schema_path: str | Path) -> None:
    """Check types, bounds, unknown keys, and that runs name existing datasets and tasks.

    Raises
    ------
    ConfigError
    """
    schema = json.loads(Path(schema_path).read_text())
    error = best_match(Draft202012Validator(schema).iter_errors(config))
    if error is not None:
        place = ".".join(str(part) for part in error.absolute_path) or "top level"
        allowed = f"; known keys: {', '.join(sorted(error.schema['properties']))}" if error.validator == "additionalProperties" and "properties" in error.schema else ""
        raise ConfigError(f"config, {place}: {error.message}{allowed}")
    for name, run in config["runs"].items():
        if run["dataset"] not in config["datasets"]:
            raise ConfigError(f"config, runs.{name}.dataset: {run['dataset']!r}, expected one of {sorted(config['datasets'])}")
        resolve_run(config, name)


def merge(base: dict, *overrides: dict) -> dict:
    """Nested dictionaries, later ones winning; nothing is changed in place."""
    result = copy.deepcopy(base)
    for override in overrides:
        for key, value in override.items():
            result[key] = merge(result[key], value) if isinstance(value, dict) and isinstance(result.get(key), dict) else copy.deepcopy(value)
    return result


def resolve_run(config: dict, name: str) -> dict:
    """All settings of one run: the task's defaults, overridden by the run's own keys.

    Raises
    ------
    ConfigError
        if the task has no defaults and the run lacks a section
    """
    run = config["runs"][name]
    settings = merge(config.get("defaults", {}).get(run["task"], {}), run)
    missing = [key for key in ("model", "training", "measure") if key not in settings]
    if missing:
        raise ConfigError(f"config, runs.{name}: no {', '.join(missing)}, neither there nor in defaults.{run['task']}")
    return {"run": name, "seed": config["seed"], "device": config.get("device", "auto"), **settings}


def resolve_dataset(config: dict, name: str) -> dict:
    """All settings of one dataset."""
    return {"seed": config["seed"], **config["datasets"][name]}


def resolve_device(name: str) -> str:
    """`cpu` or `cuda` from `auto`, `cpu`, `cuda`; never a silent fallback.

    Raises
    ------
    ConfigError
        `cuda` was asked for and torch finds none
    """
    import torch

    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        build = torch.version.cuda or "none, a CPU build"
        raise ConfigError(f"config, device: 'cuda', but torch {torch.__version__} finds no CUDA device (CUDA of this build: {build}); expected a GPU, or device auto or cpu")
    return ("cuda" if available else "cpu") if name == "auto" else name
