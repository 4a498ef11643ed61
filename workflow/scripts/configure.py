"""Write the resolved settings of one run or dataset as YAML."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.configure import configure

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", required=True, help="settings as JSON")
    parser.add_argument("--out", required=True, type=Path)
    configure(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
