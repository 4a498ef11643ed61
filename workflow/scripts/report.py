"""One self-contained HTML page: figures, results per run, claims with verdicts."""

import argparse
import base64
import csv
import json
import os
from pathlib import Path

import _cli
from jinja2 import Template

from equidyn import tables
from equidyn.claims import first_step

PAGE = Template(
    """<!doctype html><meta charset="utf-8"><title>Equidyn report</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;font-size:13px;margin:1rem 0}
td,th{border-bottom:1px solid #ddd;padding:.25rem .6rem;text-align:left;vertical-align:top}img{max-width:100%}figure{margin:1.5rem 0}figcaption{color:#555;font-size:13px}</style>
<h1>How fast does a network learn 3D rotations?</h1>
<p>The held-out loss of every checkpoint is split into the <b>twirled prediction error</b> (what is left after averaging over rotations) and the
<b>equivariance error</b> (what imperfect symmetry costs). A percentage counts as learned symmetry only where the total loss is below that of predicting
zero: a constant output is perfectly equivariant.</p>
<h2>Results</h2>
<table><tr><th>run<th>weights<th>rotations<th>loss<th>step<th>total / zero predictor<th>equivariance error, % of loss (95 %)<th>relative<th>floor / equivariance error</tr>
{% for r in final %}<tr><td>{{r.run}}<td>{{r.weights}}<td>{{r.rotations}}<td>{{r.loss}}<td>{{"%d"|format(r.step)}}<td>{{"%.3f"|format(r.total/r.zero_loss)}}
<td>{{"%.3g"|format(r.percent)}} [{{"%.3g"|format(r.percent_lo)}}, {{"%.3g"|format(r.percent_hi)}}]<td>{{"%.2g"|format(r.relative_equivariance)}}
<td>{{"%.2g"|format(r.floor/r.equivariance) if r.equivariance > 0 else "–"}}</tr>{% endfor %}</table>
<p>First step with at most 2 % <i>and</i> total at most 0.15 × the zero-predictor loss (live weights, Haar rotations):
{% for run, step in reached %}<b>{{run}}</b>: {{ "%d"|format(step) if step is not none else "not reached" }}{{ ", " if not loop.last }}{% endfor %}.
Cube rows use all 24 rotations of the cube: exact for a linear force head, the cube-subgroup value for other models. Rows `l2` are the mean length of the force error, with the
jackknife over rotations; `l2-plugin` is the same without it.</p>
{% for caption, image in figures %}<figure><img src="data:image/png;base64,{{image}}"><figcaption>{{caption}}.</figcaption></figure>{% endfor %}
<h2>Claims</h2><table><tr>{% for c in claims[0] %}<th>{{c}}{% endfor %}</tr>
{% for row in claims %}<tr>{% for v in row.values() %}<td>{{v}}{% endfor %}</tr>{% endfor %}</table>
<h2>Runs</h2><table><tr>{% for c in summaries[0] %}<th>{{c}}{% endfor %}</tr>{% for s in summaries %}<tr>{% for v in s.values() %}<td>{{v}}{% endfor %}</tr>{% endfor %}</table>
<p>Code: commit {{commit}}. Tables: <code>runs/*/decomposition.csv</code>; settings: <code>runs/*/config.yaml</code>. Data: GFN2-xTB labels on thermally displaced
conformers unless the config names another source.</p>""",
    autoescape=True,
)


def _short(value: str) -> str:
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", required=True)
    for name in ("tables", "summaries", "figures"):
        parser.add_argument(f"--{name}", required=True, nargs="+")
    parser.add_argument("--captions", required=True, help="JSON: figure → caption")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    rows, captions = tables.read(args.tables), json.loads(args.captions)
    last = {run: max(r["step"] for r in rows if r["run"] == run) for run in tables.runs(rows)}
    page = PAGE.render(
        final=[r for r in rows if r["step"] == last[r["run"]]],
        reached=[(run, first_step(tables.curve(rows, run), 2.0, 0.15)) for run in last],
        figures=[(captions[Path(f).stem], base64.b64encode(Path(f).read_bytes()).decode()) for f in args.figures],
        claims=[{k: _short(v) for k, v in row.items()} for row in csv.DictReader(open(args.claims, newline=""))],
        summaries=[json.loads(Path(s).read_text()) for s in args.summaries],
        commit=_cli.commit(),
    )
    temporary = args.out.with_suffix(".part")
    temporary.write_text(page)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
