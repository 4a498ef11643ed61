"""gnina's scoring network as a case of the gallery: densities of atoms in, a score out.

    equidyn measure --model benchmarks/gallery_gnina.py:load --data benchmarks/gallery_gnina.py:heldout \\
                    --group cube --rotations 24

Network and weights are those of the package `gninatorch`, densities are made by `molgrid`, as gnina makes
them. Complexes are invented: one held-out molecule of the default dataset in the middle as the ligand, others
around it as the receptor, their atoms typed by element alone. There is nothing that the scores should be, so
there is an equivariance error and no loss.
"""

from pathlib import Path

import ase.io
import molgrid
import numpy as np
import torch
from gninatorch import gnina

from equidyn.probe.models import HeldOut
from equidyn.symmetry.actions import Grid, Scalar

MODEL = "crossdock_default2018"
N_COMPLEXES, AROUND, AWAY = 8, 8, 7.5  # molecules of a receptor; Å from the middle to the middle of each
TYPES = {  # element → beginnings of gnina's names
    "H": None,
    "C": "AliphaticCarbonXSHydrophobe",
    "N": "NitrogenXSDonorAcceptor",
    "O": "OxygenXSDonorAcceptor",
    "F": "Fluorine",
    "P": "Phosphorus",
    "S": "Sulfur",
    "Cl": "Chlorine",
    "Br": "Bromine",
}


class Score(torch.nn.Module):
    """[n, 28, 48, 48, 48] to [n]: probability that a pose is a good one, 0 to 1."""

    def __init__(self, inner: torch.nn.Module):
        super().__init__()
        self.inner = inner

    def forward(self, grid: torch.Tensor) -> torch.Tensor:
        return self.inner(grid)[0][:, -1].exp()


def load() -> Score:
    """One network of gnina's default ensemble."""
    return Score(gnina.load_gnina_model(MODEL))


def heldout(molecules: str = "molecules.extxyz") -> HeldOut:
    """Densities of complexes, out of the file of molecules that the gallery writes."""
    found = ase.io.read(Path(molecules), ":")
    frames = [atoms for atoms in found if len(atoms) > 6 and set(atoms.get_chemical_symbols()) <= set(TYPES)]
    maker = molgrid.GridMaker()
    grids = torch.stack([density(maker, frames, seed) for seed in range(N_COMPLEXES)])
    batches = [(dict(grid=part), None) for part in grids.split(4)]
    return HeldOut(batches, dict(grid=Grid()), Scalar(), quantity="pose score")


def density(maker, frames: list, seed: int) -> torch.Tensor:
    """One complex, turned at random: float32 [28, 48, 48, 48]."""
    random = np.random.default_rng([2, seed])
    receptor, ligand = molgrid.defaultGninaReceptorTyper, molgrid.defaultGninaLigandTyper
    chosen = [frames[k] for k in random.permutation(len(frames))[: AROUND + 1]]
    directions = spread(AROUND) @ turn(random).T
    centres = [np.zeros(3), *(AWAY * directions)]
    positions, types, radii = [], [], []
    for k, (atoms, centre) in enumerate(zip(chosen, centres)):
        typer, first = (ligand, receptor.num_types()) if k == 0 else (receptor, 0)
        names, sizes = list(typer.get_type_names()), list(typer.get_type_radii())
        here = (atoms.positions - atoms.positions.mean(0)) @ turn(random).T + centre
        for symbol, position in zip(atoms.get_chemical_symbols(), here):
            if TYPES[symbol] is not None:
                place = next(i for i, name in enumerate(names) if TYPES[symbol] in name)
                positions.append(position)
                types.append(first + place)
                radii.append(sizes[place])
    n_types = receptor.num_types() + ligand.num_types()
    arrays = (np.array(positions, np.float32), np.array(types, np.float32), np.array(radii, np.float32))
    made = molgrid.CoordinateSet(*arrays, n_types)
    grid = torch.zeros(maker.grid_dimensions(n_types))
    maker.forward(molgrid.float3(0.0, 0.0, 0.0), made, grid)
    return grid


def spread(n: int) -> np.ndarray:
    """n unit vectors, evenly spread over the sphere (Fibonacci): [n, 3]."""
    height = 1 - (2 * np.arange(n) + 1) / n
    angle = np.pi * (1 + 5**0.5) * np.arange(n)
    ring = np.sqrt(1 - height**2)
    return np.stack([ring * np.cos(angle), ring * np.sin(angle), height], 1)


def turn(random: np.random.Generator) -> np.ndarray:
    """A uniform rotation [3, 3]."""
    matrix, upper = np.linalg.qr(random.normal(size=(3, 3)))
    matrix *= np.sign(np.diag(upper))
    return matrix * np.linalg.det(matrix)
