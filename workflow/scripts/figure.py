"""Draw one figure from tables, as SVG, PNG and PDF."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.figure import figure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="module of equidyn.figures, or a file")
    parser.add_argument("--decompositions", required=True, nargs="+", type=Path)
    parser.add_argument("--paper", required=True, type=Path)
    parser.add_argument("--extra", nargs="*", default=[], help="files a figure needs beside the tables")
    parser.add_argument("--out", required=True, type=Path, help="path without extension")
    figure(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
