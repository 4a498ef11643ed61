"""One self-contained HTML file: results per run, then a page per claim with figures, verdicts, conditions and links to the tables."""

import argparse
import base64
import csv
import json
import os
from collections import Counter
from pathlib import Path

import _cli
import yaml
from jinja2 import Template

from equidyn import sealed, tables
from equidyn.claims import STATEMENTS
from equidyn.provenance import commit
from equidyn.verdicts import counted, first_step, verdict

PAGE = Template(
    """<!doctype html><meta charset="utf-8"><title>Equidyn report</title>
<style>body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}table{border-collapse:collapse;font-size:13px;margin:1rem 0}
td,th{border-bottom:1px solid #ddd;padding:.25rem .6rem;text-align:left;vertical-align:top}img{max-width:100%}figure{margin:1.5rem 0}figcaption{color:#555;font-size:13px}
section.claim{break-before:page;border-top:2px solid #222;margin-top:3rem}.verdict{white-space:nowrap;font-weight:bold}</style>
<h1>How fast does a network learn 3D rotations?</h1>
<p>The held-out loss of every checkpoint is split into the <b>twirled prediction error</b> (what is left after averaging over rotations) and the
<b>equivariance error</b> (what imperfect symmetry costs). A percentage counts as learned symmetry only where the total loss is, with its interval,
at least a tenth below that of predicting zero and of the rescaled input: both are perfectly equivariant with nothing learned.</p>
{% macro results(rows) %}<table><tr><th>run<th>condition<th>weights<th>rotations<th>loss<th>step<th>total / zero predictor<th>total / rescaled input
<th>equivariance error, % of loss (95 %)<th>relative<th>floor / equivariance error</tr>
{% for r in rows %}<tr><td>{{r.run}}<td>{{r.condition}}<td>{{r.weights}}<td>{{r.rotations}}<td>{{r.loss}}<td>{{"%d"|format(r.step)}}<td>{{"%.3f"|format(r.total/r.zero_loss)}}
<td>{{"%.3f"|format(r.total/r.trivial_loss) if r.trivial_loss < r.zero_loss else "–"}}
<td>{{"%.3g"|format(r.percent)}} [{{"%.3g"|format(r.percent_lo)}}, {{"%.3g"|format(r.percent_hi)}}]<td>{{"%.2g"|format(r.relative_equivariance)}}
<td>{{"%.2g"|format(r.floor/r.equivariance) if r.equivariance > 0 else "–"}}</tr>{% endfor %}</table>{% endmacro %}
<h2>Results</h2>
{% for task, rows in final.items() %}<h3>{{titles[task]}}</h3>{{results(rows)}}
<ul>{% for line in readings[task] %}<li>{{line}}{% endfor %}</ul><p>{{notes[task]}}</p>
<details><summary>Other weights, rotations and losses</summary>{{results(others[task])}}</details>{% endfor %}
<h3>Data</h3><table><tr><th>dataset<th>source<th>kept<th>held out<th>rejected or left out, by reason</tr>
{% for d in datasets %}<tr><td>{{d.name}}<td>{{d.source}}<td>{{d.kept}}<td>{{d.held_out}}<td>{{d.rejected}}</tr>{% endfor %}</table>
{% if reached %}<p>First step with at most 2 % <i>and</i> total at most 0.15 × the zero-predictor loss (forces, live weights, Haar rotations):
{% for run, step in reached %}<b>{{run}}</b>: {{ "%d"|format(step) if step is not none else "not reached" }}{{ ", " if not loop.last }}{% endfor %}.</p>{% endif %}
<h2>Claims</h2><p>Verdicts are computed from the tables by the rules in <code>src/equidyn/verdicts.py</code> and <code>claims.py</code>.</p>
<table><tr><th>claim<th>statement<th>verdicts</tr>
{% for page in pages %}<tr><td><a href="#{{page.claim}}">{{page.claim}}</a><td>{{page.statement}}<td>{{page.verdicts}}</tr>{% endfor %}</table>
{% macro drawn(list) %}{% for caption, image in list %}<figure><img src="data:image/png;base64,{{image}}"><figcaption>{{caption}}.</figcaption></figure>{% endfor %}{% endmacro %}
{% for page in pages %}<section class="claim" id="{{page.claim}}"><h2>{{page.claim}}: {{page.statement}}</h2>
{{drawn(page.figures)}}
<table><tr><th>place<th>paper<th>ours<th>interval or range<th>verdict<th>conditions</tr>
{% for r in page.rows %}<tr><td>{{r.place}}{% if r.statement != page.statement %}: {{r.statement}}{% endif %}<td>{{r.paper}}<td>{{r.ours}}
<td>{{"[%s, %s]"|format(r.lo, r.hi) if r.lo}}<td class="verdict">{{r.verdict}}<td>{{r.conditions}}</tr>{% endfor %}</table>
<p>Tables: <a href="claims.csv">claims.csv</a>{% for link in page.links %}, <a href="{{link}}">{{link}}</a>{% endfor %}</p></section>{% endfor %}
<section class="claim"><h2>Further figures and tables</h2>{{drawn(figures)}}
{% for name, rows in more %}<h3>{{name}}</h3><table><tr>{% for c in rows[0] %}<th>{{c}}{% endfor %}</tr>
{% for row in rows %}<tr>{% for v in row.values() %}<td>{{v}}{% endfor %}</tr>{% endfor %}</table>
{% endfor %}
<h2>Runs</h2><table><tr>{% for c in summaries[0] %}<th>{{c}}{% endfor %}</tr>{% for s in summaries %}<tr>{% for v in s.values() %}<td>{{v}}{% endfor %}</tr>{% endfor %}</table>
<p>Code: commit {{commit}}. Tables: <code>runs/*/decomposition.csv</code>; settings: <code>runs/*/config.yaml</code>. Data: see the table above.</p></section>""",
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
TITLES = {"forces": "Forces", "voxels": "Denoising voxels", "flow": "Flow matching on protein backbones (Cα traces; for their source see the table of data)"}
NOTES = {
    "forces": "Cube rows use all 24 rotations of the cube: exact for a linear force head, the cube-subgroup value for other models. Rows l2 are the mean length of the force "
    "error, with the jackknife over rotations; l2-plugin is the same without it.",
    "voxels": "Rotations are those of the cube, which act on a grid exactly: a lower bound for all of SO(3). Rows haar turn the atoms by any rotation and interpolate back; "
    "what an exactly equivariant blur measures that way (floor / equivariance error) is interpolation, not broken symmetry.",
    "flow": "Losses are of the velocity, per flow time t. What lies above the loss of the rescaled input a(t)·x_t, which is exactly equivariant, was not learned. "
    "Conditions ending in sc have self-conditioning on.",
}


def readings(rows: list[dict], task: str, paper: list[dict], chirality: list[dict]) -> list[str]:
    """What the last rows of a task say, in words made from the tables alone."""
    curves = {}
    for run in tables.runs([r for r in rows if r["task"] == task]):
        for condition in [c for c in tables.conditions(rows, run) if not c.endswith("sc")]:
            curves[run, condition] = tables.curve(rows, run, condition=condition)
    lines = [_ends(curve) for curve in curves.values()] if task != "flow" else [_below_rescaled(curves)]
    lines.append(_rises(curves))
    if task == "flow":
        if published := _published_rises(paper):
            lines.append(f"The paper's 60M run, by contrast, later rises: {published}.")
        lines += _hand(chirality)
    if task == "voxels":
        lines += _off_grid(rows)
    return lines


def _ends(curve: list[dict]) -> str:
    """Where a curve ends: percentage, interval, what was learned, verdict."""
    last = curve[-1]
    where, ratio = f"{last['run']}{', ' + last['condition'] if last['condition'] else ''}", last["total"] / last["zero_loss"]
    if last["equivariance"] <= 10 * last["floor"]:
        return f"{where}: exactly equivariant to rounding, at {ratio:.3g} × the zero-predictor loss."
    text = f"{where}: {last['percent']:.3g} % [{last['percent_lo']:.3g}, {last['percent_hi']:.3g}] at {ratio:.3g} × the zero-predictor loss; at most 2 %: {verdict(curve)}."
    if ratio >= 0.8:
        text += " So close to the zero predictor a low percentage is mostly that of predicting next to nothing."
    if (lowest := min(curve, key=lambda r: r["percent"])) and not counted(lowest):
        text += f" Its lowest percentage, {lowest['percent']:.2g} % at step {lowest['step']:.0f}, stands at {lowest['total'] / lowest['zero_loss']:.3g} × and does not count."
    return text


def _below_rescaled(curves: dict) -> str:
    """How far below the best rescaling of its input every flow time ends, and whether by a tenth from 0.4 to 0.95."""
    told, middle = [], []
    for (run, condition), curve in curves.items():
        ratio, time = curve[-1]["total"] / curve[-1]["trivial_loss"], float(condition.removeprefix("t="))
        told.append(f"{run} {condition} {ratio:.2f} ×")
        middle += [ratio <= 0.9] if 0.4 <= time <= 0.95 else []
    judged = "yes" if middle and all(middle) else "no"
    return f"Last total loss over that of the rescaled input: {', '.join(told)}. At least a tenth below it at every t from 0.4 to 0.95: {judged}."


RISE = 1.3  # times the lowest percentage before it


def _rises(curves: dict) -> str:
    """Curves that rise, after their first counted step, to at least ``RISE`` times the lowest percentage before: from, to, end."""
    told = []
    for (run, condition), curve in curves.items():
        rows, worst = [r for r in curve if counted(r) and r["equivariance"] > 10 * r["floor"]], (1.0, None, None)
        for k, peak in enumerate(rows[1:], 1):
            low = min(rows[:k], key=lambda r: r["percent"])
            worst = max(worst, (peak["percent"] / low["percent"], low, peak), key=lambda w: w[0])
        if worst[0] >= RISE:
            _, low, peak = worst
            told.append(
                f"{run}{' ' + condition if condition else ''} from {low['percent']:.2g} % (step {low['step']:.0f}) to {peak['percent']:.2g} % "
                f"(step {peak['step']:.0f}), {rows[-1]['percent']:.2g} % at the end"
            )
    if not told:
        return f"No percentage that counts rises later to {RISE:g} × its lowest before or more."
    return f"Percentages that count and later rise ({RISE:g} × or more): {'; '.join(told)}."


def _published_rises(paper: list[dict]) -> str:
    """Flow times of the paper's 60M run whose last percentage is at least ``RISE`` times its lowest published milestone."""
    told = []
    for run in dict.fromkeys(r["run"] for r in paper if r["task"] == "flow" and r["run"].startswith("default-rep2 ")):
        curve = [r for r in paper if (r["task"], r["run"]) == ("flow", run) and r["quantity"] in ("percent_published", "dip", "last")]
        low, last = min(curve, key=lambda r: r["percent"]), max(curve, key=lambda r: r["step"])
        if last["percent"] >= RISE * low["percent"]:
            told.append(f"{run.split()[-1]} {low['percent']:.2g} to {last['percent']:.2g} %")
    return ", ".join(told)


def _hand(chirality: list[dict]) -> list[str]:
    """Whether the last checkpoint tells left from right: the chirality gap by flow time."""
    told = []
    for run in tables.runs(chirality):
        mine = [r for r in chirality if r["run"] == run]
        last = [r for r in mine if r["step"] == max(r["step"] for r in mine)]
        knows = [r["condition"] for r in last if r["lo"] > 0]
        learned = f"at {', '.join(knows)}, and nowhere else" if knows else "at no flow time: this run has not learned the hand of its chains (docs/log.md)"
        told.append(f"{run}: mirrored held-out chains have a higher twirled loss (95 % interval above 0) {learned}.")
    return told


def _off_grid(rows: list[dict]) -> list[str]:
    """Haar rotations of the atoms beside what an exactly equivariant blur measures so."""
    told = []
    for r in rows:
        if (r["task"], r["rotations"], r["weights"]) == ("voxels", "haar", "live"):
            told.append(
                f"{r['run']}, any rotation instead of the cube's: equivariance error {r['equivariance']:.2g}, but an exactly equivariant blur measures {r['floor']:.2g} that way: "
                f"{'interpolation alone could make it' if r['floor'] > r['equivariance'] else 'more than interpolation makes'} "
                "(the paper's voxel runs level off at 4e-6 to 1e-5, on another grid)."
            )
    return told


def dataset_row(folder: Path) -> dict:
    """Name, source and counts of a dataset from the files beside it: config.yaml, split.json, rejected.csv and, for voxels, grids.h5."""
    split = json.loads((folder / "split.json").read_text())
    with open(folder / "rejected.csv", newline="") as file:
        reasons = Counter(row["reason"].split(" (")[0] for row in csv.DictReader(file))
    source = yaml.safe_load((folder / "config.yaml").read_text())
    named = {"conformers": "generated conformers of listed molecules", "backbones": "synthetic Cα traces, no real protein"}.get(source["source"], source["source"])
    if source["source"] == "conformers":
        named += ", GFN2-xTB labels" if source.get("labels", True) else ", unlabelled"
    if (measured := folder / "grids.h5").exists():
        with sealed.opened(measured, "grids") as file:
            reasons.update({f"not measured, {k}" if "not fit" in k else k: n for k, n in json.loads(file.attrs["counts"]).items() if "outside" in k or "not fit" in k})
    return dict(
        name=folder.name, source=named, kept=sum(s["items"] for s in split.values()), held_out=split["held_out"]["items"],
        rejected="; ".join(f"{reason}: {n}" for reason, n in reasons.most_common()) or "none",
    )  # fmt: skip


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
    parser.add_argument("--datasets", nargs="*", default=[], type=Path, help="folders of the datasets")
    parser.add_argument("--paper", required=True)
    parser.add_argument("--captions", required=True, help="JSON: figure → caption")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    rows, paper, captions = tables.read(args.tables), tables.read_paper(args.paper), json.loads(args.captions)
    chirality = tables.read([f for f in args.more if Path(f).name == "chirality.csv"])
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
        readings={task: readings(rows, task, paper, chirality) for task in tasks},
        datasets=[dataset_row(folder) for folder in args.datasets],
        titles=TITLES,
        notes=NOTES,
        reached=[(run, first_step(tables.curve(rows, run), 2.0, 0.15)) for run in last if tables.curve(rows, run) and tables.curve(rows, run)[0]["task"] == "forces"],
        pages=pages_of(claims, figures, [*map(Path, args.tables), *args.dynamics], args.out.parent),
        figures=[figure for stem, figure in figures.items() if stem.split("-", 1)[1] not in of_claims],
        more=[("/".join(Path(f).parts[-2:]), [{k: _short(v) for k, v in row.items()} for row in csv.DictReader(open(f, newline=""))]) for f in args.more],
        summaries=[json.loads(Path(s).read_text()) for s in args.summaries],
        commit=commit(),
    )
    temporary = args.out.with_suffix(".part")
    temporary.write_text(page)
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
