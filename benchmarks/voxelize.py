"""Molecules per second of the voxelizer, beside the memory-write limit and PyUUL (``pip install pyuul``, for this benchmark only).

PYTHONPATH=src python benchmarks/voxelize.py [--molecules resources/molecules.csv]
"""

import argparse
import resource
import statistics
import time
import tracemalloc

import numpy as np
import torch

from equidyn.data import conformers
from equidyn.data.molecules import channel_of
from equidyn.data.voxelize import voxelize_batch

ELEMENTS = ["C", "H", "O", "N", "F", "S", "Cl", "Br"]


def molecules(path: str, low: int, high: int, n: int):
    """n geometries of low to high atoms."""
    found, table = [], channel_of(ELEMENTS)
    for _, smiles in conformers.read_molecules(path):
        if low <= conformers.n_atoms(smiles) <= high and (geometry := conformers.displaced(smiles, 200.0, 0)) is not None:
            numbers, positions = geometry
            if (table[numbers] < 255).all():
                found.append((torch.from_numpy(positions), torch.from_numpy(table[numbers])))
        if len(found) == n:
            break
    return [found[i % len(found)] for i in range(n)]


def median_time(call, repeats=7):
    """Median seconds of a call after one warm-up."""
    call()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def pyuul_rate(batch, grid):
    """PyUUL as VoxMol calls it: dummy atoms at ±15 Å fix the box, the centre is cropped. Molecules per second of three calls."""
    try:
        from pyuul import VolumeMaker
    except ImportError:
        return None
    longest = max(len(p) for p, _ in batch)
    coordinates, channels = torch.full((len(batch), longest + 2, 3), 999.0), torch.full((len(batch), longest + 2), 999, dtype=torch.long)
    radius = torch.full((len(batch), longest + 2), 999.0)
    for i, (positions, channel) in enumerate(batch):
        n = len(positions)
        coordinates[i, :n], channels[i, :n], radius[i, :n] = positions, channel.long(), 0.5
        coordinates[i, n : n + 2] = torch.tensor([[15.0] * 3, [-15.0] * 3])
        channels[i, n : n + 2], radius[i, n : n + 2] = 0, 0.5
    maker = VolumeMaker.Voxels(sparse=False)
    # padding is PyUUL's own 999; the radius goes in as given
    volume = None

    def call():
        nonlocal volume
        volume = maker(coordinates, radius, channels, numberchannels=len(ELEMENTS), resolution=0.25, cubes_around_atoms_dim=5, function="gaussian")
        middle = volume.shape[-1] // 2
        return volume[..., middle - grid // 2 : middle + grid // 2, middle - grid // 2 : middle + grid // 2, middle - grid // 2 : middle + grid // 2].contiguous()

    return sorted(len(batch) / median_time(call, repeats=1) for _ in range(3))


def compare(path: str, grid: int, low: int, high: int, peers: int) -> None:
    """Print the table of one grid size, for molecules of low to high atoms."""
    batch = molecules(path, low, high, 64)
    offsets = np.cumsum([0] + [len(p) for p, _ in batch])
    positions, channels = torch.cat([p for p, _ in batch]), torch.cat([c for _, c in batch])
    settings = dict(n_channels=8, grid=grid, resolution=0.25, radius=0.5)
    out = torch.empty(64, 8, grid, grid, grid)
    ours = 64 / median_time(lambda: voxelize_batch(positions, channels, offsets, **settings, out=out))
    one = 1 / median_time(lambda: voxelize_batch(positions[: offsets[1]], channels[: offsets[1]], [0, int(offsets[1])], **settings, out=out[:1]), 50)
    wall = 64 / median_time(out.zero_)
    one_by_one = [(p, c, [0, len(p)]) for p, c in batch]
    in_torch = 64 / median_time(lambda: [voxelize_batch(p.clone().requires_grad_(True), c, o, **settings).detach() for p, c, o in one_by_one], 3)
    tracemalloc.start()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    voxelize_batch(positions, channels, offsets, **settings, out=out)
    extra = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 / (out.numel() * 4)
    python = tracemalloc.get_traced_memory()[1] / (out.numel() * 4)
    tracemalloc.stop()
    noise = 64 / median_time(lambda: torch.randn_like(out), 3)
    peer = pyuul_rate(batch[:peers], grid)
    again = 64 / median_time(lambda: voxelize_batch(positions, channels, offsets, **settings, out=out), 15)  # after the peer: a machine that slowed down shows
    print(f"\n{grid}³, {np.mean(np.diff(offsets)):.1f} atoms on average, output {out.numel() * 4 / 64 / 2**20:.2f} MiB per molecule")
    print(f"  batch of 64        {ours:9.0f} /s   {100 * ours / wall:5.0f} % of the write limit ({wall:.0f} /s)")
    print(f"  one at a time      {one:9.0f} /s")
    print(f"  torch path         {in_torch:9.0f} /s   one at a time, differentiable")
    print(f"  noise (randn)      {noise:9.0f} /s   {ours / noise:.1f} x slower than voxelizing")
    print(f"  memory beyond the output: {max(extra, python):.3f} x the output")
    if peer is None:
        print("  PyUUL: not installed")
    else:
        rates = ", ".join(f"{rate:.1f}" for rate in peer)
        print(f"  PyUUL              {peer[1]:9.1f} /s   median of {rates}, batch of {peers}; ours is {ours / peer[1]:.0f} x before, {again / peer[1]:.0f} x after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--molecules", default="resources/molecules.csv")
    parser.add_argument("--pyuul-batch", type=int, default=64, help="molecules per PyUUL call; its memory grows by 0.2 GB for each, so 64 need 14 GB")
    args = parser.parse_args()
    print(f"threads {torch.get_num_threads()}, 8 channels, 0.25 Å, r = 0.5 Å")
    for grid, low, high in ((64, 30, 60), (32, 20, 28)):
        compare(args.molecules, grid, low, high, args.pyuul_batch)


if __name__ == "__main__":
    main()
