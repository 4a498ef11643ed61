"""Make a dataset file from its settings."""

import argparse
import hashlib
import json
import os
from pathlib import Path

import _cli
import yaml

from equidyn.data.build import build
from equidyn.data.schema import DataError


def located(settings: dict, downloads: Path) -> dict:
    """The settings with the paths that downloads/<entry>.json lists in place of the entries' names: ``files`` and ``held_out_files``.

    Raises
    ------
    DataError
        an entry that is not downloaded
    """
    settings = dict(settings)
    for key in ("", "held_out_"):
        if paths := [row["file"] for entry in settings.get(f"{key}download", []) for row in listed(entry, downloads)]:
            settings[f"{key}files"] = paths
    return settings


def listed(entry: str, downloads: Path) -> list[dict]:
    """Rows of the list of checked files of an entry: file, size, sha256."""
    path = downloads / f"{entry}.json"
    try:
        return [row | {"file": row["file"], "size": row["size"], "sha256": row["sha256"]} for row in json.loads(path.read_text())]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a list of checked files ({error}), expected what `snakemake --cores 1 downloads/{entry}.json` writes") from error


def checked(settings: dict, downloads: Path) -> dict:
    """The settings with ``downloaded``, where the files come from: entry, file name and sha256 of each, which are compared with the files as they are now.

    Raises
    ------
    DataError
        a file that is not the one that was checked after its download
    """
    downloaded = []
    for entry in [*settings.get("download", []), *settings.get("held_out_download", [])]:
        for row in listed(entry, downloads):
            if reason := changed(row):
                again = f"delete {downloads / entry}.json and run `snakemake --cores 1 downloads/{entry}.json`, which compares it with the table and the lock file"
                raise DataError(f"{row['file']}: {reason} (listed in {downloads / entry}.json); it has changed since it was checked: {again}")
            downloaded.append({"entry": entry, "file": Path(row["file"]).name, "sha256": row["sha256"]} | {key: row[key] for key in ("quoted",) if key in row})
    return settings | ({"downloaded": downloaded} if downloaded else {})


def changed(row: dict) -> str | None:
    """How a file differs from its row in the list of checked files, or None."""
    try:
        with open(row["file"], "rb") as file:
            if (size := os.fstat(file.fileno()).st_size) != row["size"]:
                return f"{size} bytes, expected {row['size']}"
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"{error.strerror}, expected {row['size']} bytes"
    return None if sha256 == row["sha256"] else f"sha256 {sha256}, expected {row['sha256']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="settings of the dataset (YAML)")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--code", default="", help="digest of the code, stored in the file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--downloads", type=Path, default=Path("downloads"), help="folder of the lists of checked downloads")
    args = parser.parse_args()
    settings = checked(located(yaml.safe_load(args.config.read_text()), args.downloads), args.downloads)
    print(json.dumps(build(settings, str(args.out), args.code, args.workers)))


if __name__ == "__main__":
    _cli.run(main)
