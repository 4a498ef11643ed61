"""Molecules per second of the voxelizer, beside the memory-write limit and PyUUL (``pip install pyuul``, for
this benchmark only).

python benchmarks/voxelize.py [--molecules resources/molecules.csv]
"""

import argparse
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

from equidyn.data.elements import channel_of
from equidyn.data.generate import conformers, molecule_lists
from equidyn.data.voxelize import voxelize_batch

ELEMENTS = ["C", "H", "O", "N", "F", "S", "Cl", "Br"]


def molecules(path: str, low: int, high: int, n: int):
    """n geometries of low to high atoms."""
    found, table = [], channel_of(ELEMENTS)
    for _, smiles in molecule_lists.read_molecules(path):
        if (
            low <= molecule_lists.n_atoms(smiles) <= high
            and (geometry := conformers.displaced(smiles, 200.0, 0)) is not None
        ):
            numbers, positions = geometry
            if (table[numbers] < 255).all():
                found.append((torch.from_numpy(positions), torch.from_numpy(table[numbers])))
        if len(found) == n:
            break
    return [found[i % len(found)] for i in range(n)]


def median_time(call, repeats=7, least=0.0):
    """Median seconds of a call after two warm-ups, over so many repeats and at least so many seconds."""
    call(), call()
    times = []
    while len(times) < repeats or sum(times) < least:
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def pyuul_call(batch, grid):
    """PyUUL as VoxMol calls it: dummy atoms at ±15 Å fix the box, the centre is cropped.

    None where it is not installed.
    """
    try:
        from pyuul import VolumeMaker
    except ImportError:
        return None
    longest = max(len(p) for p, _ in batch)
    coordinates, channels = (
        torch.full((len(batch), longest + 2, 3), 999.0),
        torch.full((len(batch), longest + 2), 999, dtype=torch.long),
    )
    radius = torch.full((len(batch), longest + 2), 999.0)
    for i, (positions, channel) in enumerate(batch):
        n = len(positions)
        coordinates[i, :n], channels[i, :n], radius[i, :n] = positions, channel.long(), 0.5
        coordinates[i, n : n + 2] = torch.tensor([[15.0] * 3, [-15.0] * 3])
        channels[i, n : n + 2], radius[i, n : n + 2] = 0, 0.5
    maker = VolumeMaker.Voxels(sparse=False)

    def call():  # padding is PyUUL's own 999; the radius goes in as given
        volume = maker(
            coordinates,
            radius,
            channels,
            numberchannels=len(ELEMENTS),
            resolution=0.25,
            cubes_around_atoms_dim=5,
            function="gaussian",
        )
        low, high = volume.shape[-1] // 2 - grid // 2, volume.shape[-1] // 2 + grid // 2
        return volume[..., low:high, low:high, low:high].contiguous()

    return call


def peak(who: str, path: str, grid: int, low: int, high: int, peers: int) -> None:
    """In a process of its own: print the bytes by which one call raises the peak memory, the output already
    there, over those of the output.
    """
    batch = molecules(path, low, high, 64 if who == "ours" else peers)
    out = torch.ones(len(batch), len(ELEMENTS), grid, grid, grid)  # touched
    if who == "ours":
        positions, channels, offsets, settings = flat(batch, grid)
        voxelize_batch(
            positions[: offsets[1]], channels[: offsets[1]], [0, int(offsets[1])], **settings, out=out[:1]
        )  # compiled
        call = lambda: voxelize_batch(positions, channels, offsets, **settings, out=out)  # noqa: E731
    else:
        call = pyuul_call(batch, grid)
    before = high_water()
    call()
    print((high_water() - before) / (out.numel() * 4))


def high_water() -> int:
    """Largest resident size of this program so far, in bytes; getrusage's would be that of the parent too."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))


def flat(batch, grid):
    """Arguments of ``voxelize_batch``."""
    offsets = np.cumsum([0] + [len(p) for p, _ in batch])
    return (
        torch.cat([p for p, _ in batch]),
        torch.cat([c for _, c in batch]),
        offsets,
        dict(n_channels=8, grid=grid, resolution=0.25, radius=0.5),
    )


def peak_of(who: str, args: argparse.Namespace, grid: int) -> float:
    """``peak`` of a fresh process: a high-water mark never falls."""
    command = [
        sys.executable,
        __file__,
        "--peak-of",
        who,
        "--grid",
        str(grid),
        "--molecules",
        args.molecules,
        "--pyuul-batch",
        str(args.pyuul_batch),
    ]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


RANGES = {64: (30, 60), 32: (20, 28)}  # atoms of the molecules, by grid


def compare(args: argparse.Namespace, grid: int) -> None:
    """Print the table of one grid size."""
    batch = molecules(args.molecules, *RANGES[grid], 64)
    positions, channels, offsets, settings = flat(batch, grid)
    out = torch.empty(64, 8, grid, grid, grid)

    def ours():
        return voxelize_batch(positions, channels, offsets, **settings, out=out)

    rate, wall = 64 / median_time(ours, least=2.0), 64 / median_time(out.zero_, least=2.0)
    one = 1 / median_time(
        lambda: voxelize_batch(
            positions[: offsets[1]], channels[: offsets[1]], [0, int(offsets[1])], **settings, out=out[:1]
        ),
        50,
    )
    one_by_one = [(p, c, [0, len(p)]) for p, c in batch]
    in_torch = 64 / median_time(
        lambda: [
            voxelize_batch(p.clone().requires_grad_(True), c, o, **settings).detach()
            for p, c, o in one_by_one
        ],
        3,
    )
    noise = 64 / median_time(lambda: torch.randn_like(out), 3)
    print(
        f"\n{grid}³, {np.mean(np.diff(offsets)):.1f} atoms on average, output "
        f"{out.numel() * 4 / 64 / 2**20:.2f} MiB per molecule"
    )
    memory = peak_of("ours", args, grid)
    print(
        f"  batch of 64        {rate:9.0f} /s   {100 * rate / wall:5.0f} % of the write limit ({wall:.0f} "
        f"/s); memory beyond the output {memory:.3f} x the output"
    )
    print(f"  one at a time      {one:9.0f} /s")
    print(f"  torch path         {in_torch:9.0f} /s   one at a time, differentiable")
    print(f"  noise (randn)      {noise:9.0f} /s   {rate / noise:.1f} x slower than voxelizing")
    call = pyuul_call(batch[: args.pyuul_batch], grid)
    if call is None:
        print("  PyUUL: not installed")
        return
    call()
    peer = sorted(args.pyuul_batch / seconds for seconds in (timed(call) for _ in range(3)))
    again = 64 / median_time(ours, least=2.0)  # a machine that slowed down shows
    rates, memory = ", ".join(f"{r:.1f}" for r in peer), peak_of("pyuul", args, grid)
    print(
        f"  PyUUL              {peer[1]:9.1f} /s   median of {rates}, batch of {args.pyuul_batch}; memory "
        f"{memory:.1f} x the output"
    )
    print(
        f"  ratio to PyUUL     {rate / peer[1]:9.0f}     {again / peer[1]:.0f} after it; the write limit "
        f"is {wall / peer[1]:.0f}, the torch path {in_torch / peer[1]:.0f}"
    )


def timed(call) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--molecules", default="resources/molecules.csv")
    parser.add_argument(
        "--pyuul-batch",
        type=int,
        default=64,
        help="molecules per PyUUL call; its memory grows by 0.2 GB for each, so 64 need 14 GB",
    )
    parser.add_argument("--peak-of", choices=("ours", "pyuul"), help=argparse.SUPPRESS)
    parser.add_argument("--grid", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak_of:
        peak(args.peak_of, args.molecules, args.grid, *RANGES[args.grid], args.pyuul_batch)
        return
    print(f"threads {torch.get_num_threads()}, 8 channels, 0.25 Å, r = 0.5 Å")
    for grid in RANGES:
        compare(args, grid)


if __name__ == "__main__":
    main()
