"""The house keeps its rules: imports point one way, a fact stands once, files stay short."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from common import REPOSITORY

import equidyn
from equidyn import provenance

SOURCE = REPOSITORY / "src/equidyn"
SUBSTRATE = {
    "errors",
    "files",
    "seeds",
    "provenance",
    "device",
    "config",
    "declarations",
    "defaults",
    "extensions",
    "processes",
    "progress",
}  # single modules that all rooms may use
MAY_IMPORT = {  # room → rooms that it may import, beside itself and the substrate
    "symmetry": set(),
    "geometry": set(),
    "baselines": {"symmetry", "geometry"},
    "guards": set(),
    "data": {"guards"},
    "download": {"guards"},
    "models": {"symmetry", "geometry"},
    "tasks": {"symmetry", "geometry", "data"},
    "training": set(),
    "analysis": {"symmetry", "geometry", "guards"},
    "results": {"symmetry", "guards", "data"},
    "figures": {"results", "guards", "symmetry"},
    "cost": {"symmetry", "results", "guards", "data", "geometry", "models", "training"},
    "probe": {"symmetry"},
    "lightning": {"probe"},
    "steps": {
        "symmetry", "geometry", "baselines", "guards", "data", "download", "models", "tasks", "training",
        "analysis", "results", "figures", "cost",
    },
    "cli": {"steps", "probe"},
}  # fmt: skip
NEEDED = dict.fromkeys(("errors", "seeds", "provenance", "defaults", "extensions", "progress"), set())
NEEDED |= dict.fromkeys(("files", "device", "declarations", "processes"), {"errors"})
NEEDED["config"] = {"errors", "declarations", "defaults", "provenance"}


def name_of(path: Path) -> str:
    """Dotted name of a module, without the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Modules of the package that a file imports, at its top or within functions, by dotted name."""
    return {name_of(found) for found in provenance._imports(path)} - {""}


def room(module: str) -> str:
    return module.split(".")[0]


def test_every_room_is_in_the_rules():
    assert {room(module) for module in MODULES if module} == set(MAY_IMPORT) | SUBSTRATE


@pytest.mark.parametrize("module", [module for module in MODULES if module])
def test_imports_point_one_way(module):
    found = {room(other) for other in imported(MODULES[module])} - {room(module)}
    allowed = NEEDED[room(module)] if room(module) in NEEDED else MAY_IMPORT[room(module)] | SUBSTRATE
    assert found <= allowed


def test_tasks_and_models_do_not_know_each_other():
    text = {
        room: "".join(p.read_text() for p in (SOURCE / room).rglob("*.py")) for room in ("tasks", "models")
    }
    assert "equidyn.models" not in text["tasks"] and "equidyn.tasks" not in text["models"]


def cycles(graph: dict[str, set[str]]) -> list[str]:
    """Nodes left when those that depend on nothing left are taken away again and again."""
    graph = dict(graph)
    while free := [node for node, needs in graph.items() if not needs & set(graph) - {node}]:
        for node in free:
            del graph[node]
    return sorted(graph)


def test_there_are_no_cycles_between_rooms_or_modules():
    modules = {module: imported(path) - {module} for module, path in MODULES.items()}
    rooms = {}
    for module, needs in modules.items():
        rooms.setdefault(room(module), set()).update(room(other) for other in needs)
    assert cycles({name: needs - {name} for name, needs in rooms.items() if name}) == []
    assert cycles(modules) == []
    assert cycles({"a": {"b"}, "b": {"a"}, "c": set()}) == ["a", "b"]


def test_nothing_inside_imports_the_public_face_or_the_scripts():
    face = set(equidyn._HOME)
    for path in MODULES.values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module == "equidyn":
                assert not {alias.name for alias in node.names} & face, path
    assert not any("workflow" in module for module in MODULES)


def test_the_driver_needs_no_torch():
    """What the Snakefile imports, and the package itself."""
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    statements = re.findall(r"^from equidyn.*$", text, re.M)
    assert len(statements) >= 6
    code = "import equidyn\n" + "\n".join(statements) + "\nimport sys; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "False", done.stderr


def test_digest_ignores_comments_and_sees_code(tmp_path):
    a, b, c = (tmp_path / f"{n}.py" for n in "abc")
    a.write_text('"""Doc."""\nx = 1  # why\n')
    b.write_text('"""Other."""\nx   =   1\n')
    c.write_text("x = 2\n")
    essence = [provenance._essence(p) for p in (a, b, c)]
    assert essence[0] == essence[1] != essence[2]
    measure = provenance.module_file("equidyn.symmetry.measure")
    assert measure in provenance._imports(SOURCE / "tasks/forces.py")


def test_digest_sees_templates():
    script, template = REPOSITORY / "workflow/scripts/report.py", "results/report.html.jinja"
    assert provenance.code_digest(script) != provenance.code_digest(script, files=[template])


def test_scripts_are_short_and_call_one_step():
    for path in sorted((REPOSITORY / "workflow/scripts").glob("*.py")):
        text = path.read_text()
        assert text.count("\n") < 40, path
        steps = [m for m in imported(path) if room(m) == "steps" and m not in ("steps", "steps.command")]
        assert steps == [f"steps.{path.stem}"], path


def test_lines_and_files_are_short():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True
    ).stdout.split()
    code = [name for name in tracked if name.endswith((".py", ".smk", ".jinja", "Snakefile"))]
    assert len(code) > 200 or not tracked  # no repository: an unpacked archive
    for name in code:
        if not (REPOSITORY / name).is_file():
            continue
        lines = (REPOSITORY / name).read_text().splitlines()
        if name.startswith(("src", "workflow", "tests")):
            assert len(lines) <= 450, name
        if not name.endswith(("smk", "Snakefile")):  # snakefmt leaves shell commands on one line
            assert max(map(len, lines), default=0) <= 110, name
