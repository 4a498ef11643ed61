"""What runs of our configs are called in figures and in the report."""

LABEL = {
    "flow": "Proteina-style transformer",
    "voxels-0.3": "VoxMol, σ = 0.3",
    "voxels-0.445": "VoxMol, σ = 0.445",
    "voxels-0.9": "VoxMol, σ = 0.9",
    "forces": "EScAIP",
    "forces-aligned": "EScAIP, aligned poses",
    "forces-raw": "raw directions",
    "forces-raw-aug": "raw directions, augmented",
    "forces-control": "EScAIP, tied head (control)",
}


def label(run: str) -> str:
    """What a run is called: its own name where it has no other."""
    return LABEL.get(run, run)
