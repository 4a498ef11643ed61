"""Disk, memory and hours of a config: `equidyn estimate` as a step of the workflow."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.estimate import estimate

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--configfile",
        required=True,
        type=Path,
        help="config; - is JSON from standard input, checked and expanded",
    )
    parser.add_argument("--resources", required=True, type=Path, help="folder of the tables")
    parser.add_argument(
        "--data", type=Path, help="folder of dataset files, which are counted where they exist"
    )
    parser.add_argument("--out", required=True, type=Path)
    estimate(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
