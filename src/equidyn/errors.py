"""The errors that a user may see: one paragraph that names the file or key, the value found and what was
expected.

Whatever derives from ``EquidynError`` ends a command with its text alone; anything else is a fault of this
program and ends it with a traceback. Each is also the builtin error that Python programmers expect in its
place.
"""

from collections.abc import Iterator
from contextlib import contextmanager

EXTRAS = {  # import name of an optional package → extra of this package that installs it
    "yaml": "workflow",
    "pydantic": "workflow",
    "snakemake": "workflow",
    "h5py": "workflow",
    "tqdm": "workflow",
    "rdkit": "data",
    "tblite": "data",
    "ase": "calculators",
    "gemmi": "data",
    "numba": "data",
    "pycurl": "download",
    "certifi": "download",
    "matplotlib": "figures",
    "jinja2": "figures",
    "skimage": "figures",
}


class EquidynError(Exception):
    """Base of all errors that a user may see."""


class DataError(EquidynError, ValueError):
    """Bad input data: the message names the file (and frame or key), what was found and what was expected."""


class ConfigError(EquidynError, ValueError):
    """A bad config: one paragraph that names the key, the value found and what was expected."""


class ArgumentError(EquidynError, ValueError):
    """An argument that does not fit: a shape, a number out of bounds."""


class UnknownNameError(EquidynError, KeyError):
    """A name that there is not, such as a model or a parameter; the message lists those that there are."""

    def __str__(self) -> str:  # KeyError would quote it
        return str(self.args[0]) if self.args else ""


class TrainingError(EquidynError, RuntimeError):
    """Training cannot go on: the message says at which step and why."""


class MissingPackageError(EquidynError, ImportError):
    """An optional package is not installed; the message says which extra brings it."""


@contextmanager
def optional_packages() -> Iterator[None]:
    """Around imports of optional packages, or around a whole command: a missing one is a
    ``MissingPackageError``.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").split(".")[0]
        if package not in EXTRAS:
            raise
        advice = f"pip install 'equidyn[{EXTRAS[package]}]'"
        raise MissingPackageError(
            f"{package} is not installed, expected here; it comes with: {advice}"
        ) from error
