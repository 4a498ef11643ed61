"""Write the claims table."""

import argparse
import json
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.claims import claims

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decompositions", required=True, nargs="+", type=Path)
    parser.add_argument("--paper", required=True, type=Path)
    parser.add_argument(
        "--points", type=json.loads, default={}, help="JSON: what the runs of the matrix stand for"
    )
    parser.add_argument(
        "--more",
        nargs="*",
        default=[],
        type=Path,
        help="gradients.csv, curvature.csv, head.csv, timing-*.csv",
    )
    parser.add_argument("--comparisons", type=json.loads, default={}, help="JSON: those of the config")
    parser.add_argument("--out", required=True, type=Path)
    claims(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
