"""Write the claims table."""

import argparse
import csv
import json
import os
from pathlib import Path

import _cli

from equidyn import tables
from equidyn.claims import COLUMNS, claims


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", required=True, nargs="+")
    parser.add_argument("--paper", required=True)
    parser.add_argument("--points", type=json.loads, default={}, help="JSON: what the runs of the matrix stand for")
    parser.add_argument("--more", nargs="*", default=[], type=Path, help="gradients.csv, curvature.csv and head.csv of any runs")
    parser.add_argument("--out", required=True, type=Path)
    args = parser.parse_args()
    more = {name: tables.read([path for path in args.more if path.stem == name]) for name in ("gradients", "curvature", "head")}
    temporary = args.out.with_suffix(".part")
    with open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=COLUMNS)
        writer.writeheader()
        writer.writerows(claims(tables.read(args.tables), tables.read_paper(args.paper), args.points, more))
    os.replace(temporary, args.out)


if __name__ == "__main__":
    _cli.run(main)
