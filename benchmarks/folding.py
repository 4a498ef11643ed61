"""Which rows of voxels a GPU should take as channels, and up to which width (``models.layers.WIDE``): time of
convolutions of VoxMol 7M at 64³, forward and backward, by how many voxels are taken together.

    python benchmarks/folding.py            # on a machine with a GPU: some 20 s
"""

import argparse
from collections.abc import Callable

import torch
import torch.nn.functional as F

from equidyn.models.layers import LAST, folded
from equidyn.training.execution import products

SHAPES = (  # channels in and out, voxels per edge, how many there are in the network
    (8, 8, 64, 8),
    (16, 8, 64, 3),
    (16, 16, 32, 7),
    (32, 16, 32, 3),
    (32, 32, 16, 7),
    (64, 32, 16, 3),
)
FOLDS, WIDTHS, REPEATS = (1, 2, 4, 8, 16), (8, 16, 32, 64, 128), 5
DTYPES = {"bf16": torch.bfloat16, "tf32": torch.float32}


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


def timed(shape: tuple[int, int, int, int], items: int, dtype: torch.dtype) -> dict[int, float]:
    """Milliseconds by fold."""
    inputs, outputs, grid, _ = shape
    x = torch.randn(items, inputs, grid, grid, grid, device="cuda", dtype=dtype).to(memory_format=LAST)
    weight = torch.randn(outputs, inputs, 3, 3, 3, device="cuda", dtype=dtype).to(memory_format=LAST)
    tensors = [t.requires_grad_() for t in (x, weight, torch.randn(outputs, device="cuda", dtype=dtype))]
    wide = max(inputs, outputs)
    folds = [fold for fold in FOLDS if fold == 1 or fold * wide <= WIDTHS[-1]]
    return {fold: least(convolution(fold), *tensors) for fold in folds}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--precision", choices=DTYPES, default="bf16")
    parser.add_argument("--items", type=int, default=64)
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(f"error: no CUDA device (torch {torch.__version__}); nothing was measured")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {args.precision}, ms by fold")
    total = dict.fromkeys(WIDTHS, 0.0)
    for shape in SHAPES:
        with products({"precision": args.precision}):
            found = timed(shape, args.items, DTYPES[args.precision])
        print(
            f"{shape[0]} -> {shape[1]} at {shape[2]}³:",
            {k: round(v, 2) for k, v in found.items()},
            flush=True,
        )
        for width in WIDTHS:
            total[width] += shape[3] * found[max(k for k in found if k == 1 or k * max(shape[:2]) <= width)]
    print("of a step, by the width up to which is folded:", {k: round(v, 1) for k, v in total.items()})


if __name__ == "__main__":
    main()
