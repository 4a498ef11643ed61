"""Speed as ratios in one run, which another machine can compare: what measuring costs over plain forward
passes, what training reaches of the matmul rate, the voxelizer over the write limit and over PyUUL, the
closed form of EScAIP's equivariance error over the forward passes that it stands for.

    make bench          # at most 15 minutes; writes docs/results/benchmarks.md

On one thread, with random inputs. PyUUL is compared where it is installed (``pip install pyuul``).
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch

from equidyn.analysis.force_head import closed_form
from equidyn.cost.throughput import FLOPS_PER_FORWARD, cost_of, one_item
from equidyn.device import keep_freed_memory, processor
from equidyn.files import write_text
from equidyn.models import registry
from equidyn.provenance import commit
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Grid, Scalar, Vector
from equidyn.symmetry.measure import Batch, measure

FORCES = dict(numbers=Scalar(), positions=Vector(), mask=Fixed(), neighbours=Fixed(), neighbour_mask=Fixed())
FLOW = dict(x_t=Vector(), x_sc=Vector(), t=Scalar(), mask=Fixed(), index=Fixed(), breaks=Fixed())
N_ROTATIONS = 10
LEAST = 0.5  # s of repeats, and at least three


@dataclass(frozen=True)
class Case:
    """A model with a batch; ``rows`` are atoms or residues, ``edge`` voxels."""

    architecture: str
    size: str
    task: str
    items: int
    rows: int = 0
    edge: int = 0

    def __str__(self) -> str:
        return f"{self.architecture} {self.size}, {self.items} x {self.rows or f'{self.edge}³'}"

    def made(self) -> tuple[torch.nn.Module, dict[str, torch.Tensor]]:
        """The model and random inputs."""
        torch.manual_seed(0)
        model = registry.build(self.architecture, self.size)
        return model, one_item(self.task, model, self.rows, (8, self.edge), "cpu", self.items)


MEASURED = [
    Case("escaip", "mini", "forces", 16, rows=20),
    Case("rawdir", "mini", "forces", 16, rows=20),
    Case("proteina", "mini", "flow", 8, rows=57),
    Case("voxmol", "mini", "voxels", 8, edge=20),
]
TRAINED = [
    *MEASURED,
    Case("escaip", "6M", "forces", 8, rows=30),
    Case("proteina", "60M", "flow", 2, rows=100),
    Case("voxmol", "7M", "voxels", 1, edge=32),
    Case("voxmol", "7M", "voxels", 4, edge=32),
]


def seconds(call: Callable[[], object]) -> float:
    """Median of repeats after one that does not count."""
    call()
    spent: list[float] = []
    while len(spent) < 3 or sum(spent) < LEAST:
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def _predicted(case: Case) -> Callable:
    return lambda model, inputs: model(**inputs)[1] if case.task == "forces" else model(**inputs)


def measuring(case: Case) -> float:
    """Seconds of the decomposition over those of as many plain forward passes."""
    model, inputs = case.made()
    predict, model = _predicted(case), model.eval()
    plain = torch.no_grad()(lambda: predict(model, inputs))
    target, before = plain(), seconds(plain)
    clusters, order = torch.arange(case.items), None
    if case.task == "voxels":
        rotations = groups.subset_per_item(groups.cube(), N_ROTATIONS, case.items, 0)
        actions, output, order = dict(noisy=Grid()), Grid(), groups.CUBE_ORDER
    else:
        rotations = groups.haar_per_item(N_ROTATIONS, case.items, 0)
        actions, output = (FORCES if case.task == "forces" else FLOW), Vector()
    batch = Batch(inputs, target, None, clusters)
    whole = seconds(lambda: measure(model, predict, [batch], actions, output, rotations, order))
    return whole / (N_ROTATIONS * min(before, seconds(plain)))  # the first of a process is slower for a while


def training(case: Case) -> tuple[float, float]:
    """Steps per second, and FLOP/s."""
    model, inputs = case.made()
    predict, optimizer = _predicted(case), torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        predict(model.train(), inputs).square().mean().backward()
        optimizer.step()

    named = dict(architecture=case.architecture, size=case.size)
    flops = cost_of(named, case.task, case.rows, (8, case.edge)).flops
    rate = 1 / seconds(step)
    return rate, rate * FLOPS_PER_FORWARD * case.items * flops


def closed() -> float:
    """Seconds of the closed form over those of the forward passes that it stands for."""
    model, inputs = MEASURED[0].made()
    with torch.no_grad():
        forward = seconds(lambda: model.eval()(**inputs))
        return seconds(lambda: closed_form(model, inputs)) / (N_ROTATIONS * forward)


def matmul() -> float:
    """FLOP/s of a product of two 1024² matrices."""
    a = torch.randn(1024, 1024)
    return 2 * 1024**3 / seconds(lambda: a @ a)


def voxelizer(molecules: str) -> str:
    """What benchmarks/voxelize.py prints."""
    script = str(Path(__file__).with_name("voxelize.py"))
    command = [sys.executable, script, "--molecules", molecules, "--pyuul-batch", "8"]
    one = dict.fromkeys(("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ | one)
    return done.stdout.strip()


def report(molecules: str | None) -> str:
    """The page; without ``molecules`` the voxelizer is left out."""
    yard = matmul()
    lines = [
        "# Benchmarks",
        "",
        f"`make bench`, {date.today().isoformat()}, commit {commit()}: {processor()}, one thread of "
        f"{os.cpu_count()} cores (load {os.getloadavg()[0]:.1f}), torch {torch.__version__}, matmul "
        f"{yard / 1e9:.0f} GFLOP/s. Ratios in one run; random inputs.",
        "",
        f"## Measuring over {N_ROTATIONS} plain forward passes",
        "",
        "| model, items | decomposition / forward passes |",
        "|---|---|",
        *(f"| {case} | {measuring(case):.2f} |" for case in MEASURED),
        f"| closed form of {MEASURED[0]} | {closed():.3f} |",
        "",
        "## Training over the matmul rate",
        "",
        "| model, items | steps/s | GFLOP/s | of matmul |",
        "|---|---|---|---|",
    ]
    for case in TRAINED:
        steps, rate = training(case)
        lines.append(f"| {case} | {steps:.2f} | {rate / 1e9:.1f} | {100 * rate / yard:.0f} % |")
    if molecules:
        lines += ["", "## Voxelizer", "", "```", voxelizer(molecules), "```"]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--molecules", default="resources/molecules.csv", help="of the voxelizer's batches")
    parser.add_argument("--out", type=Path, help="page to write; default: print it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()  # as runs do
    text = report(args.molecules)
    if args.out is None:
        print(text)
        return
    write_text(args.out, text)


if __name__ == "__main__":
    main()
