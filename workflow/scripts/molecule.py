"""Forces on one held-out molecule before and after twirling, at the last checkpoint of a run."""

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.molecule import molecule

    molecule(**vars(command.parser_of_step(__doc__).parse_args()))


if __name__ == "__main__":
    command.step(main)
