"""Make a dataset file from its settings."""

import argparse
import json
from pathlib import Path

import _cli
import yaml

from equidyn.data.build import build


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="settings of the dataset (YAML)")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--code", default="", help="digest of the code, stored in the file")
    parser.add_argument("--workers", type=int, default=2)
    args = parser.parse_args()
    print(json.dumps(build(yaml.safe_load(args.config.read_text()), str(args.out), args.code, args.workers)))


if __name__ == "__main__":
    _cli.run(main)
