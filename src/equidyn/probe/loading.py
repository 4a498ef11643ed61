"""Objects of a user's code by name: ``package.module:name`` or ``file.py:name``."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from equidyn.errors import EXTRAS, ArgumentError, DataError, EquidynError


def named(spec: str) -> object:
    """What a name such as ``ase.calculators.emt:EMT`` or ``my_calc.py:make`` stands for.

    Raises
    ------
    ArgumentError
        no such module, file or name in it

    Examples
    --------
    >>> named("math:sqrt")(4.0)
    2.0
    """
    place, colon, name = spec.rpartition(":")
    if not colon or not place or not name:
        raise ArgumentError(f"{spec!r}: expected package.module:name or file.py:name")
    module = _from_file(spec, Path(place)) if place.endswith(".py") else _from_package(spec, place)
    found = module
    for part in name.split("."):
        if not hasattr(found, part):
            names = ", ".join(n for n in vars(module) if not n.startswith("_"))[:300]
            raise ArgumentError(f"{spec!r}: no {part!r} there, expected one of {names or 'none'}")
        found = getattr(found, part)
    return found


def _from_file(spec: str, path: Path):
    if not path.is_file():
        raise ArgumentError(f"{spec!r}: no file {path}, expected one with Python code")
    made = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(made)
    sys.modules.setdefault(path.stem, module)  # classes of the file can then be found by pickle
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)  # a file may import its neighbours
    try:
        made.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] in EXTRAS:
            raise  # whoever has the command says which extra brings it
        raise ArgumentError(f"{spec!r}: importing it needs {error.name}, which is not installed") from error
    return module


def _from_package(spec: str, place: str):
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))  # a console script does not look into the folder it runs in
    try:
        return importlib.import_module(place)
    except ModuleNotFoundError as error:
        missing = error.name or place
        if place == missing or place.startswith(f"{missing}."):
            raise ArgumentError(
                f"{spec!r}: no module {missing!r} in this environment; expected an installed package, a "
                f"module of the current folder, or file.py:name"
            ) from error
        raise ArgumentError(f"{spec!r}: importing it needs {missing}, which is not installed") from error


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Around a command's calls of a user's code: whatever that raises is printed with its traceback and
    becomes one paragraph. Errors of this package, of files and of missing packages stay what they are.

    Raises
    ------
    DataError
        naming ``what``
    """
    try:
        yield
    except (EquidynError, OSError, ModuleNotFoundError):
        raise
    except Exception as error:
        traceback.print_exc()
        raise DataError(f"{what}: {reason(error)}") from error


def reason(error: Exception) -> str:
    """Type and text of an error, in a line, behind the notes that were added to it."""
    text = ": ".join([*getattr(error, "__notes__", []), type(error).__name__, str(error)])
    return " ".join(text.split())[:300]


def called(
    spec: str,
    kwargs: dict,
    is_one: Callable[[object], bool],
    what: str,
    is_made: Callable[[object], bool] | None = None,
) -> object:
    """The named object itself where it already is one, else what it returns when called with ``kwargs``,
    which may be more (``is_made``).

    Raises
    ------
    ArgumentError
        arguments that do not fit, or something else than what is expected
    """
    found = named(spec)
    if not isinstance(found, type) and is_one(found):
        if kwargs:
            raise ArgumentError(f"{spec!r}: is made already, expected no arguments, found {sorted(kwargs)}")
        return found
    if not callable(found):
        raise ArgumentError(f"{spec!r}: {type(found).__name__}, expected {what} or a function that makes one")
    try:
        found = found(**kwargs)
    except (TypeError, ValueError, FileNotFoundError) as error:
        raise ArgumentError(f"{spec!r} with {kwargs}: {type(error).__name__}: {error}") from error
    if not (is_made or is_one)(found):
        raise ArgumentError(f"{spec!r}: made a {type(found).__name__}, expected {what}")
    return found


def calculator(spec: str, kwargs: dict | None = None):
    """An ASE calculator by name."""
    return called(spec, kwargs or {}, lambda one: hasattr(one, "get_potential_energy"), "an ASE calculator")
