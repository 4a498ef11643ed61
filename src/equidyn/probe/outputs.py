"""The files of a measurement: tables, figure, page, summary, and the worst pose to look at."""

import base64
import html
import json
import math
import platform
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import numpy as np

from equidyn import __version__
from equidyn.errors import MissingPackageError
from equidyn.files import atomic_write, write_text
from equidyn.probe import calculators, parts
from equidyn.probe.result import Result
from equidyn.probe.rows import Row, number, scale_of

ALWAYS = ("torch", "numpy", "scipy", "ase")


def write_all(result: Result, out: Path, module: str, frames: list | None = None) -> list[Path]:
    """Write everything into a folder; returns the paths, the page first.

    Parameters
    ----------
    module : top-level package of the model, whose version is recorded
    frames : the structures that were read, for the worst pose
    """
    result.about |= dict(versions=versions(module), date=time.strftime("%Y-%m-%d"), command=sys.argv)
    written = [out / "report.html", out / "decomposition.csv", out / "per_item.csv", out / "summary.json"]
    result.to_csv(out / "decomposition.csv")
    result.items_to_csv(out / "per_item.csv")
    if found := parts.parts(result):
        parts.to_csv(found, out / "parts.csv")
        written.append(out / "parts.csv")
    picture = None
    try:
        picture = out / "equivariance.png"
        result.plot(picture)
        written.append(picture)
    except MissingPackageError as error:
        result.notes.append(f"no figure: {error}")
        picture = None
    if frames is not None and (worst := worst_pose(result, frames)) is not None:
        _write_structure(out / "worst.extxyz", worst)
        written.append(out / "worst.extxyz")
    for name in {"parts.csv", "equivariance.png", "worst.extxyz"} - {path.name for path in written}:
        (out / name).unlink(missing_ok=True)  # of a command before this one
    write_text(out / "summary.json", json.dumps(summary(result), indent=1) + "\n")
    write_text(out / "report.html", page(result, picture))
    return written


def versions(module: str) -> dict[str, str]:
    """Versions of what the numbers depend on, by package."""
    found = {"equidyn": __version__, "python": platform.python_version()}
    distributions = metadata.packages_distributions().get(module, [])
    for name in [*ALWAYS, *distributions]:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def summary(result: Result) -> dict:
    """Everything but the single structures; numbers that there are not are null."""
    rows = [{k: _plain(v) for k, v in asdict(row).items()} for row in result.rows]
    return dict(rows=rows, notes=result.notes, **result.about)


def _plain(value):
    return None if isinstance(value, float) and math.isnan(value) else value


def worst_pose(result: Result, frames: list):
    """The structure and orientation with the largest error of forces (else of the first quantity)."""
    names = [row.quantity for row in result.rows]
    name = "forces" if "forces" in names else names[0]
    good = [record for record in result.records if name in record.quantities]
    if not good:
        return None
    record = max(good, key=lambda one: one.quantities[name]["worst"])
    rotation = np.reshape(record.quantities[name]["worst_rotation"], (3, 3))
    atoms = calculators.turned(frames[record.index], rotation)
    atoms.arrays = {key: atoms.arrays[key] for key in ("numbers", "positions")}  # labels have not turned
    atoms.info, atoms.calc, atoms.constraints = {}, None, []
    error = record.quantities[name]["worst"]
    atoms.info |= dict(structure=record.index, quantity=name, rms_deviation=error, rotation=rotation)
    return atoms


def _write_structure(path: Path, atoms) -> None:
    import ase.io

    with atomic_write(path) as temporary:
        ase.io.write(temporary, atoms, format="extxyz")


PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Equivariance of {name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
td, th {{ padding: .25em .7em; border-bottom: 1px solid #ddd; text-align: right; }}
td:first-child, th:first-child, td:nth-child(2), th:nth-child(2) {{ text-align: left; }}
img {{ max-width: 100%; }} code {{ font-size: 90%; overflow-wrap: anywhere; }}
</style></head><body>
<h1>How well does {name} turn with its structures?</h1>
{lines}
<table><tr>{head}</tr>
{rows}
</table>
<p>Losses and floors are squares of the unit (energies per atom). The equivariance error is what a prediction
changes by when the structure is turned and the prediction turned back; the floor is what changes between
evaluations that should agree in one orientation. Intervals: 95 %, jackknife over {clusters}.</p>
{picture}
{parts}
<h2>At the identity</h2>
<p>Root mean square change, as a share of the prediction (of energies: of their spread), of: the same
structure again, the structure moved, its atoms in another order, a turn by a millionth of a radian that is
turned back (rounding).</p>
<table><tr><th>quantity</th><th>repeats</th><th>translations</th><th>permutations</th><th>rounding</th></tr>
{identity}
</table>
<h2>How it was made</h2>
<p><code>{command}</code></p>
<p>{about}</p>
</body></html>
"""
SHOWN = {  # column → heading
    "quantity": "quantity",
    "verdict": "verdict",
    "percent": "% of loss",
    "percent_lo": "from",
    "percent_hi": "to",
    "rms": "r.m.s. error",
    "unit": "unit",
    "relative_equivariance": "relative, %",
    "total": "total loss",
    "equivariance": "equivariance",
    "floor": "floor",
    "baseline_loss": "learned nothing",
    "n_items": "structures",
    "n_rotations": "orientations",
}


def page(result: Result, picture: Path | None) -> str:
    """The report page, with its figure inside."""
    lines = "".join(f"<p>{html.escape(line)}</p>\n" for line in str(result).splitlines())
    image = ""
    if picture is not None:
        image = f'<img alt="errors" src="data:image/png;base64,{_base64(picture)}">'
    about = {k: v for k, v in result.about.items() if k != "command"}
    return PAGE.format(
        name=html.escape(result.rows[0].run),
        lines=lines,
        head="".join(f"<th>{title}</th>" for title in SHOWN.values()),
        rows="\n".join(_cells([_shown(row, column) for column in SHOWN]) for row in result.rows),
        clusters=html.escape(str(about.get("clusters", "items"))),
        picture=image,
        parts=_parts_table(result),
        identity="\n".join(_cells(_at_identity(row)) for row in result.rows),
        command=html.escape(" ".join(result.about.get("command", []))),
        about=html.escape(json.dumps(about)),
    )


PART_COLUMNS = ("quantity", "kind", "part", "value", "percent", "percent_lo", "percent_hi")
PART_HEADS = ("quantity", "by", "part", "value", "% of the error", "from", "to")


def _parts_table(result: Result) -> str:
    found = parts.parts(result)
    if not found:
        return ""
    head = "".join(f"<th>{title}</th>" for title in PART_HEADS)
    lines = [_cells([_text(getattr(part, column)) for column in PART_COLUMNS]) for part in found]
    about = "In the square of the unit; parts by degree or irrep add up to the error."
    table = f"<table><tr>{head}</tr>\n" + "\n".join(lines) + "</table>"
    return f"<h2>Parts of the error</h2>\n<p>{about}</p>\n{table}"


def _text(value) -> str:
    return number(value) if isinstance(value, float) else str(value)


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _shown(row: Row, column: str) -> str:
    value = getattr(row, column)
    if column == "relative_equivariance":
        value = 100 * math.sqrt(max(value, 0.0)) if value == value else value
    return _text(value)


def _at_identity(row: Row) -> list[str]:
    scale = scale_of(row) or 1.0
    shares = [getattr(row, f"floor_{kind}") / scale for kind in calculators.KINDS]
    return [row.quantity, *(number(math.sqrt(share)) for share in shares)]


def _cells(values: list[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(value)}</td>" for value in values) + "</tr>"
