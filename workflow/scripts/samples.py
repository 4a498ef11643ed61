"""Generate backbones from the last checkpoint of a flow run: PDB files, and a table beside the held-out
chains'.
"""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.samples import samples

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="settings of the run (YAML)")
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path, help="model.pt of the run")
    parser.add_argument("--out", required=True, type=Path, help="folder of PDB files")
    parser.add_argument("--table", required=True, type=Path, help="CSV of statistics")
    parser.add_argument("--threads", type=int, default=1)
    samples(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
