"""Write the table of agnostic against equivariant networks at equal training time."""

import argparse
import json
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.efficiency import write

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--decompositions", required=True, nargs="+", type=Path)
    parser.add_argument("--timing", required=True, nargs="+", type=Path)
    parser.add_argument("--comparisons", required=True, type=json.loads, help="JSON: those of the config")
    parser.add_argument("--points", required=True, type=json.loads, help="JSON: see claims.py")
    parser.add_argument("--out", required=True, type=Path)
    write(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
