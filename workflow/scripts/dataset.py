"""Make a dataset file from its settings."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.dataset import dataset

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="settings of the dataset (YAML)")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--code", default="", help="digest of the code, stored in the file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--downloads", type=Path, default=Path("downloads"), help="folder of the lists of checked downloads"
    )
    dataset(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
