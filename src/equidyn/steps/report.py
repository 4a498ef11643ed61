"""The report page: from named files, as the workflow has them, or from a folder of results."""

import csv
from pathlib import Path

from equidyn.declarations import tasks
from equidyn.errors import DataError
from equidyn.figures.catalogue import described
from equidyn.results import tables
from equidyn.results.claims.curves import rows_counted
from equidyn.results.report import Sources, write
from equidyn.steps.run import read_settings

PAPER = Path("resources/paper_milestones.csv")


def report(
    claims: Path,
    decompositions: list[Path],
    summaries: list[Path],
    figures: list[Path],
    paper: Path,
    out: Path,
    shown: list[Path] = (),
    linked: list[Path] = (),
    datasets: list[Path] = (),
    extensions: list[str] = (),
) -> None:
    """Write the page, see ``results.report.Sources``; ``extensions`` are files that may declare figures and
    tasks."""
    drawn = {path.stem: described(path.stem, extensions) for path in figures}
    captions = {stem: figure.caption if figure else stem for stem, figure in drawn.items()}
    claim_of = {stem: figure.claim if figure else "" for stem, figure in drawn.items()}
    files = dict(shown=list(shown), linked=list(linked), datasets=list(datasets))
    files |= dict(tasks=tasks(tuple(extensions)))
    write(Sources(claims, decompositions, summaries, figures, captions, claim_of, paper, **files), out)


def report_of_folder(results: Path, out: Path | None = None, paper: Path = PAPER) -> None:
    """The page of a finished config, from what lies in its folder.

    Raises
    ------
    DataError
        a folder without claims.csv or runs, or with other than as many rows as its claims are about
    """
    runs = sorted((results / "runs").glob("*/"))
    decompositions = [run / "decomposition.csv" for run in runs if (run / "decomposition.csv").is_file()]
    if not decompositions or not (results / "claims.csv").is_file():
        raise DataError(
            f"{results}: no claims.csv and runs/*/decomposition.csv, expected a folder that a workflow "
            f"finished"
        )

    _check_same_rows(results / "claims.csv", decompositions)

    def of_runs(*names: str) -> list[Path]:
        return [path for run in runs for name in names if (path := run / name).is_file()]

    settings = [read_settings(path) for path in of_runs("config.yaml")]
    files = {
        part["extension"]["file"] for one in settings for part in (one, one["model"]) if "extension" in part
    }
    extensions = sorted(file for file in files if Path(file).is_file())
    known = tasks(tuple(extensions))
    shown = dict.fromkeys(name for task in known.values() for name in task.tables if name.endswith(".csv"))

    out = out or results / "report.html"
    report(
        results / "claims.csv",
        decompositions,
        of_runs("summary.json"),
        sorted((results / "figures").glob("*.png")),
        paper,
        out,
        shown=of_runs(*shown),
        linked=[
            *of_runs("gradients.csv", "curvature.csv", "head.csv"),
            *sorted(results.glob("timing-*.csv")),
            *results.glob("efficiency.csv"),
        ],
        extensions=extensions,
        datasets=[path.parent for path in sorted((results / "data").glob("*/split.json"))],
    )
    print(out)


def _check_same_rows(claims: Path, decompositions: list[Path]) -> None:
    """That verdicts and tables have as many rows: folders of runs taken out of a config stay."""
    with open(claims, newline="") as file:
        about = rows_counted(list(csv.DictReader(file)))
    n = len(tables.read(decompositions))
    if about not in (None, n):
        names = ", ".join(path.parent.name for path in decompositions)
        raise DataError(
            f"{claims}: made from {about} rows of decomposition.csv, but {names} have {n}, expected as many: "
            "make the claims again (snakemake), or move runs away that are not in the config"
        )
