"""Make a dataset file from its settings."""

import argparse
import json
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
        paths = []
        for entry in settings.get(f"{key}download", []):
            try:
                paths += [row["file"] for row in json.loads((downloads / f"{entry}.json").read_text())]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise DataError(f"{downloads / entry}.json: not a list of checked files ({error}), expected what `snakemake --cores 1 downloads/{entry}.json` writes") from error
        if paths:
            settings[f"{key}files"] = paths
    return settings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True, type=Path, help="settings of the dataset (YAML)")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--code", default="", help="digest of the code, stored in the file")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--downloads", type=Path, default=Path("downloads"), help="folder of the lists of checked downloads")
    args = parser.parse_args()
    settings = located(yaml.safe_load(args.config.read_text()), args.downloads)
    print(json.dumps(build(settings, str(args.out), args.code, args.workers)))


if __name__ == "__main__":
    _cli.run(main)
