"""A dataset in other poses: the structures, labels and split of another dataset file, each structure turned.

Labels are turned with the structures, so that nothing is computed twice, and two runs can differ by poses
alone.
"""

import json
import shutil
from pathlib import Path

import numpy as np

from equidyn.data import poses, store
from equidyn.data.listing import rejections
from equidyn.errors import DataError

VECTORS = ("positions", "forces")  # keys that turn with a structure
PARTS = ("share", "cone")  # of turning: of the structures, or of all angles
LISTS = ("split.csv", "split.json")


def turn(settings: dict, out: str, code: str, workers: int, folder: Path) -> dict[str, int]:
    """Write the structures of the dataset ``settings["of"]``, beside ``out``, in the poses that are asked
    for.

    Poses as made are those of the source: a file that was turned is turned back, to rounding. With ``share``
    or ``cone`` the structures are turned from there in part, see ``poses.draw_part``.

    Raises
    ------
    DataError
        no such dataset, or poses that there are not
    """
    parent = Path(out).with_name(f"{settings['of']}.h5")
    if not parent.is_file():
        raise DataError(
            f"{out}: of {settings['of']!r}, but there is no {parent}, expected the dataset to turn"
        )
    arrays, attributes = store.read(parent, store.kind_of(parent))
    n, lengths = len(arrays["offsets"]) - 1, np.diff(arrays["offsets"])
    made_with = json.loads(attributes["settings"])
    back = poses.draw(attributes["poses"], n, made_with["seed"])
    wanted = poses.draw(settings["poses"], n, settings["seed"])
    if part := {key: settings[key] for key in PARTS if key in settings}:
        wanted = poses.draw_part(n, settings["seed"], **part)
    if back is not None:
        back = back.transpose(0, 2, 1)
        wanted = back if wanted is None else wanted @ back
    for name in VECTORS:
        if name in arrays:
            arrays[name] = poses.turn(arrays[name], lengths, wanted)
    kept = {
        key: value
        for key, value in attributes.items()
        if key not in ("schema", "units", "splits", "anisotropy")
    }
    kept |= dict(
        code=code, poses=settings["poses"], settings=json.dumps(made_with | settings, sort_keys=True)
    )
    with rejections(folder):
        pass  # nothing is left out here
    for name in LISTS:
        shutil.copyfile(parent.with_suffix("") / name, folder / name)
    if (checks := parent.with_suffix("") / "checks.json").is_file():  # none of them depends on poses
        shutil.copyfile(checks, folder / checks.name)
    store.write(out, arrays, kept)
    return {
        "items": n,
        "held out": int((arrays["split"] == 1).sum()),
        "clusters": int(arrays["cluster"].max()) + 1,
    }
