"""The report page, from the tables and figures of a config."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.report import report

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", required=True, type=Path)
    parser.add_argument("--decompositions", required=True, nargs="+", type=Path)
    parser.add_argument("--summaries", required=True, nargs="+", type=Path)
    parser.add_argument("--figures", required=True, nargs="+", type=Path)
    parser.add_argument(
        "--shown", nargs="*", default=[], type=Path, help="further tables to show as they are"
    )
    parser.add_argument(
        "--linked", nargs="*", default=[], type=Path, help="curvature, gradient and head tables, to link to"
    )
    parser.add_argument("--datasets", nargs="*", default=[], type=Path, help="folders of the datasets")
    parser.add_argument("--extensions", nargs="*", default=[], help="files that may declare figures")
    parser.add_argument("--paper", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    report(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
