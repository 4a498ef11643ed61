"""Python files outside the package, which a config's ``extensions`` name, as modules."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType


def module_of(file: str | Path) -> ModuleType:
    """The file, executed; what it raises is the caller's to explain."""
    name = f"equidyn_extension_{Path(file).stem}"
    spec = importlib.util.spec_from_file_location(name, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles look their module up
    spec.loader.exec_module(module)
    return module
