"""Fields and per-rotation errors of a voxel run at an early and at its last checkpoint."""

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.voxel_fields import voxel_fields

    voxel_fields(**vars(command.parser_of_step(__doc__).parse_args()))


if __name__ == "__main__":
    command.step(main)
