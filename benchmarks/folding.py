"""How many voxels of a row a GPU should make together as channels (``models.layers``): time of VoxMol's
convolutions at 64³ in bf16, forward and backward, as torch does them, in our own ways, and as it is done.

    PYTHONPATH=src python benchmarks/folding.py            # on a machine with a GPU: some 20 s
"""

import argparse
from collections import Counter
from collections.abc import Callable

import torch
import torch.nn.functional as F

from equidyn.models import registry
from equidyn.models.layers import LAST, Convolution, Doubling, Pointwise, doubled, folded, folded_linear
from equidyn.training.execution import products

FOLDS, WIDEST, REPEATS = (2, 4, 8, 16), 128, 5
TORCHS, DONE = "torch's", "as done"


def shapes(size: str, grid: int) -> Counter:
    """Kinds of a network's convolutions, their channels in and out, stride, and voxels per edge of their
    input; and how many there are.
    """
    network, found = registry.build("voxmol", size).to("meta"), Counter()

    def note(module, inputs, output):
        widths = module.in_channels, module.out_channels
        found[type(module), *widths, module.stride[0], inputs[0].shape[-1]] += 1

    for module in network.modules():
        if isinstance(module, (Convolution, Doubling, Pointwise)):
            module.register_forward_hook(note)
    network(torch.empty(2, network.n_channels, grid, grid, grid, device="meta"))
    return found


def made(kind: type, inputs: int, outputs: int, stride: int) -> torch.nn.Module:
    """A layer of that kind."""
    if kind is Convolution:
        return Convolution(inputs, outputs, stride)
    return Doubling(inputs) if kind is Doubling else Pointwise(inputs, outputs)


def ways(layer: torch.nn.Module, row: int) -> dict[str, Callable]:
    """Functions of a grid, weights and bias, by name: torch's, and ours by the voxels of a row that are made
    together.
    """
    if isinstance(layer, Doubling):
        return {TORCHS: lambda *x: F.conv_transpose3d(*x, stride=2, padding=1), "doubled": doubled}
    (stride, *_), (padding, *_) = layer.stride, layer.padding
    found = {TORCHS: lambda *x: F.conv3d(*x, stride=stride, padding=padding)}
    few = min(layer.in_channels, layer.out_channels)
    for fold in (1, *FOLDS) if isinstance(layer, Pointwise) else FOLDS:
        if fold * few <= WIDEST and row % (stride * fold) == 0:
            if isinstance(layer, Pointwise):
                found[str(fold)] = lambda *x, fold=fold: folded_linear(*x, fold)
            else:
                found[str(fold)] = lambda *x, fold=fold: folded(*x, fold, stride)
    return found


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


def timed(kind: type, inputs: int, outputs: int, stride: int, grid: int, items: int) -> dict[str, float]:
    """Milliseconds by way."""
    on = dict(device="cuda", dtype=torch.bfloat16)
    layer = made(kind, inputs, outputs, stride).to(**on).to(memory_format=LAST)
    x = torch.randn(items, inputs, grid, grid, grid, **on).to(memory_format=LAST)
    tensors = [t.detach().requires_grad_() for t in (x, layer.weight, layer.bias)]
    found = {name: least(way, *tensors) for name, way in ways(layer, grid).items()}
    parameters = ("weight", "bias")

    def as_done(x, *values):
        return torch.func.functional_call(layer, dict(zip(parameters, values)), (x,))

    return found | {DONE: least(as_done, *tensors)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", default="7M")
    parser.add_argument("--grid", type=int, default=64)
    parser.add_argument("--items", type=int, default=64)
    parser.add_argument("--smallest", type=int, default=16, help="edge of the smallest grids that are timed")
    args = parser.parse_args()
    if not torch.cuda.is_available():
        raise SystemExit(f"error: no CUDA device (torch {torch.__version__}); nothing was measured")
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, ms by voxels made together")
    total = Counter()
    order = sorted(shapes(args.size, args.grid).items(), key=lambda found: -found[0][-1])
    for (kind, inputs, outputs, stride, grid), count in order:
        if grid < args.smallest:
            continue
        with products({"precision": "bf16"}):
            found = timed(kind, inputs, outputs, stride, grid, args.items)
        told = ", ".join(f"{name}: {spent:.2f}" for name, spent in found.items())
        what = f"{kind.__name__} {inputs} -> {outputs}" + (f" by {stride}" if stride > 1 else "")
        print(f"{count} x {what} at {grid}³: {told}", flush=True)
        total[TORCHS] += count * found[TORCHS]
        total[DONE] += count * found[DONE]
        total["the least"] += count * min(found.values())
    print("of a step:", ", ".join(f"{name} {spent:.1f}" for name, spent in total.items()))


if __name__ == "__main__":
    main()
