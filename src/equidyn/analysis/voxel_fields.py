"""What a picture of a voxel run needs beyond the table: fields of one molecule, and the error of each
rotation of the cube.
"""

from pathlib import Path
from typing import Any

import torch

from equidyn import files
from equidyn.analysis.accuracy import of_voxels
from equidyn.guards import content_digest
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid
from equidyn.symmetry.measure import Batch, check_eval, twisted_predictions

ROTATIONS = groups.cube()


@torch.no_grad()
def fields(model: torch.nn.Module, task: Any, batch: Batch) -> dict[str, torch.Tensor]:
    """Clean, noisy, denoised and twirled grids of the first item [c, g, g, g], and per-rotation errors.

    ``per_rotation`` is [24]: mean over items and voxels of (f_R − T)², T the exact twirl over the 24
    rotations; its mean is the equivariance error.
    """
    check_eval(model)
    rotations = ROTATIONS[:, None].expand(-1, len(batch), -1, -1)
    twisted = torch.stack(
        list(
            twisted_predictions(
                lambda inputs: task.predict(model, inputs), batch, {"noisy": Grid()}, task.output, rotations
            )
        )
    )  # (24, b, c, g, g, g)
    twirled = twisted.mean(0)
    errors = (twisted - twirled).square().flatten(1).mean(1)
    # rotation 0 of the group is the identity, so the first prediction is the plain one
    return dict(
        clean=batch.target[0],
        noisy=batch.inputs["noisy"][0],
        denoised=twisted[0, 0],
        twirled=twirled[0],
        per_rotation=errors,
    )


def recall(model: torch.nn.Module, task: Any) -> str:
    """Recall of atoms over the held-out items by element, in words: ``C 0.69, H 0.73, N 0``."""
    found = [v for v in of_voxels(model, task) if v.quantity == "recall of atoms"]
    return ", ".join(f"{v.element} {v.value:.2g}" for v in found)


def write(path: str | Path, stages: dict[int, dict[str, torch.Tensor]], recalls: dict[int, str]) -> None:
    """One HDF5 group per step, recall as its attribute; whole or not at all; raises DataError as
    ``files.atomic_write`` does.
    """
    with files.atomic_write(Path(path)) as temporary, content_digest.create(temporary) as file:
        for step, values in stages.items():
            group = file.create_group(str(step))
            group.attrs["recall"] = recalls[step]
            for name, value in values.items():
                group.create_dataset(
                    name, data=value.float().cpu().numpy(), compression="gzip" if value.ndim > 1 else None
                )
