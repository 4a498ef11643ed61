"""Make the frozen held-out grids of a dataset."""

import argparse
import json

import _cli

from equidyn.data.grids import build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--code", default="", help="digest of the code, stored in the file")
    args = parser.parse_args()
    print(json.dumps(build(args.data, args.out, args.code)))


if __name__ == "__main__":
    _cli.run(main)
