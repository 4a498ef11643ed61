"""Make the frozen held-out grids of a dataset."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.grids import grids

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--code", default="", help="digest of the code, stored in the file")
    grids(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
