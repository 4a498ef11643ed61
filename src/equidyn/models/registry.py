"""Named models. Each architecture's module holds its own table of sizes, so adding one touches no other."""

import importlib
import inspect

import torch

ARCHITECTURES = {
    "escaip": ("equidyn.models.escaip", "EScAIP"),
    "proteina": ("equidyn.models.proteina", "Proteina"),
    "voxmol": ("equidyn.models.voxmol", "VoxMol"),
    "rawdir": ("equidyn.models.rawdir", "RawDirectionTransformer"),
}


def build(architecture: str, size: str, seed: int = 0, **options) -> torch.nn.Module:
    """A freshly initialised model; ``options`` override entries of the named size.

    Raises
    ------
    KeyError
        unknown architecture, size or option, naming those that exist
    """
    if architecture not in ARCHITECTURES:
        raise KeyError(f"model architecture {architecture!r}, expected one of {sorted(ARCHITECTURES)}")
    module_name, class_name = ARCHITECTURES[architecture]
    module = importlib.import_module(module_name)
    if size not in module.SIZES:
        raise KeyError(f"size {size!r} of {architecture}, expected one of {sorted(module.SIZES)}")
    model = getattr(module, class_name)
    if unknown := sorted(set(options) - set(known := inspect.signature(model).parameters)):
        raise KeyError(f"options {unknown} of {architecture}, expected some of {sorted(known)}")
    torch.manual_seed(seed)
    return model(**{**module.SIZES[size], **options})
