"""Decompose the held-out loss at every checkpoint of a run into twirled error and equivariance error."""

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.decompose import decompose

    parser = command.parser_of_step(__doc__)
    parser.add_argument("--code", default="", help="digest of the code; another one measures anew")
    decompose(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
