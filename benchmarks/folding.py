"""How many voxels of a row a GPU should take together as channels, and up to which width (``models.layers``):
time of the convolutions of VoxMol at 64³ in bf16, forward and backward.

    PYTHONPATH=src python benchmarks/folding.py            # on a machine with a GPU: some 20 s
"""

import argparse
from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F

from equidyn.models import registry
from equidyn.models.layers import LAST, Convolution, folded
from equidyn.training.execution import products

FOLDS, WIDTHS, REPEATS = (1, 2, 4, 8, 16), (8, 16, 32, 64, 128), 5


def shapes(size: str, grid: int) -> Counter:
    """Channels in, channels out and voxels per edge of a network's convolutions, and how many there are."""
    network, found = registry.build("voxmol", size).to("meta"), Counter()

    def note(module, inputs, output):
        found[module.in_channels, module.out_channels, inputs[0].shape[-1]] += 1

    for module in network.modules():
        if isinstance(module, Convolution):
            module.register_forward_hook(note)
    network(torch.empty(2, network.n_channels, grid, grid, grid, device="meta"))
    return found


def convolution(fold: int) -> Callable:
    """Of a grid, weights and bias, with so many voxels of a row taken together."""
    if fold == 1:
        return lambda x, weight, bias: F.conv3d(x, weight, bias, padding=1)
    return lambda x, weight, bias: folded(x, weight, bias, fold)


def least(function: Callable, *tensors: torch.Tensor) -> float:
    """Milliseconds of a forward and backward pass: the least of some, after one."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    along, spent = torch.ones_like(function(*tensors)), []
    for _ in range(REPEATS + 1):
        for tensor in tensors:
            tensor.grad = None
        start.record()
        function(*tensors).backward(along)
        end.record()
        torch.cuda.synchronize()
        spent.append(start.elapsed_time(end))
    return min(spent[1:])


def timed(inputs: int, outputs: int, grid: int, items: int) -> dict[int, float]:
    """Milliseconds by fold."""
    on = dict(device="cuda", dtype=torch.bfloat16)
    x = torch.randn(items, inputs, grid, grid, grid, **on).to(memory_format=LAST)
    weight = torch.randn(outputs, inputs, 3, 3, 3, **on).to(memory_format=LAST)
    tensors = [t.requires_grad_() for t in (x, weight, torch.randn(outputs, **on))]
    most = WIDTHS[-1] // max(inputs, outputs)
    folds = [fold for fold in FOLDS if fold == 1 or (fold <= most and grid % fold == 0)]
    return {fold: least(convolution(fold), *tensors) for fold in folds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="7M")
    parser.add_argument("--grid", type=int, default=64)
    parser.add_argument("--items", type=int, default=64)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(f"error: no CUDA device (torch {torch.__version__}); nothing was measured")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, ms by voxels taken together")
    total = dict.fromkeys(WIDTHS, 0.0)
    for (inputs, outputs, grid), count in sorted(shapes(args.size, args.grid).items()):
        with products({"precision": "bf16"}):
            found = timed(inputs, outputs, grid, args.items)
        told = ", ".join(f"{fold}: {spent:.2f}" for fold, spent in found.items())
        print(f"{count} x {inputs} -> {outputs} at {grid}³: {told}", flush=True)
        for width in WIDTHS:
            fold = max(k for k in found if k == 1 or k * max(inputs, outputs) <= width)
            total[width] += count * found[fold]
    print("of a step, by width:", ", ".join(f"{width}: {spent:.1f}" for width, spent in total.items()))


if __name__ == "__main__":
    main()
