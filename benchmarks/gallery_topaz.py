"""Topaz's 3D denoiser as a case of the gallery: volumes in, volumes out, by its own command.

    equidyn measure --model benchmarks/gallery_topaz.py:load --data benchmarks/gallery_topaz.py:heldout \\
                    --group cube --rotations 24

Topaz (package `topaz-em`, GPL) is called as a program, in a process of its own. Volumes are invented:
Gaussian blobs at random places of a ball, which look alike from everywhere, under white noise; the denoiser
was trained on tomograms of cells. Volumes go through files of the format MRC2014.
"""

import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from equidyn.probe.models import HeldOut
from equidyn.symmetry.actions import Grid

GRID, PADDING = 32, 8  # voxels of an edge, and what the program adds around
N_VOLUMES, N_BLOBS, WIDTH = 6, 25, 2.0  # width: standard deviation of a blob, voxels
NOISE = 2.0  # standard deviation, in that of the clean volume
HEADER = 1024  # bytes
START = """
import sys, torch
try:
    import torchvision
except RuntimeError:  # built for another torch: its operators, none of which is called here, are missing
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    for name in ("nms", "qnms"):
        torch.library.define(f"torchvision::{name}", "(Tensor dets, Tensor scores, float least) -> Tensor")
from topaz.main import main
main()
"""
PROGRAM = [sys.executable, "-c", START]


def load(model: str = "unet-3d-20a") -> "Denoiser":
    """The denoiser of that name."""
    return Denoiser(model)


class Denoiser(torch.nn.Module):
    """``topaz denoise3d`` on the CPU: [n, 1, g, g, g] to the same."""

    def __init__(self, model: str):
        super().__init__()
        self.model = model

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / f"{k}.mrc" for k in range(len(noisy))]
            for path, volume in zip(paths, noisy):
                write_mrc(path, volume[0].numpy())
            asked = [*PROGRAM, "denoise3d", *map(str, paths), "--output", f"{folder}/out", "--device", "-1"]
            asked += ["--model", self.model, "--patch-size", str(noisy.shape[-1])]
            asked += ["--patch-padding", str(PADDING), "--num-threads", "1"]
            done = subprocess.run(asked, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"topaz denoise3d ended with {done.returncode}: {done.stderr[-500:]}")
            found = [read_mrc(Path(folder) / "out" / path.name) for path in paths]
        return torch.from_numpy(np.stack(found))[:, None]


def heldout() -> HeldOut:
    """Noisy volumes, of clean ones with unit variance."""
    clean = np.stack([volume(seed) for seed in range(N_VOLUMES)])[:, None]
    noise = np.random.default_rng([0, N_VOLUMES]).normal(scale=NOISE, size=clean.shape)
    fields = dict(noisy=torch.from_numpy((clean + noise).astype(np.float32)))
    target = torch.from_numpy(clean.astype(np.float32))
    return HeldOut([(fields, target)], dict(noisy=Grid()), Grid(), quantity="density")


def volume(seed: int) -> np.ndarray:
    """Blobs in a ball, mean 0 and variance 1: [g, g, g]."""
    random = np.random.default_rng([1, seed])
    directions = random.normal(size=(N_BLOBS, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centres = directions * random.random((N_BLOBS, 1)) ** (1 / 3) * (GRID / 2 - 3 * WIDTH)
    axis = np.arange(GRID) - (GRID - 1) / 2
    parts = [np.exp(-((axis[None] - centres[:, k, None]) ** 2) / (2 * WIDTH**2)) for k in range(3)]
    found = np.einsum("nx,ny,nz->xyz", *parts)
    return (found - found.mean()) / found.std()


def write_mrc(path: Path, data: np.ndarray) -> None:
    """A volume [nz, ny, nx] as float32 in the format MRC2014, 1 Å a voxel."""
    data = np.ascontiguousarray(data, dtype="<f4")
    shape = data.shape[::-1]
    header = struct.pack("<10i", *shape, 2, 0, 0, 0, *shape)  # mode 2: float32
    header += struct.pack("<6f3i", *map(float, shape), 90, 90, 90, 1, 2, 3)
    header += struct.pack("<3f2i", data.min(), data.max(), data.mean(), 1, 0)
    header = header.ljust(208, b"\0") + b"MAP \x44\x44\0\0" + struct.pack("<f", data.std())
    path.write_bytes(header.ljust(HEADER, b"\0") + data.tobytes())


def read_mrc(path: Path) -> np.ndarray:
    """A float32 volume [nz, ny, nx].

    Raises
    ------
    ValueError
        another mode, or another number of bytes than the header says
    """
    content = path.read_bytes()
    nx, ny, nz, mode = struct.unpack("<4i", content[:16])
    extended = struct.unpack("<i", content[92:96])[0]
    expected = HEADER + extended + 4 * nx * ny * nz
    if mode != 2 or len(content) != expected:
        raise ValueError(f"{path}: mode {mode}, {len(content)} bytes; expected mode 2 and {expected} bytes")
    return np.frombuffer(content[HEADER + extended :], "<f4").reshape(nz, ny, nx).copy()
