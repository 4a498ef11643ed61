"""Train one run; killed and started again it continues where its last resume state was."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.train import train

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="settings of the run (YAML)")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path, help="folder of the run")
    parser.add_argument(
        "--code", default="", help="digest of the code; another one discards the resume state"
    )
    parser.add_argument("--threads", type=int, default=1)
    train(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
