"""Full-size models on one device: steps per second, peak memory, achieved FLOP/s against a large matmul, cost
of the decomposition.

    make gpu-check                                                          # on a machine with a GPU
    python benchmarks/gpu_check.py --device cpu --tiny       # the same code, small

Inputs are random, so losses mean nothing. Needs torch, numpy, scipy and this package alone. Measuring is
float32 with TF32 off.
"""

import argparse
import json
import platform
import time
from datetime import date
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from equidyn.geometry.neighbours import neighbour_list
from equidyn.models import registry
from equidyn.provenance import commit
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Grid, Scalar, Vector
from equidyn.symmetry.measure import Batch, measure


def molecules(model, b, atoms, device):
    """Random molecules for EScAIP: inputs, actions, target, predict."""
    generator = torch.Generator().manual_seed(0)
    positions = (torch.randn(b, atoms, 3, generator=generator) * atoms ** (1 / 3) * 1.2).to(device)
    mask = torch.ones(b, atoms, dtype=torch.bool, device=device)
    neighbours, valid = neighbour_list(positions, mask, model.cutoff, model.n_neighbours)
    inputs = dict(
        numbers=torch.randint(1, 9, (b, atoms), generator=generator).to(device),
        positions=positions,
        mask=mask,
        neighbours=neighbours,
        neighbour_mask=valid,
    )
    actions = dict(
        numbers=Scalar(), positions=Vector(), mask=Fixed(), neighbours=Fixed(), neighbour_mask=Fixed()
    )
    return (
        inputs,
        actions,
        torch.randn(b, atoms, 3, generator=generator).to(device),
        Vector(),
        lambda model, x: model(**x)[1],
    )


def chains(model, b, n, device):
    """Random chains for Proteina."""
    generator = torch.Generator().manual_seed(0)
    x_t = torch.randn(b, n, 3, generator=generator).to(device)
    inputs = dict(
        x_t=x_t,
        t=torch.full((b,), 0.5, device=device),
        mask=torch.ones(b, n, dtype=torch.bool, device=device),
        index=torch.arange(1, n + 1, device=device).expand(b, n),
        breaks=torch.zeros(b, n, device=device),
        x_sc=torch.zeros_like(x_t),
    )
    actions = dict(x_t=Vector(), x_sc=Vector(), t=Scalar(), mask=Fixed(), index=Fixed(), breaks=Fixed())
    return (
        inputs,
        actions,
        torch.randn(b, n, 3, generator=generator).to(device),
        Vector(),
        lambda model, x: model(**x),
    )


def grids(model, b, g, device):
    """Random grids for VoxMol."""
    x = torch.rand(b, 8, g, g, g, generator=torch.Generator().manual_seed(0)).to(device)
    return dict(noisy=x), dict(noisy=Grid()), x.clone(), Grid(), lambda model, x: model(**x)


# architecture, size, inputs, items per step, atoms / residues / voxels per edge
FULL = [
    ("escaip", "6M", molecules, 64, 30),
    ("proteina", "60M", chains, 8, 128),
    ("proteina", "400M", chains, 4, 128),
    ("voxmol", "111M", grids, 8, 64),
]
TINY = [
    ("escaip", "tiny", molecules, 4, 8),
    ("proteina", "tiny", chains, 2, 16),
    ("voxmol", "tiny", grids, 2, 8),
]


def seconds(call, device, n):
    """Mean wall time of n calls after two."""
    for _ in range(2):
        call()
    _wait(device)
    started = time.perf_counter()
    for _ in range(n):
        call()
    _wait(device)
    return (time.perf_counter() - started) / n


def _wait(device):
    if device == "cuda":
        torch.cuda.synchronize()


def check(architecture, size, make, b, n, device, steps):
    """One row of the table."""
    if device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    model = registry.build(architecture, size).to(device)
    inputs, actions, target, output, predict = make(model, b, n, device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = (predict(model, inputs) - target).square().mean()
        loss.backward()
        optimizer.step()

    per_step = seconds(step, device, steps)
    with FlopCounterMode(display=False) as counter:
        step()
    memory = torch.cuda.max_memory_allocated() if device == "cuda" else 0
    model.eval()
    n_rotations = 10
    rotations = (
        groups.subset_per_item(groups.cube(), n_rotations, b, 0)
        if architecture == "voxmol"
        else groups.haar_per_item(n_rotations, b, 0)
    )
    order = 24 if architecture == "voxmol" else None
    batch = Batch(inputs, target, None, torch.arange(b))
    with torch.no_grad():
        forward = seconds(lambda: predict(model, inputs), device, max(2, steps // 2))
    measured = seconds(lambda: measure(model, predict, [batch], actions, output, rotations, order), device, 2)
    return dict(
        architecture=architecture,
        size=size,
        parameters=sum(p.numel() for p in model.parameters()),
        items=b,
        length=n,
        steps_per_second=1 / per_step,
        peak_memory_gib=memory / 2**30,
        tflops=counter.get_total_flops() / per_step / 1e12,
        forward_seconds=forward,
        decomposition_over_forwards=measured / (n_rotations * forward),
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument(
        "--tiny", action="store_true", help="tiny models: tries the code, says nothing about speed"
    )
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, help="JSON file; the table goes beside it as .md")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit(
            f"error: no CUDA device (torch {torch.__version__}, CUDA of this build: {torch.version.cuda}); "
            f"nothing was measured"
        )
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    side = 512 if args.tiny else 8192
    a = torch.randn(side, side, device=args.device)
    matmul = 2 * side**3 / seconds(lambda: a @ a, args.device, 5) / 1e12
    name = (
        torch.cuda.get_device_name() if args.device == "cuda" else platform.processor() or platform.machine()
    )
    result = dict(
        date=date.today().isoformat(),
        commit=commit(),
        hardware=name,
        torch=torch.__version__,
        matmul_tflops=matmul,
        models=[],
    )
    lines = [
        f"{name}, torch {torch.__version__}, float32 matmul {matmul:.2f} TFLOP/s, {result['date']}, commit "
        f"{result['commit']}\n"
    ]
    lines.append(
        "| model | parameters | items x length | steps/s | peak GiB | TFLOP/s | of matmul | decomposition "
        "/ 10 forwards |\n|---|---|---|---|---|---|---|---|"
    )
    print("\n".join(lines))
    for row in TINY if args.tiny else FULL:
        r = check(*row, args.device, args.steps)
        result["models"].append(r)
        lines.append(
            f"| {r['architecture']} {r['size']} | {r['parameters'] / 1e6:.2f}M | {r['items']} x "
            f"{r['length']} | {r['steps_per_second']:.2f} | {r['peak_memory_gib']:.1f} | "
            f"{r['tflops']:.2f} | {100 * r['tflops'] / matmul:.0f} % | "
            f"{r['decomposition_over_forwards']:.2f} |"
        )
        print(lines[-1], flush=True)
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(result, indent=2) + "\n")
        args.out.with_suffix(".md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
