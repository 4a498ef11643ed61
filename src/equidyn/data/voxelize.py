"""From atoms to grids: Gaussian-like occupancies on a cubic grid, one channel per element.

An atom at distance d from a voxel centre occupies it by exp(−d²/(0.93 r)²); the atoms of a channel combine as
1 − Π(1 − o). Voxel centres are (i − (g−1)/2)·resolution, so the grid's centre is the origin, and an atom is
cut off at |Δ| < 3 r along each axis (12³ voxels at the published 0.25 Å and r = 0.5 Å; the largest value cut
is 3e-5). Both are symmetric, so a cube rotation of the atoms is a permutation of the voxels.
In the published grid, of 0.25 Å, the centre is off by 0.156 Å and the support runs from −4 to +6 voxels.

The fast path (numba, CPU) fills the output molecule by molecule, each grid while it is in cache, with no
other memory; the torch path does the same on any device and is differentiable in the positions.
"""

import functools
import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch

from equidyn.errors import ArgumentError

try:
    import numba
except ImportError:  # a machine with a GPU may do without: the torch path serves there
    numba = None


WIDTH = 0.93  # of the radius: an occupancy of 1/e
LANES = 16  # voxels of a row that the fast path treats at once; the published window has 12
ONE = np.float32(1)


def voxelize_batch(
    positions: Any,
    channels: Any,
    offsets: Any,
    *,
    n_channels: int,
    grid: int,
    resolution: float,
    radius: float,
    out: torch.Tensor | None = None,
    owner: torch.Tensor | None = None,
) -> torch.Tensor:
    """Occupancy grids of several molecules; molecule k owns atoms offsets[k] to offsets[k + 1], which may be
    none.

    Parameters
    ----------
    positions : [n_atoms, 3] Å;  channels : [n_atoms] integers below n_channels;  grid : voxels per edge
    resolution : voxel edge in Å;  radius : atomic radius in Å
    out : float32, contiguous, on the CPU; receives the result of the fast path
    owner : [n_atoms], on the device of the positions, each atom's molecule: with it a GPU is not waited for,
        and values that would be refused must not occur

    Returns
    -------
    float32 [n_molecules, n_channels, grid, grid, grid] on the device of positions, axes x, y, z;
    differentiable if positions require a gradient

    Raises
    ------
    ArgumentError
        shapes, channels out of range, or positions that are not finite
    """
    positions, channels = torch.as_tensor(positions), torch.as_tensor(channels)
    settings = (resolution, radius)
    if owner is not None and (positions.is_cuda or numba is None):
        return _torch(positions, channels, owner, (len(offsets) - 1, n_channels, grid, grid, grid), *settings)
    offsets = torch.as_tensor(offsets, dtype=torch.int64).cpu()
    shape = (len(offsets) - 1, n_channels, grid, grid, grid)
    _check_atoms(positions, channels, offsets, n_channels)
    if numba is not None and positions.device.type == "cpu" and not positions.requires_grad:
        out = _usable(out, shape)
        _fill_all(positions, channels, offsets, out, *settings)
        return out
    molecule = torch.repeat_interleave(torch.arange(shape[0]), offsets.diff()).to(positions.device)
    return _torch(positions, channels, molecule, shape, *settings)


def _check_atoms(
    positions: torch.Tensor, channels: torch.Tensor, offsets: torch.Tensor, n_channels: int
) -> None:
    n_atoms = len(positions)
    if (
        positions.shape != (n_atoms, 3)
        or channels.shape != (n_atoms,)
        or int(offsets[-1]) != n_atoms
        or int(offsets[0]) != 0
        or (offsets.diff() < 0).any()
    ):
        raise ArgumentError(
            f"voxelize: positions {list(positions.shape)}, channels {list(channels.shape)}, offsets "
            f"{offsets.tolist()[:3]}…; expected [n, 3], [n] and 0 … n"
        )
    if n_atoms and not 0 <= int(channels.min()) <= int(channels.max()) < n_channels:
        raise ArgumentError(
            f"voxelize: channels from {int(channels.min())} to {int(channels.max())}, expected 0 to "
            f"{n_channels - 1}"
        )
    if not torch.isfinite(positions).all():
        raise ArgumentError("voxelize: a position is not finite")


def _usable(out: torch.Tensor | None, shape: tuple[int, ...]) -> torch.Tensor:
    """The grids to fill: those that are given, if they are such."""
    if out is None:
        return torch.empty(shape)
    if out.shape != shape or out.dtype != torch.float32 or not out.is_contiguous():
        raise ArgumentError(
            f"voxelize: out is {out.dtype} {list(out.shape)}, expected contiguous float32 {list(shape)}"
        )
    return out


def _fill_all(positions, channels, offsets, out, resolution, radius) -> None:
    """The fast path, in as many threads as torch has."""
    atoms = positions.numpy().astype(np.float64)
    owners = channels.numpy().astype(np.int64)
    starts, grids = offsets.numpy(), out.numpy()
    framed = (resolution, radius, *_frame(out.shape[-1], resolution, radius))
    threads = max(1, min(torch.get_num_threads(), len(out)))
    cuts = np.linspace(0, len(out), threads + 1).astype(int)
    parts = [(atoms, owners, starts[a : b + 1], grids[a:b], *framed) for a, b in zip(cuts[:-1], cuts[1:])]
    if threads == 1:
        _fill(*parts[0])
    else:  # threads of our own: numba's parallel loops take 15 s to compile
        list(_pool(threads).map(lambda part: _fill(*part), parts))


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)  # starting one takes as long as a batch of small grids


def _frame(grid: int, resolution: float, radius: float) -> tuple[float, float, int]:
    """Index of the origin in voxel units, cut-off in voxels, number of candidate voxels per axis."""
    cutoff = 3 * radius / resolution - 1e-4  # an atom exactly between two choices must not depend on rounding
    return (grid - 1) / 2, cutoff, 2 * math.ceil(cutoff) + 1


def _compiled(**options):
    return numba.njit(fastmath=True, **options) if numba is not None else lambda function: function


@_compiled(inline="always")
def _axis(u, grid, cutoff, scale, values):
    """Window of one axis: fills ``values`` and returns (first index, number)."""
    start, stop = max(int(math.ceil(u - cutoff)), 0), min(int(math.floor(u + cutoff)) + 1, grid)
    for i in range(start, stop):
        values[i - start] = math.exp(-((i - u) ** 2) * scale)
    return start, stop - start


@_compiled(nogil=True, cache=True)
def _fill(positions, channels, offsets, out, resolution, radius, origin, cutoff, n_window):
    grid = out.shape[2]
    scale = np.float32((resolution / (WIDTH * radius)) ** 2)
    x = np.empty(n_window + 1, np.float32)
    y = np.empty(n_window + 1, np.float32)
    z = np.empty(n_window + 1, np.float32)
    lanes = np.zeros(LANES, np.float32)
    for k in range(len(offsets) - 1):
        for c in range(out.shape[1]):  # a channel at a time: its atoms find it in cache, just cleared
            channel = out[k, c]
            channel[:] = 0.0
            for a in range(offsets[k], offsets[k + 1]):
                if channels[a] != c:
                    continue
                x0, nx = _axis(positions[a, 0] / resolution + origin, grid, cutoff, scale, x)
                y0, ny = _axis(positions[a, 1] / resolution + origin, grid, cutoff, scale, y)
                z0, nz = _axis(positions[a, 2] / resolution + origin, grid, cutoff, scale, z)
                if nx <= 0 or ny <= 0 or nz <= 0:
                    continue
                if nz <= LANES <= grid:  # a row of constant length, padded with zeros: one vector operation
                    first = min(z0, grid - LANES)
                    lanes[:] = 0.0
                    lanes[z0 - first : z0 - first + nz] = z[:nz]
                    for i in range(nx):
                        for j in range(ny):
                            row, xy = channel[x0 + i, y0 + j, first : first + LANES], x[i] * y[j]
                            for m in range(LANES):
                                row[m] += xy * lanes[m] * (ONE - row[m])
                else:
                    for i in range(nx):
                        for j in range(ny):
                            row, xy = channel[x0 + i, y0 + j, z0 : z0 + nz], x[i] * y[j]
                            for m in range(nz):
                                row[m] += xy * z[m] * (ONE - row[m])


def _torch(positions, channels, molecule, shape, resolution, radius):
    """Same on any device and differentiable; the product over atoms is a sum of logarithms."""
    grid = shape[-1]
    origin, cutoff, n_window = _frame(grid, resolution, radius)
    u = positions.to(torch.float64) / resolution + origin  # (n, 3)
    index = torch.ceil(u.detach() - cutoff).long()[..., None] + torch.arange(
        n_window, device=u.device
    )  # (n, 3, w)
    delta = index - u[..., None]
    inside = (index >= 0) & (index < grid) & (delta.detach().abs() <= cutoff)
    values = torch.where(inside, torch.exp(-(delta**2) * (resolution / (WIDTH * radius)) ** 2), 0.0).float()
    occupancy = torch.einsum("ni,nj,nk->nijk", values[:, 0], values[:, 1], values[:, 2]).clamp(max=1 - 1e-7)
    index = index.clamp(0, grid - 1)
    base = (molecule * shape[1] + channels.to(u.device).long())[:, None, None, None] * grid
    place = ((base + index[:, 0, :, None, None]) * grid + index[:, 1, None, :, None]) * grid + index[
        :, 2, None, None, :
    ]
    empty = torch.zeros(math.prod(shape), device=u.device).index_add(
        0, place.reshape(-1), torch.log1p(-occupancy).reshape(-1)
    )
    return -torch.expm1(empty).reshape(shape)


def outside(positions: np.ndarray, offsets: np.ndarray, grid: int, resolution: float) -> np.ndarray:
    """Number of atoms of each molecule whose centre lies outside the box: [n_molecules]."""
    beyond = (np.abs(positions) > grid * resolution / 2).any(1)
    return np.add.reduceat(np.concatenate([beyond, [False]]).astype(int), offsets[:-1]) * (
        np.diff(offsets) > 0
    )


def fits(
    positions: np.ndarray, offsets: np.ndarray, grid: int, resolution: float, radius: float
) -> np.ndarray:
    """Whether a molecule lies in the box in every orientation, with a margin of 2 r, where an atom occupies 1
    %: [n_molecules] bool.
    """
    far = np.linalg.norm(positions, axis=1) + 2 * radius > grid * resolution / 2
    return (
        np.add.reduceat(np.concatenate([far, [False]]).astype(int), offsets[:-1]) * (np.diff(offsets) > 0)
        == 0
    )
