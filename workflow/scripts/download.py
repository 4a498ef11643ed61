"""Download the files of one dataset of the table, check them, and list them with sizes and checksums."""

import argparse
import json
from pathlib import Path

import _cli

from equidyn.data import catalogue, download, store
from equidyn.data.schema import DataError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", required=True, type=Path, help="table of datasets (YAML)")
    parser.add_argument("--name", required=True, help="entry of the table")
    parser.add_argument("--folder", required=True, type=Path, help="files go to FOLDER/name/version/")
    parser.add_argument("--lock", required=True, type=Path, help="checksums recorded at first download (JSON)")
    parser.add_argument("--out", required=True, type=Path, help="list of the checked files (JSON)")
    parser.add_argument("--offline", action="store_true", help="never connect; say which file to put where")
    parser.add_argument("--retries", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1, help="files at a time, where an entry has many")
    args = parser.parse_args()
    table = catalogue.read_table(args.table)
    if args.name not in table:
        raise DataError(f"{args.table}: no dataset {args.name}, expected one of {', '.join(sorted(table))}")
    found = download.fetch_all(table[args.name], args.folder, args.lock, args.workers, offline=args.offline, retries=args.retries)
    with store.whole(args.out) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    _cli.run(main)
