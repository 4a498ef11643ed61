"""One self-contained HTML file. Its first screen answers the question for each task and has the verdicts;
then come results per run and a page per claim with figures, verdicts, conditions and links to the tables.
"""

import base64
import csv
import json
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from equidyn.data import store
from equidyn.declarations import Task, own_tasks
from equidyn.defaults import LABELS
from equidyn.errors import optional_packages
from equidyn.files import write_text
from equidyn.guards import content_digest
from equidyn.provenance import commit
from equidyn.results import tables
from equidyn.results.answers import ahead, answer, of_the_paper
from equidyn.results.captions import OF_THE_PAPER, WITH_PAPER, conditions
from equidyn.results.claims.rows import STATEMENTS
from equidyn.results.readings import readings
from equidyn.results.verdicts import first_step

with optional_packages():
    import yaml
    from jinja2 import Environment, PackageLoader

TEMPLATE = "report.html.jinja"

TABLES = {f"C{number}": "decomposition.csv" for number in range(1, 12)}  # of a claim
TABLES |= {"C7": "curvature.csv", "C8": "gradients.csv", "C9": "head.csv", "C10": "efficiency.csv"}


def dataset_row(folder: Path) -> dict:
    """Name, source, counts, poses and checks of a dataset from its file and those beside it: config.yaml,
    split.json, rejected.csv, checks.json and, for voxels, grids.h5.
    """
    split = json.loads((folder / "split.json").read_text())
    with open(folder / "rejected.csv", newline="") as file:
        reasons = Counter(row["reason"] for row in csv.DictReader(file))
    source = yaml.safe_load((folder / "config.yaml").read_text())
    named = {
        "conformers": "generated conformers of listed molecules",
        "backbones": "synthetic Cα traces, no real protein",
        "chains": "Cα of experimental chains",
        "turned": f"{source.get('of')}, turned",
    }.get(source["source"], source["source"])
    if source["source"] == "conformers":
        named += ", GFN2-xTB labels" if source.get("labels", LABELS) else ", unlabelled"
    file = folder.with_name(f"{folder.name}.h5")
    poses, found = store.poses_of(file)
    if (measured := folder / "grids.h5").exists():
        with content_digest.open_checked(measured, "grids") as file:
            reasons.update(
                {
                    f"not measured, {k}" if "not fit" in k else k: n
                    for k, n in json.loads(file.attrs["counts"]).items()
                    if "outside" in k or "not fit" in k
                }
            )
    return dict(
        name=folder.name,
        source=named,
        kept=sum(s["items"] for s in split.values()),
        held_out=split["held_out"]["items"],
        poses=f"{poses}: {found.text()}" if found else poses,
        rejected="; ".join(f"{reason}: {n}" for reason, n in reasons.most_common()) or "none",
        checks=checks_of(folder),
    )


def checks_of(folder: Path) -> list[dict]:
    """Rows of a dataset's ``checks.json``; none of a dataset that was made before there were any."""
    path = folder / "checks.json"
    return json.loads(path.read_text())["checks"] if path.is_file() else []


def _short(value: str) -> str:
    try:
        return f"{float(value):.3g}"
    except ValueError:
        return value


def pages_of(
    claims: list[dict],
    figures: dict[str, tuple[str, str, str]],
    claim_of: dict[str, str],
    tables: list[Path],
    start: Path,
) -> list[dict]:
    """A page per claim: its rows, figures (name, caption, image) and links to its tables, relative to the
    folder ``start``.

    Parameters
    ----------
    claim_of : claim under which a figure stands, by its name
    """
    pages = []
    for claim, table in TABLES.items():
        rows = [r for r in claims if r["claim"] == claim]
        if not rows:  # a table of claims from before there was this one
            continue
        words = [r["verdict"] for r in rows]
        counts = "; ".join(
            f"{word} ({words.count(word)})" if len(words) > 1 else word for word in dict.fromkeys(words)
        )
        shown = [figures[stem] for stem in figures if claim_of[stem] == claim]
        named = [path for path in tables if path.name == table]
        named = named or [path for path in tables if path.name == "decomposition.csv"]
        links = [os.path.relpath(path, start) for path in named] if words != ["not run"] else []
        pages.append(
            dict(
                claim=claim,
                statement=STATEMENTS.get(claim, (min((r["statement"] for r in rows), key=len),))[0],
                verdicts=counts,
                rows=rows,
                figures=shown,
                links=links,
            )
        )
    return pages


@dataclass(frozen=True)
class Sources:
    """The files that the page is made of."""

    claims: Path
    decompositions: list[Path]
    summaries: list[Path]
    figures: list[Path]  # PNG, named <task>-<figure>
    captions: dict[str, str]  # by name of the figure
    claim_of: dict[str, str]  # by name of the figure; empty: of none
    paper: Path  # the paper's numbers
    shown: list[Path] = field(default_factory=list)  # further tables to show as they are
    linked: list[Path] = field(default_factory=list)  # curvature, gradient and head tables, to link to
    datasets: list[Path] = field(default_factory=list)  # folders of the datasets
    tasks: dict[str, Task] = field(default_factory=own_tasks)  # that runs may have


def write(sources: Sources, out: Path) -> None:
    """Render the page, whole or not at all.

    Raises
    ------
    DataError
        a table that is not readable, or a page that cannot be written
    """
    template = Environment(loader=PackageLoader("equidyn", "results"), autoescape=True).get_template(TEMPLATE)
    page = template.render(**context(sources, out.parent))
    write_text(out, page)


def context(sources: Sources, start: Path) -> dict:
    """What the template shows; links are relative to the folder ``start``."""
    rows, paper = tables.read(sources.decompositions), tables.read_paper(sources.paper)
    chirality = tables.read([path for path in sources.shown if path.name == "chirality.csv"])
    summaries = [json.loads(path.read_text()) for path in sources.summaries]
    how = _conditions(sources, rows, summaries)
    figures = {p.stem: (p.stem, _caption(sources, p.stem, how), _embedded(p)) for p in sources.figures}
    last = {run: max(r["step"] for r in rows if r["run"] == run) for run in tables.runs(rows)}
    final = [r for r in rows if r["step"] == last[r["run"]]]
    there = {r["task"] for r in rows}
    main = {run: tables.main_rotations([r for r in rows if r["run"] == run]) for run in last}
    tasks = [task for task in sources.tasks if task in there]
    pictures = {task: f"{task}-{sources.tasks[task].picture}" for task in tasks}
    claims = _shortened(sources.claims)
    return dict(
        answers={task: answer(rows, task) for task in tasks},
        ahead={task: ahead(claims, task) for task in tasks},
        theirs={task: of_the_paper(paper, task) for task in tasks},
        pictures={task: figures[stem] for task, stem in pictures.items() if stem in figures},
        table_of={path.parent.name: os.path.relpath(path, start) for path in sources.decompositions},
        final={task: [r for r in final if r["task"] == task and _is_main(r, main)] for task in tasks},
        others={task: [r for r in final if r["task"] == task and not _is_main(r, main)] for task in tasks},
        readings={task: readings(rows, task, paper, chirality) for task in tasks},
        datasets=[dataset_row(folder) for folder in sources.datasets],
        titles={task: sources.tasks[task].title for task in tasks},
        notes={task: sources.tasks[task].note for task in tasks},
        reached=_reached(rows),
        pages=pages_of(
            claims,
            figures,
            sources.claim_of,
            [*sources.decompositions, *sources.linked],
            start,
        ),
        figures=[figure for stem, figure in figures.items() if not sources.claim_of[stem]],
        more=[
            ("/".join(path.parts[-2:]), os.path.relpath(path, start), _shortened(path))
            for path in sources.shown
        ],
        summaries=summaries,
        commit=commit(),
    )


def _conditions(sources: Sources, rows: list[dict], summaries: list[dict]) -> dict[str, str]:
    """How the runs of every task were made and measured, in a sentence."""
    files = {path.parent.name: path.with_name("config.yaml") for path in sources.decompositions}
    settings = {run: yaml.safe_load(file.read_text()) for run, file in files.items() if file.is_file()}
    by_run = {summary["run"]: summary for summary in summaries}
    return {task: conditions(rows, task, settings, by_run) for task in {r["task"] for r in rows}}


def _caption(sources: Sources, stem: str, how: dict[str, str]) -> str:
    """A figure's own caption with the conditions of its task, whose name its own begins with."""
    task, _, name = stem.partition("-")
    told = f"{sources.captions[stem]}. {how[task]}" if task in how else sources.captions[stem]
    return told + (f". {OF_THE_PAPER[task]}" if name in WITH_PAPER and task in OF_THE_PAPER else "")


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _shortened(path: Path) -> list[dict[str, str]]:
    """Rows of a table, numbers with three digits."""
    with open(path, newline="") as file:
        return [{name: _short(value) for name, value in row.items()} for row in csv.DictReader(file)]


def _is_main(row: dict, main: dict[str, str]) -> bool:
    """Whether a row is of the curve that verdicts are about; ``main`` are its rotations, by run."""
    wanted = ("mse", "live", "held-out", main[row["run"]])
    return (row["loss"], row["weights"], row["items"], row["rotations"]) == wanted


def _reached(rows: list[dict]) -> list[tuple[str, float | None]]:
    """First step of every force run that counts with at most 2 % and less than 0.15 × the zero predictor."""
    of_forces = [r for r in rows if r["task"] == "forces"]
    curves = {run: tables.curve(of_forces, run) for run in tables.runs(of_forces)}
    return [(run, first_step(curve, 2.0, 0.15)) for run, curve in curves.items() if curve]
