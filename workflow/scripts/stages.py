"""What the jobs of a config cost, gathered from Snakemake's benchmark files: table and figure."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.stages import stages

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--benchmarks", required=True, type=Path, help="folder of benchmark files")
    parser.add_argument("--estimate", required=True, type=Path, help="table of the estimate, if there is one")
    parser.add_argument("--out", required=True, type=Path, help="table (CSV)")
    parser.add_argument("--stem", required=True, type=Path, help="of the figure, without extension")
    stages(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
