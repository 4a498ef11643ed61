"""Errors of forces and energies, or atoms found in denoised grids, at the last checkpoint of a run."""

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.accuracy import accuracy

    accuracy(**vars(command.parser_of_step(__doc__).parse_args()))


if __name__ == "__main__":
    command.step(main)
