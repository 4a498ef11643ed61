"""Named models. Each architecture's module holds its own table of sizes, so adding one touches no other.

Importing this needs no torch, because the driver of the workflow does it too.
"""

import importlib
import inspect
from typing import TYPE_CHECKING

from equidyn.errors import UnknownNameError

if TYPE_CHECKING:
    import torch

ARCHITECTURES = {  # module, class
    "escaip": ("equidyn.models.escaip", "EScAIP"),
    "proteina": ("equidyn.models.proteina", "Proteina"),
    "voxmol": ("equidyn.models.voxmol", "VoxMol"),
    "rawdir": ("equidyn.models.rawdir", "RawDirectionTransformer"),
}


def build(architecture: str, size: str, seed: int = 0, **options) -> "torch.nn.Module":
    """A freshly initialised model; ``options`` override entries of the named size.

    Raises
    ------
    UnknownNameError
        unknown architecture, size or option, naming those that exist
    """
    import torch

    if architecture not in ARCHITECTURES:
        raise UnknownNameError(
            f"model architecture {architecture!r}, expected one of {sorted(ARCHITECTURES)}"
        )
    module_name, class_name = ARCHITECTURES[architecture]
    module = importlib.import_module(module_name)
    if size not in module.SIZES:
        raise UnknownNameError(f"size {size!r} of {architecture}, expected one of {sorted(module.SIZES)}")
    model = getattr(module, class_name)
    known = inspect.signature(model).parameters
    if unknown := sorted(set(options) - set(known)):
        raise UnknownNameError(f"options {unknown} of {architecture}, expected some of {sorted(known)}")
    torch.manual_seed(seed)
    return model(**{**module.SIZES[size], **options})


def build_named(model: dict, seed: int = 0) -> "torch.nn.Module":
    """``build`` from the section ``model`` of a run's settings: architecture, size and, where given,
    options.
    """
    return build(model["architecture"], model["size"], seed, **model.get("options", {}))
