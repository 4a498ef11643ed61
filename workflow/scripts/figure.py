"""Draw one figure from tables, as SVG, PNG and PDF."""

import argparse
import importlib

import _cli

from equidyn import tables
from equidyn.figures import style


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--figure", required=True, help="module of equidyn.figures")
    parser.add_argument("--tables", required=True, nargs="+")
    parser.add_argument("--paper", required=True)
    parser.add_argument("--extra", nargs="*", default=[], help="files a figure needs beside the tables")
    parser.add_argument("--out", required=True, help="path without extension")
    args = parser.parse_args()
    module = importlib.import_module(f"equidyn.figures.{args.figure}")
    extra = [args.extra] if args.extra else []
    style.save(module.draw(tables.read(args.tables), tables.read_paper(args.paper), *extra), args.out)


if __name__ == "__main__":
    _cli.run(main)
