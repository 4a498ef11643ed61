"""Download the files of one dataset of the table, check them, and list them with sizes and checksums."""

import argparse
from pathlib import Path

from equidyn.steps import command


def main() -> None:
    from equidyn.steps.download import download

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, type=Path, help="table of datasets (YAML)")
    parser.add_argument("--name", required=True, help="entry of the table")
    parser.add_argument("--folder", required=True, type=Path, help="files go to FOLDER/name/version/")
    parser.add_argument(
        "--lock", required=True, type=Path, help="checksums recorded at first download (JSON)"
    )
    parser.add_argument("--out", required=True, type=Path, help="list of the checked files (JSON)")
    parser.add_argument("--offline", action="store_true", help="never connect; say which file to put where")
    parser.add_argument("--retries", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="files at a time, where an entry has many")
    parser.add_argument("--mirror", help="asked first for name/version/file of an entry")
    parser.add_argument("--proxy", help="that all connections go through")
    download(**vars(parser.parse_args()))


if __name__ == "__main__":
    command.step(main)
