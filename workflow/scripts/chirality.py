"""Chirality gap of a flow run at its first and last checkpoint, per flow time."""

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.chirality import chirality

    chirality(**vars(command.parser_of_step(__doc__).parse_args()))


if __name__ == "__main__":
    command.step(main)
