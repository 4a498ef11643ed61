"""Norms of the gradients of twirled error and equivariance error and the angle between them, at every
checkpoint.
"""

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.gradients import gradients

    gradients(**vars(command.parser_of_step(__doc__).parse_args()))


if __name__ == "__main__":
    command.step(main)
