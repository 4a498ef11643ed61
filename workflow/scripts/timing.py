"""Time training steps and predictions of compared runs side by side."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.timing import timing

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configs", required=True, nargs="+", type=Path, help="settings of the runs (YAML)")
    parser.add_argument("--data", required=True, nargs="+", type=Path, help="their dataset files")
    parser.add_argument("--grids", nargs="*", default=[], help="their held-out grids (task voxels)")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    arguments.grids = arguments.grids or [""] * len(arguments.configs)
    timing(**vars(arguments))


if __name__ == "__main__":
    command.step(main)
