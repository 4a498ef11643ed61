"""Configs: typed models of their sections (``sections``, ``sources``), checks, runs of a matrix, and the
settings of one run or dataset. Experiments only, never machines.
"""

from equidyn.config.declared import declared_models, declared_sources, declared_tasks, fitting_sources
from equidyn.config.matrix import expand, members_of
from equidyn.config.reading import read
from equidyn.config.resolve import merge, of_training, origin, resolve_dataset, resolve_run
from equidyn.config.validate import check_downloads, validate

__all__ = [
    "check_downloads",
    "declared_models",
    "declared_sources",
    "declared_tasks",
    "expand",
    "fitting_sources",
    "members_of",
    "merge",
    "of_training",
    "origin",
    "read",
    "resolve_dataset",
    "resolve_run",
    "validate",
]
