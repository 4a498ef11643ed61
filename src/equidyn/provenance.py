"""Digests of the code a step runs, so that an edit reruns only what it touches."""

import ast
import functools
import hashlib
import subprocess
from collections.abc import Iterable
from pathlib import Path

SOURCE = Path(__file__).resolve().parent


def _imports(path: Path) -> frozenset[Path]:
    return _imports_at(path, _stamp(path))


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file: a workflow asks for the same modules in every rule."""
    state = path.stat()
    return state.st_mtime_ns, state.st_size


@functools.cache
def _imports_at(path: Path, stamp: tuple[int, int]) -> frozenset[Path]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        found |= {file for name in names if name.split(".")[0] == "equidyn" and (file := module_file(name))}
    return frozenset(found)


def module_file(name: str) -> Path | None:
    """File of a module of this package, by dotted name; None if there is none."""
    base = SOURCE.joinpath(*name.split(".")[1:])
    candidates = [base.with_suffix(".py")] if base != SOURCE else []
    return next((file for file in [*candidates, base / "__init__.py"] if file.is_file()), None)


def code_digest(script: str | Path, *modules: str, files: Iterable[str] = ()) -> str:
    """Digest of a script, of the equidyn modules it imports (transitively), and of what else it loads by
    name.

    Comments, formatting, docstrings and what tasks declare do not count.

    Parameters
    ----------
    modules : dotted names of further modules;  files : further files of the package, such as templates

    Raises
    ------
    FileNotFoundError
        an unknown module
    """
    todo = {Path(script).resolve()}
    for name in modules:
        file = module_file(name)
        if file is None:
            raise FileNotFoundError(f"code_digest: no module {name}")
        todo.add(file)
    seen: set[Path] = set()
    while todo:
        path = todo.pop()
        seen.add(path)
        todo |= _imports(path) - seen
    digest = hashlib.sha256()
    for path in sorted(seen, key=lambda p: p.name + p.parent.name):
        digest.update(path.name.encode() + _essence(path).encode())
    for name in files:
        digest.update((SOURCE / name).read_bytes())
    return digest.hexdigest()[:16]


def _essence(path: Path) -> str:
    return _essence_at(path, _stamp(path))


@functools.cache
def _essence_at(path: Path, stamp: tuple[int, int]) -> str:
    tree = ast.parse(path.read_text())
    tree.body = [node for node in tree.body if not _declares_task(node)]
    for node in ast.walk(tree):
        if (
            isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
            and ast.get_docstring(node, clean=False) is not None
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return ast.unparse(tree)


def _declares_task(node: ast.stmt) -> bool:
    """TASK = {…}: titles and notes, which the driver reads; no step of a run does."""
    return isinstance(node, ast.Assign) and [getattr(t, "id", None) for t in node.targets] == ["TASK"]


def commit() -> str:
    """Commit of this checkout, with -dirty if it has changes; outside a repository or without git that of the
    file COMMIT, which a packed tree has, or `unknown`.
    """
    packed = SOURCE.parents[1] / "COMMIT"
    if packed.is_file():
        return packed.read_text().strip()
    try:
        command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
        done = subprocess.run(command, cwd=SOURCE, capture_output=True, text=True)
    except OSError:
        return "unknown"
    return done.stdout.strip() or "unknown"
