"""Spectra of the Hessians of both terms over a block of parameters, and landscapes around the weights."""

from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.curvature import curvature

    parser = command.parser_of_step(__doc__)
    parser.add_argument(
        "--decomposition", required=True, type=Path, help="table of the run, to choose checkpoints by"
    )
    parser.add_argument(
        "--landscape", required=True, type=Path, help="HDF5 of landscapes; --out is the CSV of spectra"
    )
    curvature(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
