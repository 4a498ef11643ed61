"""Write the conda environments of the workflow's rules: packages as named here, pins from constraints.txt.

    python envs/write.py

Snakemake copies an environment's file elsewhere before it is made, so that it cannot refer to another file of
pins.
"""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CORE = ("torch", "numpy", "scipy")
FILES = ("h5py", "pyyaml", "pydantic", "tqdm")
PACKAGES = {
    "workflow": ("pyyaml",),
    "data": ("numpy", "scipy", *FILES, "rdkit", "tblite", "ase", "gemmi", "numba", "pycurl", "certifi"),
    "torch": (*CORE, *FILES, "gemmi", "numba"),
    "figures": (*CORE, *FILES, "matplotlib", "jinja2", "scikit-image", "gemmi"),
}


def pins() -> dict[str, str]:
    """Pinned requirement of every package."""
    lines = (FOLDER.parent / "constraints.txt").read_text().split()
    return {line.partition("==")[0]: line for line in lines}


def environment(packages: tuple[str, ...]) -> str:
    """Text of an environment file."""
    pinned = pins()
    lines = ["# Written by envs/write.py", "channels: [conda-forge, nodefaults]", "dependencies:"]
    lines += ["  - python=3.11", "  - pip", "  - pip:", *(f"      - {pinned[name]}" for name in packages)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for name, packages in PACKAGES.items():
        (FOLDER / f"{name}.yaml").write_text(environment(packages))
