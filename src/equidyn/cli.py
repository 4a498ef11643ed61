"""The command ``equidyn``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from equidyn import __version__
from equidyn.probe import options as probe_options
from equidyn.steps.command import end_with_one_paragraph


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments (of the process by default) and run the command that they name."""
    parser = argparse.ArgumentParser(
        prog="equidyn", description="How well has a network learned 3D rotations?"
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="measure | compare | twirl | report | estimate | run | pack"
    )
    probe_options.add(commands.add_parser("measure", help=probe_options.SUMMARY))
    probe_options.add_compare(commands.add_parser("compare", help=probe_options.COMPARE_SUMMARY))
    probe_options.add_twirl(commands.add_parser("twirl", help=probe_options.TWIRL_SUMMARY))
    _estimate_options(
        commands.add_parser("estimate", help="disk, memory and hours of a config, before anything runs")
    )
    _report_options(
        commands.add_parser("report", help="the report page of a folder of results, from its tables alone")
    )
    _run_options(
        commands.add_parser("run", help="train and measure runs in a given time, where there is no Snakemake")
    )
    _pack_options(
        commands.add_parser("pack", help="code, data and settings of runs in one file, for `equidyn run`")
    )
    args = vars(parser.parse_args(arguments))
    name = args.pop("command")
    command = COMMANDS[name]
    end_with_one_paragraph(lambda: command(**args), code=BAD_INPUT.get(name, 1))


BAD_INPUT = {"measure": 2, "compare": 2, "twirl": 2}  # exit code; that of measure keeps 1 for --fail-above


def _measure(run: Path | None, dataset: Path | None, symmetries: Path | None, **options) -> None:
    if run is not None and symmetries is not None:
        from equidyn.steps.symmetries import measure_symmetries

        measure_symmetries(run, dataset, symmetries)
        sys.exit(0)
    if symmetries is not None:
        from equidyn.errors import ArgumentError

        raise ArgumentError("--symmetries: a table of a run of the workflow, expected --run with it")
    if run is not None:
        from equidyn.steps.measure_run import measure_run

        sys.exit(measure_run(run, dataset, options["out"]))
    _refuse_dataset(dataset)
    from equidyn.probe.command import measure

    sys.exit(measure(**options))


def _refuse_dataset(dataset: Path | None) -> None:
    if dataset is not None:
        from equidyn.errors import ArgumentError

        raise ArgumentError(f"--dataset {dataset}: has no effect without --run, expected that with it")


def _compare(**options) -> None:
    from equidyn.probe.comparison import command

    sys.exit(command(**options))


def _twirl(run: Path | None, dataset: Path | None, **options) -> None:
    if run is not None:
        from equidyn.steps.twirl_run import twirl_run

        twirl_run(run, dataset, options["out"])
        sys.exit(0)
    _refuse_dataset(dataset)
    from equidyn.probe.command import twirl

    sys.exit(twirl(**options))


def _estimate_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--configfile", type=Path, help="config (YAML)")
    parser.add_argument(
        "--resources", type=Path, default=Path("resources"), help="folder of this repository's tables"
    )
    parser.add_argument(
        "--data", type=Path, help="folder of dataset files, which are counted where they exist"
    )
    parser.add_argument(
        "--device", action="append", help="device of the table to give hours on; default: all of it"
    )
    parser.add_argument("--device-name", default="A100", help="name of a card that nothing was measured on")
    parser.add_argument("--device-flops", type=float, default=19.5e12, help="its peak in FLOP/s (float32)")
    parser.add_argument("--utilisation", type=float, default=0.3, help="share of the peak that is assumed")
    parser.add_argument(
        "--measure-cpu", action="store_true", help="measure small models here, add them to the table"
    )
    parser.add_argument(
        "--add-gpu", type=Path, help="file of benchmarks/gpu_check.py --out to add to the table"
    )
    parser.add_argument("--threads", type=int, default=1, help="of --measure-cpu")
    parser.add_argument("--out", type=Path, help="CSV file")


def _estimate(**options) -> None:
    from equidyn.steps.estimate import estimate

    estimate(**options)


def _report_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, help="folder of a finished config, such as results/")
    parser.add_argument("--out", type=Path, help="page to write; default: report.html in that folder")


def _report(**options) -> None:
    from equidyn.steps.report import report_of_folder

    report_of_folder(**options)


def _run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, help="folder of a config's results, such as results/gpu")
    parser.add_argument("--minutes", type=float, required=True, help="of this call, split over the runs")
    parser.add_argument("--runs", nargs="+", help="names, in this order; default: all")
    parser.add_argument("--steps", type=int, help="of each run, whatever time they take")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), help="in place of the settings'")
    parser.add_argument("--out", type=Path, help="of tables and figures; default: timed/ in that folder")


def _run(**options) -> None:
    from equidyn.steps.run_in_time import run_in_time

    run_in_time(**options)


def _pack_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("results", type=Path, help="folder of a config's results, such as results/gpu")
    parser.add_argument("--out", type=Path, required=True, help="file to write (.tar.gz)")
    parser.add_argument("--runs", nargs="+", help="names; default: all")
    parser.add_argument("--wheels", type=Path, help="folder of wheels to take along")
    parser.add_argument("--limit", type=float, default=60, help="MiB that the file may have")


def _pack(**options) -> None:
    from equidyn.steps.pack import pack

    pack(**options)


COMMANDS = {
    "measure": _measure,
    "compare": _compare,
    "twirl": _twirl,
    "estimate": _estimate,
    "report": _report,
    "run": _run,
    "pack": _pack,
}


if __name__ == "__main__":
    main()
