"""What models say of themselves, read without importing them.

The driver of the workflow must refuse a typo within a second and need not have torch. So a model's module
states in a literal what the driver needs,

    MODEL = {"name": "my_net", "task": "forces", "class": "MyNet"}
    SIZES = {"tiny": dict(hidden=8), "large": dict(hidden=64)}

and this reads the literal and the names of the sizes off the source. A file outside the package is such a
module, too: the config's ``extensions``.
"""

import ast
import functools
from dataclasses import dataclass
from pathlib import Path

from equidyn.errors import ConfigError

MODELS = Path(__file__).with_name("models")
FIELDS = ("name", "task", "class")
EXPECTED = 'MODEL = {"name": …, "task": …, "class": …} and SIZES = {"…": dict(…)} at the top level'


@dataclass(frozen=True)
class Model:
    """A declared architecture: its task, its class in a file, the names of its sizes."""

    name: str
    task: str
    class_name: str
    sizes: tuple[str, ...]
    file: Path

    @property
    def module(self) -> str:
        """Dotted name of a module of this package."""
        return f"equidyn.models.{self.file.stem}"


@functools.cache
def own_models() -> dict[str, Model]:
    """The architectures of this package by name."""
    files = sorted(MODELS.glob("*.py"))
    return {model.name: model for file in files if (model := _read(file, ast.parse(file.read_text())))}


def models(extensions: tuple[str, ...] = ()) -> dict[str, Model]:
    """The architectures of this package and of files outside it, by name.

    Raises
    ------
    ConfigError
        a file that cannot be read or declares no model, or a name that another has
    """
    known = dict(own_models())
    for file in extensions:
        model = model_in(file)
        if model.name in known:
            raise ConfigError(
                f"{file}: model {model.name!r}, expected another name: {known[model.name].file} has it"
            )
        known[model.name] = model
    return known


def model_in(file: str | Path) -> Model:
    """The model that a file declares.

    Raises
    ------
    ConfigError
        a file that cannot be read, is no Python, or declares no model
    """
    try:
        tree = ast.parse(Path(file).read_text())
    except (OSError, ValueError, SyntaxError) as error:
        raise ConfigError(f"{file}: not readable as Python ({error}), expected {EXPECTED}") from error
    model = _read(Path(file), tree)
    if model is None:
        raise ConfigError(f"{file}: declares no model, expected {EXPECTED}")
    return model


def _read(file: Path, tree: ast.Module) -> Model | None:
    """The declaration in a parsed file; None where it assigns no MODEL."""
    values = {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if "MODEL" not in values:
        return None
    try:
        stated = ast.literal_eval(values["MODEL"])
    except ValueError:
        stated = None
    if not isinstance(stated, dict) or sorted(stated) != sorted(FIELDS):
        raise ConfigError(f"{file}: MODEL is {ast.unparse(values['MODEL'])}, expected {EXPECTED}")
    sizes = values.get("SIZES")
    keys = sizes.keys if isinstance(sizes, ast.Dict) else []
    names = tuple(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
    if not names or len(names) != len(keys):
        raise ConfigError(f"{file}: no SIZES with names in quotes, expected {EXPECTED}")
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if stated["class"] not in classes:
        raise ConfigError(f"{file}: no class {stated['class']!r}, expected one of {', '.join(classes)}")
    return Model(stated["name"], stated["task"], stated["class"], names, file)
