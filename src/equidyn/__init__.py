"""Equidyn: how fast, and how well, does a network without built-in symmetry learn 3D rotations?

The public names below are imported when they are first asked for, so that ``import equidyn`` costs nothing
and needs nothing; the instrument itself needs torch, numpy and scipy alone.
"""

import importlib

__version__ = "0.1.0"

_HOME = {
    "groups": "equidyn.symmetry.groups",
    "actions": "equidyn.symmetry.actions",
    "decompose": "equidyn.symmetry.decomposition:decompose",
    "Decomposition": "equidyn.symmetry.decomposition:Decomposition",
    "measure": "equidyn.probe.models:measure",
    "HeldOut": "equidyn.probe.models:HeldOut",
    "Probe": "equidyn.probe.training:Probe",
    "Twirled": "equidyn.probe.twirled:Twirled",
    "lightning": "equidyn.lightning",
    "measure_calculator": "equidyn.probe.measurement:measure_calculator",
    "Batch": "equidyn.symmetry.measure:Batch",
    "EquidynError": "equidyn.errors:EquidynError",
}
__all__ = ["__version__", *_HOME]  # noqa: PLE0604


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(
            f"module 'equidyn' has no attribute {name!r}, expected one of {', '.join(_HOME)}"
        )
    module, _, attribute = _HOME[name].partition(":")
    found = importlib.import_module(module)
    return getattr(found, attribute) if attribute else found


def __dir__() -> list[str]:
    return sorted(__all__)
