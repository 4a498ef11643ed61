"""Make a dataset file from its settings; downloaded files are compared with the list of checked ones
first.
"""

import hashlib
import json
import os
from pathlib import Path

from equidyn.data.build import build
from equidyn.errors import DataError, optional_packages

with optional_packages():
    import yaml


def dataset(
    config: Path, out: Path, code: str = "", workers: int = 2, downloads: Path = Path("downloads")
) -> None:
    """Write the dataset file and the lists beside it, and print counts.

    Parameters
    ----------
    code : digest of the code, stored in the file;  downloads : folder of the lists of checked downloads
    """
    settings = checked(located(yaml.safe_load(config.read_text()), downloads), downloads)
    print(json.dumps(build(settings, str(out), code, workers)))


def located(settings: dict, downloads: Path) -> dict:
    """The settings with the paths that downloads/<entry>.json lists in place of the entries' names: ``files``
    and ``held_out_files``.

    Raises
    ------
    DataError
        an entry that is not downloaded
    """
    settings = dict(settings)
    for key in ("", "held_out_"):
        if paths := [
            row["file"] for entry in settings.get(f"{key}download", []) for row in listed(entry, downloads)
        ]:
            settings[f"{key}files"] = paths
    return settings


def listed(entry: str, downloads: Path) -> list[dict]:
    """Rows of the list of checked files of an entry: file, size, sha256."""
    path = downloads / f"{entry}.json"
    try:
        return [
            row | {"file": row["file"], "size": row["size"], "sha256": row["sha256"]}
            for row in json.loads(path.read_text())
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path}: not a list of checked files ({error}), expected what `snakemake --cores 1 "
            f"downloads/{entry}.json` writes"
        ) from error


def checked(settings: dict, downloads: Path) -> dict:
    """The settings with ``downloaded``, where the files come from: entry, file name and sha256 of each, which
    are compared with the files as they are now.

    Raises
    ------
    DataError
        a file that is not the one that was checked after its download
    """
    downloaded = []
    for entry in [*settings.get("download", []), *settings.get("held_out_download", [])]:
        for row in listed(entry, downloads):
            if reason := changed(row):
                again = (
                    f"delete {downloads / entry}.json and run `snakemake --cores 1 "
                    f"downloads/{entry}.json`, which compares it with the table and the lock file"
                )
                raise DataError(
                    f"{row['file']}: {reason} (listed in {downloads / entry}.json); it has changed since "
                    f"it was checked: {again}"
                )
            downloaded.append(
                {"entry": entry, "file": Path(row["file"]).name, "sha256": row["sha256"]}
                | {key: row[key] for key in ("quoted",) if key in row}
            )
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
