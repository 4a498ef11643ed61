"""One self-contained HTML file: results per run, then a page per claim with figures, verdicts, conditions and links to the tables."""

import argparse
import base64
import csv
import json
import os
from pathlib import Path

import _cli
from jinja2 import Template

from equidyn import tables
from equidyn.claims import STATEMENTS, baseline, first_step

PAGE = Template(
    """<!doctype html><meta charset="utf-8"><title>Equidyn report</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;font-size:13px;margin:1rem 0}
td,th{border-bottom:1px solid #ddd;padding:.25rem .6rem;text-align:left;vertical-align:top}img{max-width:100%}figure{margin:1.5rem 0}figcaption{color:#555;font-size:13px}
section.claim{break-before:page;border-top:2px solid #222;margin-top:3rem}.verdict{white-space:nowrap;font-weight:bold}</style>
<h1>How fast does a network learn 3D rotations?</h1>
<p>The held-out loss of every checkpoint is split into the <b>twirled prediction error</b> (what is left after averaging over rotations) and the
<b>equivariance error</b> (what imperfect symmetry costs). A percentage counts as learned symmetry only where the total loss is below that of predicting
zero: a constant output is perfectly equivariant.</p>
{% macro results(rows) %}<table><tr><th>run<th>condition<th>weights<th>rotations<th>loss<th>step<th>total / zero predictor<th>total / rescaled input
<th>equivariance error, % of loss (95 %)<th>relative<th>floor / equivariance error</tr>
{% for r in rows %}<tr><td>{{r.run}}<td>{{r.condition}}<td>{{r.weights}}<td>{{r.rotations}}<td>{{r.loss}}<td>{{"%d"|format(r.step)}}<td>{{"%.3f"|format(r.total/r.zero_loss)}}
<td>{{"%.3f"|format(r.total/r.trivial_loss) if r.trivial_loss < r.zero_loss else "–"}}
<td>{{"%.3g"|format(r.percent)}} [{{"%.3g"|format(r.percent_lo)}}, {{"%.3g"|format(r.percent_hi)}}]<td>{{"%.2g"|format(r.relative_equivariance)}}
<td>{{"%.2g"|format(r.floor/r.equivariance) if r.equivariance > 0 else "–"}}</tr>{% endfor %}</table>{% endmacro %}
<h2>Results</h2>
{% for task, rows in final.items() %}<h3>{{titles[task]}}</h3>{{results(rows)}}
<p>{% for r in rows if r.total >= 0.9 * r.zero_loss %}<b>{{r.run}}{{" " + r.condition if r.condition}}</b>
ends at {{"%.2f"|format(r.total/r.zero_loss)}} × the zero-predictor loss: its low percentage is mostly that of
predicting next to nothing. {% endfor %}{{notes[task]}}</p>
{% if rebounds[task] %}<p>Later rises of the percentage (by at least 1.3 × from its lowest value below the zero-predictor loss to the last step):
{% for run, condition, low, step, last in rebounds[task] %}<b>{{run}}{{" " + condition if condition}}</b>
from {{"%.2g"|format(low)}} % (step {{"%d"|format(step)}}) to {{"%.2g"|format(last)}} %{{"; " if not loop.last}}{% endfor %}.</p>
{% else %}<p>No percentage here ends 1.3 × or more above its lowest value below the zero-predictor loss.</p>{% endif %}
<details><summary>Other weights, rotations and losses</summary>{{results(others[task])}}</details>{% endfor %}
{% if reached %}<p>First step with at most 2 % <i>and</i> total at most 0.15 × the zero-predictor loss (forces, live weights, Haar rotations):
{% for run, step in reached %}<b>{{run}}</b>: {{ "%d"|format(step) if step is not none else "not reached" }}{{ ", " if not loop.last }}{% endfor %}.</p>{% endif %}
<h2>Claims</h2><p>Verdicts are computed from the tables by the rules in <code>src/equidyn/claims.py</code>.</p>
<table><tr><th>claim<th>statement<th>verdicts</tr>
{% for page in pages %}<tr><td><a href="#{{page.claim}}">{{page.claim}}</a><td>{{page.statement}}<td>{{page.verdicts}}</tr>{% endfor %}</table>
{% macro drawn(list) %}{% for caption, image in list %}<figure><img src="data:image/png;base64,{{image}}"><figcaption>{{caption}}.</figcaption></figure>{% endfor %}{% endmacro %}
{% for page in pages %}<section class="claim" id="{{page.claim}}"><h2>{{page.claim}}: {{page.statement}}</h2>
{{drawn(page.figures)}}
<table><tr><th>place<th>paper<th>ours<th>95 %<th>verdict<th>conditions</tr>
{% for r in page.rows %}<tr><td>{{r.place}}{% if r.statement != page.statement %}: {{r.statement}}{% endif %}<td>{{r.paper}}<td>{{r.ours}}
<td>{{"[%s, %s]"|format(r.lo, r.hi) if r.lo}}<td class="verdict">{{r.verdict}}<td>{{r.conditions}}</tr>{% endfor %}</table>
<p>Tables: <a href="claims.csv">claims.csv</a>{% for link in page.links %}, <a href="{{link}}">{{link}}</a>{% endfor %}</p></section>{% endfor %}
<section class="claim"><h2>Further figures and tables</h2>{{drawn(figures)}}
{% for name, rows in more %}<h3>{{name}}</h3><table><tr>{% for c in rows[0] %}<th>{{c}}{% endfor %}</tr>
{% for row in rows %}<tr>{% for v in row.values() %}<td>{{v}}{% endfor %}</tr>{% endfor %}</table>
{% endfor %}
<h2>Runs</h2><table><tr>{% for c in summaries[0] %}<th>{{c}}{% endfor %}</tr>{% for s in summaries %}<tr>{% for v in s.values() %}<td>{{v}}{% endfor %}</tr>{% endfor %}</table>
<p>Code: commit {{commit}}. Tables: <code>runs/*/decomposition.csv</code>; settings: <code>runs/*/config.yaml</code>. Data: generated (GFN2-xTB labels on thermally displaced
conformers; unlabelled conformers; synthetic backbones) unless the config names another source.</p></section>""",
    autoescape=True,
)


# Figures and tables of a claim, by the part of the name after the task, and by file name; figures of no claim come last.
SHOWN = {
    "C1": (["losses", "time_losses"], "decomposition.csv"),
    "C2": (["percent", "percent_linear", "times", "times_linear", "final_times", "contrast"], "decomposition.csv"),
    "C3": (["axis_size"], "decomposition.csv"),
    "C4": (["axis_data"], "decomposition.csv"),
    "C5": (["axis_optimizer"], "decomposition.csv"),
    "C6": (["axis_seed"], "decomposition.csv"),
    "C7": (["curvature", "landscape"], "curvature.csv"),
    "C8": (["gradients"], "gradients.csv"),
    "C9": (["head"], "head.csv"),
    "C10": (["cost"], "decomposition.csv"),
}
TITLES = {"forces": "Forces", "voxels": "Denoising voxels", "flow": "Flow matching on protein backbones"}
NOTES = {
    "forces": "Cube rows use all 24 rotations of the cube: exact for a linear force head, the cube-subgroup value for other models. Rows l2 are the mean length of the force "
    "error, with the jackknife over rotations; l2-plugin is the same without it.",
    "voxels": "Rotations are those of the cube, which act on a grid exactly: a lower bound for all of SO(3). Rows haar turn the atoms by any rotation and interpolate back; "
    "what an exactly equivariant blur measures that way (floor / equivariance error) is interpolation, not broken symmetry.",
    "flow": "Losses are of the velocity, per flow time t. What lies above the loss of the rescaled input a(t)·x_t, which is exactly equivariant, was not learned. "
    "Conditions ending in sc have self-conditioning on.",
}


def rebounds(rows: list[dict], task: str) -> list[tuple]:
    """(run, condition, lowest percent, its step, last percent) of curves that end at least 1.3 × above their lowest point below the zero-predictor loss."""
    found = []
    for run in tables.runs([r for r in rows if r["task"] == task]):
        for condition in tables.conditions(rows, run):
            curve = [r for r in tables.curve(rows, run, condition=condition) if r["total"] < baseline(r) and r["equivariance"] > 10 * r["floor"]]
            if curve:
                low = min(curve, key=lambda r: r["percent"])
                if curve[-1]["percent"] >= 1.3 * low["percent"]:
                    found.append((run, condition, low["percent"], low["step"], curve[-1]["percent"]))
    return found


def _short(value: str) -> str:
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value


def pages_of(claims: list[dict], figures: dict[str, tuple[str, str]], tables: list[Path], start: Path) -> list[dict]:
    """A page per claim: its rows, figures (caption, image) and links to its tables, relative to the folder ``start``."""
    pages = []
    for claim, (names, table) in SHOWN.items():
        rows = [r for r in claims if r["claim"] == claim]
        words = [r["verdict"] for r in rows]
        counts = "; ".join(f"{word} ({words.count(word)})" if len(words) > 1 else word for word in dict.fromkeys(words))
        shown = [figures[stem] for stem in figures if stem.split("-", 1)[1] in names]
        links = [os.path.relpath(path, start) for path in tables if path.name == table] if words != ["not run"] else []
        pages.append(dict(claim=claim, statement=STATEMENTS.get(claim, (rows[0]["statement"],))[0], verdicts=counts, rows=rows, figures=shown, links=links))
    return pages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", required=True)
    for name in ("tables", "summaries", "figures"):
        parser.add_argument(f"--{name}", required=True, nargs="+")
    parser.add_argument("--more", nargs="*", default=[], help="further tables to show as they are")
    parser.add_argument("--dynamics", nargs="*", default=[], type=Path, help="curvature, gradient and head tables, to link to")
    parser.add_argument("--captions", required=True, help="JSON: figure → caption")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    rows, captions = tables.read(args.tables), json.loads(args.captions)
    figures = {Path(f).stem: (captions[Path(f).stem], base64.b64encode(Path(f).read_bytes()).decode()) for f in args.figures}
    claims = [{k: _short(v) for k, v in row.items()} for row in csv.DictReader(open(args.claims, newline=""))]
    of_claims = {name for names, _ in SHOWN.values() for name in names}
    last = {run: max(r["step"] for r in rows if r["run"] == run) for run in tables.runs(rows)}
    final = [r for r in rows if r["step"] == last[r["run"]]]
    tasks = list(dict.fromkeys(r["task"] for r in rows))

    def main_row(r):
        return (r["loss"], r["weights"], r["rotations"]) == ("mse", "live", tables.MAIN[r["task"]])

    page = PAGE.render(
        final={task: [r for r in final if r["task"] == task and main_row(r)] for task in tasks},
        others={task: [r for r in final if r["task"] == task and not main_row(r)] for task in tasks},
        rebounds={task: rebounds(rows, task) for task in tasks},
        titles=TITLES,
        notes=NOTES,
        reached=[(run, first_step(tables.curve(rows, run), 2.0, 0.15)) for run in last if tables.curve(rows, run) and tables.curve(rows, run)[0]["task"] == "forces"],
        pages=pages_of(claims, figures, [*map(Path, args.tables), *args.dynamics], args.out.parent),
        figures=[figure for stem, figure in figures.items() if stem.split("-", 1)[1] not in of_claims],
        more=[("/".join(Path(f).parts[-2:]), [{k: _short(v) for k, v in row.items()} for row in csv.DictReader(open(f, newline=""))]) for f in args.more],
        summaries=[json.loads(Path(s).read_text()) for s in args.summaries],
        commit=_cli.commit(),
    )
    temporary = args.out.with_suffix(".part")
    temporary.write_text(page)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
