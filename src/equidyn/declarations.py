"""What tasks, models, figures and readers say of themselves, read without importing them.

The driver of the workflow must refuse a typo within a second and need not have torch or matplotlib. So a
module states in literals what the driver needs,

    TASK = {"name": "dipoles", "class": "Dipoles", "title": "Dipoles of molecules", "unit": "(e Å)²",
            "kind": "molecules", "rotations": "haar"}
    MODEL = {"name": "my_net", "task": "forces", "class": "MyNet"}
    SIZES = {"tiny": dict(hidden=8), "large": dict(hidden=64)}
    FIGURES = [{"name": "my_figure", "task": "forces", "caption": "What one sees", "claim": "C2"}]
    READER = {"source": "my_format", "kind": "forces"}

and this reads the literals, and the names of the sizes, off the source. A file outside the package is such a
module, too: the config's ``extensions``.
"""

import ast
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from equidyn.errors import ConfigError, UnknownNameError

PACKAGE = Path(__file__).parent
OF_MODEL, OPTIONAL_OF_MODEL = {"name": str, "task": str, "class": str}, {"graphs": bool}
EXPECTED = 'MODEL = {"name": …, "task": …, "class": …} and SIZES = {"…": dict(…)} at the top level'
OF_FIGURE = {"name": str, "task": str, "caption": str, "claim": str}
OPTIONAL = {"extra": str, "axes": list, "place": int, "comparisons": bool, "on_request": bool}
EXPECTED_FIGURES = 'FIGURES = [{"name": …, "task": …, "caption": …, "claim": …}] at the top level'
KINDS = ("forces", "molecules", "backbones")  # of datasets
ROTATIONS = ("haar", "cube")  # of every checkpoint
OF_TASK = {"name": str, "class": str, "title": str, "unit": str, "kind": str, "rotations": str}
OPTIONAL_OF_TASK = {"sources": list, "grids": bool, "tables": list, "picture": str, "note": str}
OPTIONAL_OF_TASK |= {"training": list, "measure": list}
EXPECTED_TASK = (
    'TASK = {"name": …, "class": …, "title": …, "unit": …, "kind": …, "rotations": …} at the top level, with '
    f"a kind of {', '.join(KINDS)} and rotations of {', '.join(ROTATIONS)}"
)
EXPECTED_READER = f'READER = {{"source": …, "kind": …}} with a kind of {", ".join(KINDS)}'
NAME, NAMES = re.compile(r"[a-z][a-z_]*\Z"), "lower-case letters and underscores"
CLAIM = re.compile(r"(C([1-9]|10|11))?\Z")  # empty: a figure that belongs to none
LAST = 100  # place of a figure that states none
ORDER = ("forces", "voxels", "flow")  # of tasks, wherever they are listed


@dataclass(frozen=True)
class Task:
    """A declared task: its class in a file, and what is said and asked of it by name.

    ``unit`` is that of its squared loss, ``kind`` that of its dataset files, ``rotations`` those of every
    checkpoint: the ``group`` of its class. ``sources`` are those of datasets that fit, all of its kind where
    none is stated; with ``grids`` it is measured on a file of held-out grids; ``tables`` are made of each
    shown run beside the decomposition; ``picture`` is its figure on the report's first screen, ``note`` a
    sentence under its results there; ``training`` and ``measure`` name keys of these sections that a task
    from outside the package has beside the common ones.
    """

    name: str
    class_name: str
    title: str
    unit: str
    kind: str
    rotations: str
    file: Path
    sources: tuple[str, ...] = ()
    grids: bool = False
    tables: tuple[str, ...] = ()
    picture: str = ""
    note: str = ""
    training: tuple[str, ...] = ()
    measure: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """Dotted name of a module of this package."""
        return f"equidyn.tasks.{self.file.stem}"


@dataclass(frozen=True)
class Model:
    """A declared architecture: its task, its class in a file, the names of its sizes; ``arguments`` of the
    class with their defaults (None where there is none, or no constant), None where the source of the class
    does not say; ``constants`` that each size gives them; whether CUDA ``graphs`` can hold it, which is so
    unless it asks the host about its values.
    """

    name: str
    task: str
    class_name: str
    sizes: tuple[str, ...]
    file: Path
    arguments: dict[str, object] | None = None
    constants: dict[str, dict[str, object]] = field(default_factory=dict)
    graphs: bool = True

    def argument(self, name: str, size: str, options: dict) -> object:
        """The value of an argument of the class in a size with further options; None where it has no such
        argument or its source does not say.
        """
        if name not in (self.arguments or {}):
            return None
        return (self.arguments | self.constants[size] | options)[name]

    def usual(self, name: str) -> object:
        """A value that sizes or the default give an argument of the class; None where that is no constant."""
        values = [self.arguments[name], *(size.get(name) for size in self.constants.values())]
        return next((value for value in reversed(values) if value is not None), None)

    @property
    def module(self) -> str:
        """Dotted name of a module of this package."""
        return f"equidyn.models.{self.file.stem}"


@dataclass(frozen=True)
class Figure:
    """A declared figure: what it shows and needs, see ``figures.catalogue``; ``module`` is its name in
    ``equidyn.figures``, or its path where it is not one of these.
    """

    name: str
    task: str
    caption: str
    claim: str
    module: str
    extra: str | None = None
    axes: tuple[str, ...] = ()
    place: int = LAST
    comparisons: bool = False
    on_request: bool = False


@dataclass(frozen=True)
class Source:
    """A declared source of datasets: what a config calls it, the kind of dataset, the file of its reader."""

    name: str
    kind: str
    file: Path


@functools.cache
def own_tasks() -> dict[str, Task]:
    """The tasks of this package by name, in their order."""
    files = sorted((PACKAGE / "tasks").glob("*.py"))
    found = [task for file in files if (task := _task(file, ast.parse(file.read_text())))]
    return {task.name: task for task in sorted(found, key=lambda task: ORDER.index(task.name))}


def tasks(extensions: tuple[str, ...] = ()) -> dict[str, Task]:
    """The tasks of this package and of files outside it, by name.

    Raises
    ------
    ConfigError
        a file that cannot be read or declares nothing, or a name that another has
    """
    return _joined("task", own_tasks(), extensions, task_in)


def task_in(file: str | Path) -> Task | None:
    """The task that a file outside the package declares; None where it declares none.

    Raises
    ------
    ConfigError
        as ``model_in``
    """
    return _task(Path(file), _parsed(file))


def task_of(settings: dict) -> Task:
    """The task of a run's settings, which say where it is declared if that is outside the package.

    Raises
    ------
    UnknownNameError
        no such task; the message names those that there are
    ConfigError
        as ``task_in``
    """
    if "extension" in settings:
        file = settings["extension"]["file"]
        if (found := task_in(file)) is None:
            raise ConfigError(f"{file}: declares no task, expected {settings['task']!r}")
        return found
    if settings["task"] not in own_tasks():
        raise UnknownNameError(f"task {settings['task']!r}, expected one of {sorted(own_tasks())}")
    return own_tasks()[settings["task"]]


@functools.cache
def own_models() -> dict[str, Model]:
    """The architectures of this package by name."""
    files = sorted((PACKAGE / "models").glob("*.py"))
    return {model.name: model for file in files if (model := _model(file, ast.parse(file.read_text())))}


def models(extensions: tuple[str, ...] = ()) -> dict[str, Model]:
    """The architectures of this package and of files outside it, by name.

    Raises
    ------
    ConfigError
        a file that cannot be read or declares no model, or a name that another has
    """
    return _joined("model", own_models(), extensions, model_in)


def _joined(what: str, own: dict, extensions: tuple[str, ...], declared_in: Callable) -> dict:
    """What the package declares, and what files outside it do."""
    known = dict(own)
    for file in extensions:
        found = declared_in(file)
        if found is None:
            continue
        if found.name in known:
            raise ConfigError(
                f"{file}: {what} {found.name!r}, expected another name: {known[found.name].file} has it"
            )
        known[found.name] = found
    return known


def figures(extensions: tuple[str, ...] = ()) -> list[Figure]:
    """The figures of this package and of files outside it, in their order.

    Raises
    ------
    ConfigError
        a file that cannot be read or declares nothing, or a figure whose name another of its task has
    """
    known = list(_own_figures())
    for file in extensions:
        for figure in _figures(str(file), _parsed(file)):
            if any(_clash(figure, other) for other in known):
                raise ConfigError(f"{file}: figure {figure.name!r}, expected another name: there is one")
            known.append(figure)
    return sorted(known, key=lambda figure: (figure.place, figure.name))


def _clash(one: Figure, other: Figure) -> bool:
    return one.name == other.name and (one.task == other.task or "" in (one.task, other.task))


@functools.cache
def _own_figures() -> tuple[Figure, ...]:
    files = sorted((PACKAGE / "figures").glob("*.py"))
    return tuple(f for file in files for f in _figures(file.stem, ast.parse(file.read_text())))


def model_in(file: str | Path) -> Model | None:
    """The model that a file outside the package declares; None where it declares none.

    Raises
    ------
    ConfigError
        a file that cannot be read, is no Python, or declares nothing
    """
    return _model(Path(file), _parsed(file))


def source_in(file: str | Path) -> Source | None:
    """The source of datasets that a file outside the package declares; None where it declares none.

    Raises
    ------
    ConfigError
        as ``model_in``
    """
    value = _assigned(_parsed(file)).get("READER")
    if value is None:
        return None
    stated = _literal(value)
    if not isinstance(stated, dict) or sorted(stated) != ["kind", "source"] or stated["kind"] not in KINDS:
        raise ConfigError(f"{file}: READER is {ast.unparse(value)}, expected {EXPECTED_READER}")
    return Source(stated["source"], stated["kind"], Path(file))


def _parsed(file: str | Path) -> ast.Module:
    """A file outside the package, which must declare something."""
    if not Path(file).is_file():
        raise ConfigError(
            f"config, extensions: no file {str(file)!r} in {Path.cwd()}, expected a path from where the "
            f"command runs, not from the config"
        )
    try:
        tree = ast.parse(Path(file).read_text())
    except (OSError, ValueError, SyntaxError) as error:
        raise ConfigError(f"{file}: not readable as Python ({error})") from error
    if not {"TASK", "MODEL", "FIGURES", "READER"} & set(_assigned(tree)):
        ways = f"{EXPECTED}, or {EXPECTED_FIGURES}, or {EXPECTED_READER}, or {EXPECTED_TASK}"
        raise ConfigError(f"{file}: declares no task, model, figure or reader, expected {ways}")
    return tree


def _literal(value: ast.expr) -> object:
    """The value of a literal; None of anything else."""
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None


def _assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """Values that are assigned at the top level, by name."""
    return {
        target.id: node.value
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _figures(module: str, tree: ast.Module) -> list[Figure]:
    """The figures that a parsed file declares; none where it assigns no FIGURES."""
    value = _assigned(tree).get("FIGURES")
    if value is None:
        return []
    stated = _literal(value)
    if not isinstance(stated, list) or not all(isinstance(one, dict) for one in stated):
        raise ConfigError(f"{module}: FIGURES is no list of literals, expected {EXPECTED_FIGURES}")
    found = []
    for one in stated:
        wrong = _wrong_keys(one, OF_FIGURE, OPTIONAL)
        if not wrong and not NAME.match(one["name"]):
            wrong = f"name {one['name']!r}, expected {NAMES}"
        if wrong:
            raise ConfigError(f"{module}: figure with {wrong}; expected {EXPECTED_FIGURES}")
        if not CLAIM.match(one["claim"]):
            raise ConfigError(f"{module}: figure with claim {one['claim']!r}, expected C1 to C11 or none")
        found.append(Figure(**{**one, "axes": tuple(one.get("axes", ()))}, module=module))
    return found


def _task(file: Path, tree: ast.Module) -> Task | None:
    """The task that a parsed file declares; None where it assigns no TASK."""
    value = _assigned(tree).get("TASK")
    if value is None:
        return None
    stated = _literal(value)
    if not isinstance(stated, dict):
        raise ConfigError(f"{file}: TASK is no literal, expected {EXPECTED_TASK}")
    wrong = _wrong_keys(stated, OF_TASK, OPTIONAL_OF_TASK)
    for key, known in (("kind", KINDS), ("rotations", ROTATIONS)):
        if not wrong and stated[key] not in known:
            wrong = f"{key} {stated[key]!r}, expected one of {', '.join(known)}"
    if not wrong and not NAME.match(stated["name"]):
        wrong = f"name {stated['name']!r}, expected {NAMES}"
    if wrong:
        raise ConfigError(f"{file}: TASK with {wrong}; expected {EXPECTED_TASK}")
    class_name = _class_in(tree, stated.pop("class"), file)
    lists = {key: tuple(stated.pop(key, ())) for key in ("sources", "tables", "training", "measure")}
    return Task(**stated, **lists, class_name=class_name, file=file)


def _wrong_keys(stated: dict, needed: dict[str, type], optional: dict[str, type]) -> str:
    """What is wrong with the keys of a declaration, in words; empty where nothing is."""
    types = needed | optional
    told = [f"no {key!r}" for key in needed if key not in stated]
    told += [f"unknown key {key!r}" for key in stated if key not in types]
    told += [
        f"{key} {value!r}, expected {types[key].__name__}"
        for key, value in stated.items()
        if key in types and not isinstance(value, types[key])
    ]
    return ", ".join(told)


def _class_in(tree: ast.Module, name: str, file: Path) -> str:
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if name not in classes:
        raise ConfigError(f"{file}: no class {name!r}, expected one of {', '.join(classes)}")
    return name


def _model(file: Path, tree: ast.Module) -> Model | None:
    """The model that a parsed file declares; None where it assigns no MODEL."""
    values = _assigned(tree)
    if "MODEL" not in values:
        return None
    stated = _literal(values["MODEL"])
    if not isinstance(stated, dict):
        raise ConfigError(f"{file}: MODEL is {ast.unparse(values['MODEL'])}, expected {EXPECTED}")
    if wrong := _wrong_keys(stated, OF_MODEL, OPTIONAL_OF_MODEL):
        raise ConfigError(f"{file}: MODEL with {wrong}; expected {EXPECTED}")
    sizes = values.get("SIZES")
    keys = sizes.keys if isinstance(sizes, ast.Dict) else []
    names = tuple(key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
    if not names or len(names) != len(keys):
        raise ConfigError(f"{file}: no SIZES with names in quotes, expected {EXPECTED}")
    class_name = _class_in(tree, stated["class"], file)
    return Model(
        name=stated["name"],
        task=stated["task"],
        class_name=class_name,
        sizes=names,
        file=file,
        arguments=_arguments(tree, class_name),
        constants=dict(zip(names, map(_constants, sizes.values))),
        graphs=stated.get("graphs", True),
    )


def _constants(size: ast.expr) -> dict[str, object]:
    """Constants that a size gives to arguments, by name."""
    pairs = []
    if isinstance(size, ast.Call):  # dict(width=8)
        pairs = [(word.arg, word.value) for word in size.keywords]
    elif isinstance(size, ast.Dict):  # {"width": 8}
        pairs = [(getattr(key, "value", None), value) for key, value in zip(size.keys, size.values)]
    return {name: value.value for name, value in pairs if name and isinstance(value, ast.Constant)}


def _arguments(tree: ast.Module, class_name: str) -> dict[str, object] | None:
    """Arguments of a class of a file, see ``Model``; of one that inherits or gathers them nothing is said."""
    cls = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name][-1]
    made = [node for node in cls.body if isinstance(node, ast.FunctionDef) and node.name == "__init__"]
    if not made or made[-1].args.kwarg is not None:
        return None
    args = made[-1].args
    positional = [*args.posonlyargs, *args.args]
    plain = [None] * (len(positional) - len(args.defaults)) + args.defaults
    pairs = [*zip(positional, plain), *zip(args.kwonlyargs, args.kw_defaults)]
    return {
        arg.arg: default.value if isinstance(default, ast.Constant) else None for arg, default in pairs[1:]
    }
