"""One file with all that `equidyn run` needs on a machine without a network: code, data files, and settings
as JSON, which needs no package to be read.
"""

import io
import json
import tarfile
from pathlib import Path

from equidyn import tasks
from equidyn.errors import DataError
from equidyn.files import atomic_write
from equidyn.provenance import SOURCE, commit
from equidyn.steps.run_in_time import files_of, settings_of

REPOSITORY = SOURCE.parents[1]
CODE = (
    "src/equidyn",
    "benchmarks/gpu_check.py",
    "benchmarks/folding.py",
    "resources/paper_milestones.csv",
    "Makefile",
    "pyproject.toml",
    "LICENSE",
)
MIB = 2**20


def pack(
    results: Path, out: Path, runs: list[str] | None = None, wheels: Path | None = None, limit: float = 60
) -> None:
    """Write the file and print what is in it by size.

    Held-out grids are left out: they are made where they are needed.

    Parameters
    ----------
    results, runs : see ``run_in_time``;  wheels : folder of ``*.whl``;  limit : MiB of the file

    Raises
    ------
    DataError
        data that is not there or that a task refuses, or a file above the limit: then nothing is written
    """
    found = settings_of(results, runs)
    data = sorted({files_of(results, settings)[0] for settings in found})
    if missing := [str(file) for file in data if not file.is_file()]:
        raise DataError(f"{', '.join(missing)}: not there, expected what `make gpu-data` makes")
    extensions = sorted({file for settings in found for file in _extensions(settings)})
    for settings in found:  # what a task refuses is found here, not on the machine with the GPU
        tasks.build(settings["task"], files_of(results, settings)[0], settings)
    carried = sorted(wheels.glob("*.whl")) if wheels else []
    with atomic_write(out) as temporary:
        with tarfile.open(temporary, "w:gz") as archive:
            for name in CODE:
                archive.add(REPOSITORY / name, f"equidyn/{name}", filter=_without_caches)
            for name in extensions:
                archive.add(name, f"equidyn/{name}")
            _text(archive, "equidyn/COMMIT", commit())
            folder = f"equidyn/results/{results.name}"
            for settings in found:
                text = json.dumps(settings, indent=2)
                _text(archive, f"{folder}/runs/{settings['run']}/config.yaml", text)
            for file in data:
                archive.add(file, f"{folder}/data/{file.name}")
            for wheel in carried:
                archive.add(wheel, f"equidyn/wheels/{wheel.name}")
        size = temporary.stat().st_size
        for file in [*data, *carried]:
            print(f"{file.stat().st_size / MIB:8.1f} MiB  {file}")
        print(f"{size / MIB:8.1f} MiB  {out}, packed")
        if size > limit * MIB:
            raise DataError(
                f"{out}: {size / MIB:.1f} MiB, expected at most {limit:g} (--limit); fewer runs (--runs), or "
                f"smaller datasets"
            )


def _extensions(settings: dict) -> list[str]:
    """Files outside the package that declare a run's task or model, as its config names them."""
    named = [section.get("extension") for section in (settings, settings["model"])]
    files = [one["file"] for one in named if one]
    if away := [file for file in files if Path(file).is_absolute() or ".." in Path(file).parts]:
        raise DataError(
            f"run {settings['run']}, extensions: {', '.join(away)}, expected paths within the repository, "
            f"which the other machine has, too"
        )
    return files


def _without_caches(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in info.name else info


def _text(archive: tarfile.TarFile, name: str, text: str) -> None:
    info, content = tarfile.TarInfo(name), text.encode()
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))
