"""What docstrings and comments call ``module.name`` is there, under that name."""

import ast
import re
from pathlib import Path

import pytest
from common import REPOSITORY
from pydantic import BaseModel

from equidyn.config import sections
from equidyn.config.parse import keys_of

SOURCE = REPOSITORY / "src/equidyn"
DOTTED = re.compile(r"``((?:[a-z]\w*\.)+[A-Za-z_]\w*)(?:\(.*?\))?``")
FILES = {"csv", "json", "h5", "pt", "html", "yaml", "py", "md"}  # suffixes: ``timing.csv`` is a file
KEYS = {  # of sections of a config that are called as a module is
    name: {
        key
        for section in vars(sections).values()
        if isinstance(section, type) and issubclass(section, BaseModel) and section.__name__.endswith(ending)
        for key in keys_of(section)
    }
    for name, ending in (("training", "Training"), ("measure", "Measure"))
}


def dotted(path: Path) -> str:
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def members(tree: ast.AST) -> dict[str, ast.AST]:
    """What a module or a class defines, by name; of a class also what its methods set on ``self``."""
    found: dict[str, ast.AST] = {}
    for node in getattr(tree, "body", []):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found[node.name] = node
        stored = [n for n in ast.walk(node) if isinstance(getattr(n, "ctx", None), ast.Store)]
        if isinstance(tree, ast.ClassDef):
            found |= {n.attr: n for n in stored if isinstance(n, ast.Attribute)}
        if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            found |= {n.id: n for n in stored if isinstance(n, ast.Name)}
    return found


def modules_in(source: Path) -> dict[str, dict[str, ast.AST]]:
    found = {}
    for path in sorted(source.rglob("*.py")):
        tree = ast.parse(path.read_text())
        names = members(tree)
        if path.name == "__init__.py":
            imports = (node for node in tree.body if isinstance(node, ast.ImportFrom))
            names |= {alias.asname or alias.name: node for node in imports for alias in node.names}
        found[dotted(path)] = names
    return found


MODULES = modules_in(SOURCE)


def unresolved(text: str) -> list[str]:
    """Dotted names that begin with a module of ours, by any end of its own name, and lead nowhere."""
    return [name for name in DOTTED.findall(text) if not resolves(name.removeprefix("equidyn."))]


def resolves(name: str) -> bool:
    first, *rest = name.split(".")
    if rest[-1:] and rest[-1] in FILES:
        return True
    ours = [module for module in MODULES if first in module.split(".")]
    in_config = len(rest) == 1 and rest[0] in KEYS.get(first, ())
    return not ours or in_config or any(leads_to(name, module) for module in ours)


def leads_to(name: str, module: str) -> bool:
    """Whether a name is that module, or something in it."""
    parts = name.split(".")
    for k in range(len(parts), 0, -1):
        if f".{module}".endswith("." + ".".join(parts[:k])):
            within = parts[k:]
            break
    else:
        return False
    names = MODULES[module]
    for part in within:
        if part not in names:
            return False
        names = members(names[part])
    return True


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=dotted)
def test_names_of_ours_are_where_they_are_said_to_be(path):
    assert unresolved(path.read_text()) == []


@pytest.mark.parametrize(
    "text, wrong",
    [
        ("``files.atomic_write``, ``equidyn.files``, ``symmetry.measure.Batch``", []),
        ("``store.whole`` and ``catalogue.place``", ["store.whole", "catalogue.place"]),
        ("``training.average``, ``training.avarage``", ["training.avarage"]),
        ("``torch.nn.Linear``, ``timing.csv``, ``results.nowhere``", ["results.nowhere"]),
        ("``config.expand`` is imported by its package, ``result.number`` is not there", ["result.number"]),
    ],
)
def test_stale_names_are_found(text, wrong):
    assert unresolved(text) == wrong
