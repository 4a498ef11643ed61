"""Reading training grids back from caches, against voxelizing on the fly from cached coordinates; one reader, random order.

PYTHONPATH=src python benchmarks/cache.py
"""

import argparse
import functools
import os
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
from voxelize import median_time, molecules  # the neighbouring benchmark

from equidyn.data.voxelize import voxelize_batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--molecules", default="resources/molecules.csv")
    parser.add_argument("--n", type=int, default=96)
    args = parser.parse_args()
    torch.set_num_threads(1)
    for grid, resolution, low, high in ((16, 0.5, 6, 15), (64, 0.25, 30, 60)):
        batch = molecules(args.molecules, low, high, args.n)
        settings = dict(n_channels=8, grid=grid, resolution=resolution, radius=0.5)
        grids = np.stack([voxelize_batch(p, c, [0, len(p)], **settings)[0].numpy() for p, c in batch])
        order = np.random.default_rng(0).permutation(args.n)
        print(f"\n{grid}³ at {resolution} Å, {np.mean([len(p) for p, _ in batch]):.1f} atoms; {100 * (grids > 0).mean():.2f} % of the voxels are not zero")
        print(f"{'':44s}molecules/s   bytes per molecule")
        with tempfile.TemporaryDirectory() as folder:
            for name, write, read in candidates(batch, grids, settings):
                path = Path(folder) / "cache.h5"
                path.unlink(missing_ok=True)
                with h5py.File(path, "w") as file:
                    write(file)
                with h5py.File(path) as file:
                    assert np.abs(np.asarray(read(file, 0)) - grids[0]).max() < 3e-3
                    rate = args.n / median_time(functools.partial(read_all, read, file, order), 3)
                print(f"  {name:42s}{rate:11.0f}   {os.path.getsize(path) / args.n:12.0f}")


def read_all(read, file, order):
    """One pass in random order."""
    for i in order:
        read(file, i)


def candidates(batch, grids, settings):
    """(name, write(file), read(file, i)) of every way to keep a training set."""
    chunk = (1, *grids.shape[1:])
    offsets = np.cumsum([0] + [len(p) for p, _ in batch])

    def write_atoms(file):
        file["positions"], file["channels"], file["offsets"] = torch.cat([p for p, _ in batch]).numpy(), torch.cat([c for _, c in batch]).numpy(), offsets

    def read_atoms(file, i):
        rows = slice(offsets[i], offsets[i + 1])
        return voxelize_batch(file["positions"][rows], file["channels"][rows], [0, rows.stop - rows.start], **settings)[0]

    yield "coordinates, voxelized on the fly", write_atoms, read_atoms

    def write_sparse(file):
        index = [np.flatnonzero(g.reshape(-1) > 1 / 510).astype(np.uint32) for g in grids]
        file["starts"] = np.cumsum([0] + [len(i) for i in index])
        file["index"] = np.concatenate(index)
        file["value"] = np.concatenate([np.round(255 * g.reshape(-1)[i]).astype(np.uint8) for g, i in zip(grids, index)])

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
