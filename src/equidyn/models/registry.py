"""Networks from the section ``model`` of a run: an architecture that a file declares, or an import path.

Importing this needs no torch, because the driver of the workflow does it too.
"""

import importlib
import inspect
from types import ModuleType
from typing import TYPE_CHECKING

from equidyn.declarations import Model, model_in, own_models
from equidyn.errors import ConfigError, UnknownNameError
from equidyn.extensions import module_of

if TYPE_CHECKING:
    import torch


def build(architecture: str, size: str, seed: int = 0, **options) -> "torch.nn.Module":
    """A freshly initialised model of this package; ``options`` override entries of the named size.

    Raises
    ------
    UnknownNameError
        unknown architecture, size or option, naming those that exist
    """
    known = own_models()
    if architecture not in known:
        raise UnknownNameError(f"model architecture {architecture!r}, expected one of {sorted(known)}")
    return _of_declaration(
        known[architecture], importlib.import_module(known[architecture].module), size, seed, options
    )


def build_named(model: dict, seed: int = 0, task: str | None = None) -> "torch.nn.Module":
    """A model from the section ``model`` of a run's resolved settings.

    Parameters
    ----------
    model : architecture and size, with ``extension`` where a file outside the package declares it; or
        ``import``; either with options
    task : that it must fit, see ``models.protocol``

    Raises
    ------
    UnknownNameError
        see ``build``
    ConfigError
        an extension or import path that cannot be loaded, options that a class does not take, a model without
        what its task asks for
    """
    options = model.get("options", {})
    if "import" in model:
        built, where = _imported(model["import"], options, seed), model["import"]
    elif "extension" in model:
        built, where = _extension(model, options, seed), model["extension"]["file"]
    else:
        return build(model["architecture"], model["size"], seed, **options)
    if task is not None:
        from equidyn.models import protocol

        protocol.check(built, task, where)
    return built


def _of_declaration(declared: Model, module: ModuleType, size: str, seed: int, options: dict):
    name = declared.name
    if size not in module.SIZES:
        raise UnknownNameError(f"size {size!r} of {name}, expected one of {sorted(module.SIZES)}")
    model = getattr(module, declared.class_name)
    known = inspect.signature(model).parameters
    if unknown := sorted(set(options) - set(known)):
        raise UnknownNameError(f"options {unknown} of {name}, expected some of {sorted(known)}")
    return _seeded(model, seed, {**module.SIZES[size], **options})


def _seeded(model, seed: int, options: dict):
    import torch

    torch.manual_seed(seed)
    return model(**options)


def _extension(model: dict, options: dict, seed: int):
    """From a file that the config's ``extensions`` names."""
    file = model["extension"]["file"]
    return _of_declaration(model_in(file), module_of(file), model["size"], seed, options)


def _imported(path: str, options: dict, seed: int):
    """From ``package.module:Class``."""
    module_name, _, class_name = path.partition(":")
    try:
        model = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"model.import: {path!r} cannot be imported ({error}), expected package.module:Class"
        ) from error
    try:
        return _seeded(model, seed, options)
    except TypeError as error:
        raise ConfigError(
            f"model.options: {path} does not take {options} ({error}), expected arguments of "
            f"{inspect.signature(model)}"
        ) from error
