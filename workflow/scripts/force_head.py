"""EScAIP's force head at every checkpoint of a run: how unequal its rows are, and what that does to the
error.
"""

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.force_head import force_head

    force_head(**vars(command.parser_of_step(__doc__).parse_args()))


if __name__ == "__main__":
    command.step(main)
