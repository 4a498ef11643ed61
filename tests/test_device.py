"""Memory that is kept; on a machine with a GPU, training and measuring run there and agree with the CPU."""

import platform
import subprocess
import sys

import pytest
import torch
from common import TRAINING
from voxel_tools import voxelize

from equidyn import tasks
from equidyn.device import keep_freed_memory, processor
from equidyn.models import registry
from equidyn.symmetry import groups
from equidyn.symmetry.measure import measure
from equidyn.training import checkpoint, loop

on_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
SETTINGS = dict(training={**TRAINING, "steps": 4}, measure=dict(n_items=8, batch_size=5))


@on_a_gpu
def test_cuda_agrees_with_the_cpu(dataset, tmp_path):
    results = {}
    for device in ("cpu", "cuda"):
        task = tasks.build("forces", str(dataset), SETTINGS, device)
        model = registry.build("escaip", "tiny").to(device)
        loop.train(model, task, SETTINGS["training"], tmp_path / device, device, 0)
        model.load_state_dict(checkpoint.load(tmp_path / "cpu" / "model.pt")["live"])
        batches = task.held_out(model)
        rotations = groups.haar_per_item(4, 8, 0)
        results[device] = measure(model.eval(), task.predict, batches, task.actions, task.output, rotations)
    assert results["cuda"].total == pytest.approx(results["cpu"].total, rel=1e-3)
    assert results["cuda"].equivariance == pytest.approx(results["cpu"].equivariance, rel=1e-2)


@on_a_gpu
def test_voxels_on_cuda_agree_with_the_cpu_with_tf32_off():
    from equidyn.device import resolve_device

    assert resolve_device("cuda") == "cuda" and not torch.backends.cudnn.allow_tf32
    generator = torch.Generator().manual_seed(0)
    positions, channels = (
        torch.randn(10, 3, generator=generator),
        torch.randint(0, 8, (10,), generator=generator),
    )
    box = dict(n_channels=8, grid=16, resolution=0.5, radius=0.5)
    grid = voxelize(positions, channels, **box)
    assert (voxelize(positions.cuda(), channels.cuda(), **box).cpu() - grid).abs().max() < 1e-6
    model = registry.build("voxmol", "tiny").eval()
    with torch.no_grad():
        expected = model(grid[None])
        assert (model.cuda()(grid[None].cuda()).cpu() - expected).abs().max() < 1e-4 * expected.abs().max()


def test_freed_memory_is_kept():
    """In a process of its own: what is asked of the C library holds for the whole of it."""
    script = """
import resource, torch
from equidyn.device import keep_freed_memory
torch.set_num_threads(1)
def faults(n):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(n):
        torch.ones(4, 1 << 20).sum()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults(2)
plain = faults(8)
keep_freed_memory()
faults(12)
print(plain, faults(8))
"""
    command = [sys.executable, "-c", script]
    plain, kept = map(int, subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    if platform.libc_ver()[0] == "glibc":
        assert kept < plain / 10


def test_without_that_c_library_nothing_happens(monkeypatch):
    class Other:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr("ctypes.CDLL", lambda name: Other())
    keep_freed_memory()


@pytest.mark.parametrize(
    "cpuinfo, expected",
    [
        (
            "model name : A\ncpu family : 26\nmodel : 2\n\nmodel name : B\nmodel : 9\n",
            "A (family 26, model 2)",
        ),
        ("model name\t: A\n", "A"),
        ("", platform.processor() or platform.machine()),
    ],
)
def test_two_generations_of_one_name_are_told_apart(tmp_path, cpuinfo, expected):
    (tmp_path / "cpuinfo").write_text(cpuinfo)
    assert processor(tmp_path / "cpuinfo") == expected
    assert processor(tmp_path / "none") == (platform.processor() or platform.machine())
