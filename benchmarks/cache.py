"""Reading training grids back from caches, against voxelizing on the fly from cached coordinates; one reader,
random order.

Beside the rates: bytes per molecule on disk, peak memory of a process that reads all of them, the
memory-write limit, and PyUUL (``pip install pyuul``, for this benchmark only), all as ratios to the first
row.

python benchmarks/cache.py
"""

import argparse
import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from voxelize import high_water, median_time, molecules, pyuul_call, timed  # the neighbouring benchmark

from equidyn.data.voxelize import voxelize_batch

RANGES = {16: (0.5, 6, 15), 64: (0.25, 30, 60)}  # grid -> Å per voxel, atoms of the molecules
PEERS = 4  # molecules per call of PyUUL, whose memory grows by 0.2 GB for each


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--molecules", default="resources/molecules.csv")
    parser.add_argument("--n", type=int, default=96)
    parser.add_argument("--read", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--grid", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(1)
    if args.read:
        peak(args)
        return
    for grid, (_, low, high) in RANGES.items():
        compare(args, grid, molecules(args.molecules, low, high, args.n), settings_of(grid))


def settings_of(grid: int) -> dict:
    return dict(n_channels=8, grid=grid, resolution=RANGES[grid][0], radius=0.5)


def compare(args, grid, batch, settings) -> None:
    """Print the table of one grid size."""
    grids = np.stack([voxelize_batch(p, c, [0, len(p)], **settings)[0].numpy() for p, c in batch])
    order, first = np.random.default_rng(0).permutation(args.n), None
    print(
        f"\n{grid}³ at {settings['resolution']} Å, {np.mean([len(p) for p, _ in batch]):.1f} atoms; "
        f"{100 * (grids > 0).mean():.2f} % of the voxels are not zero"
    )
    print(f"{'':44s}molecules/s   ratio   bytes per molecule   peak memory, MB")
    with tempfile.TemporaryDirectory() as folder:
        for way, (name, write, read) in enumerate(candidates(batch, grids, settings)):
            path = Path(folder) / f"{way}.h5"
            with h5py.File(path, "w") as file:
                write(file)
            with h5py.File(path) as file:
                assert np.abs(np.asarray(read(file, 0)) - grids[0]).max() < 3e-3
                rate = args.n / median_time(functools.partial(read_all, read, file, order), 3)
            first = first or rate
            command = [
                sys.executable,
                __file__,
                "--read",
                str(path),
                "--way",
                str(way),
                "--grid",
                str(grid),
                "--n",
                str(args.n),
                "--molecules",
                args.molecules,
            ]
            memory = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            print(
                f"  {name:42s}{rate:11.0f} {rate / first:7.2f}   {os.path.getsize(path) / args.n:18.0f} "
                f"{memory:17.0f}"
            )
    out = torch.empty(64, *grids.shape[1:])
    limit = 64 / median_time(out.zero_, least=1.0)
    print(f"  {'memory-write limit':42s}{limit:11.0f} {limit / first:7.2f}")
    call = pyuul_call(batch[:PEERS], grid)
    if call is not None and settings["resolution"] == 0.25:  # the resolution that it is called with
        call()
        peer = PEERS / timed(call)
        print(f"  {'PyUUL':42s}{peer:11.1f} {peer / first:7.4f}")


def peak(args) -> None:
    """In a process of its own: print the MB by which reading all molecules raises the peak memory."""
    resolution, low, high = RANGES[args.grid]
    batch, settings = molecules(args.molecules, low, high, args.n), settings_of(args.grid)
    _, _, read = list(candidates(batch, np.zeros((1, 8, *[args.grid] * 3), np.float32), settings))[args.way]
    with h5py.File(args.read) as file:
        read(file, 0)  # what is compiled or allocated once
        before = high_water()
        read_all(read, file, range(args.n))
    print((high_water() - before) / 1e6)


def read_all(read, file, order):
    """One pass in random order."""
    for i in order:
        read(file, i)


def candidates(batch, grids, settings):
    """(name, write(file), read(file, i)) of every way to keep a training set."""
    chunk = (1, *grids.shape[1:])
    offsets = np.cumsum([0] + [len(p) for p, _ in batch])

    def write_atoms(file):
        file["positions"], file["channels"], file["offsets"] = (
            torch.cat([p for p, _ in batch]).numpy(),
            torch.cat([c for _, c in batch]).numpy(),
            offsets,
        )

    def read_atoms(file, i):
        rows = slice(offsets[i], offsets[i + 1])
        return voxelize_batch(
            file["positions"][rows], file["channels"][rows], [0, rows.stop - rows.start], **settings
        )[0]

    yield "coordinates, voxelized on the fly", write_atoms, read_atoms

    def write_sparse(file):
        index = [np.flatnonzero(g.reshape(-1) > 1 / 510).astype(np.uint32) for g in grids]
        file["starts"] = np.cumsum([0] + [len(i) for i in index])
        file["index"] = np.concatenate(index)
        file["value"] = np.concatenate(
            [np.round(255 * g.reshape(-1)[i]).astype(np.uint8) for g, i in zip(grids, index)]
        )

    def read_sparse(file, i):
        start, stop = file["starts"][i : i + 2]
        dense = np.zeros(grids[0].size, np.float32)
        dense[file["index"][start:stop]] = file["value"][start:stop] / np.float32(255)
        return dense.reshape(grids.shape[1:])

    yield "sparse: index and uint8", write_sparse, read_sparse
    for label, dtype, options in (
        ("float32", "f4", {}),
        ("float32, gzip 1 + shuffle", "f4", dict(compression="gzip", compression_opts=1, shuffle=True)),
        ("float32, lzf", "f4", dict(compression="lzf")),
        ("uint8", "u1", {}),
        ("uint8, gzip 1", "u1", dict(compression="gzip", compression_opts=1)),
        ("uint8, lzf", "u1", dict(compression="lzf")),
    ):

        def write(file, dtype=dtype, options=options):
            values = grids if dtype == "f4" else np.round(255 * grids).astype(np.uint8)
            file.create_dataset("grid", data=values, chunks=chunk, **options)

        def read(file, i, dtype=dtype):
            return file["grid"][i] if dtype == "f4" else file["grid"][i].astype(np.float32) / 255

        yield f"grids: {label}", write, read


if __name__ == "__main__":
    main()
