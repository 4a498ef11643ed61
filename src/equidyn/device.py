"""Which device a run uses, what it is called, and whether products are in TF32 there."""

import ctypes
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from equidyn.errors import ConfigError

if TYPE_CHECKING:
    import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


def resolve_device(name: str) -> str:
    """`cpu` or `cuda` from `auto`, `cpu`, `cuda`; never a silent fallback. Also turns TF32 off.

    Raises
    ------
    ConfigError
        `cuda` was asked for and torch finds none
    """
    import torch

    _set_tf32(False)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        build = torch.version.cuda or "none, a CPU build"
        raise ConfigError(
            f"config, device: 'cuda', but torch {torch.__version__} finds no CUDA device (CUDA of this "
            f"build: {build}); "
            "expected a GPU, or device auto or cpu"
        )
    return ("cuda" if available else "cpu") if name == "auto" else name


def keep_freed_memory() -> None:
    """Let this process keep the memory of arrays that it has freed for the next ones; what is free at the end
    of its heap up to 2 GiB.

    glibc gives arrays beyond 32 MiB, at first beyond 128 KiB, back to the system at once; fetched anew, and
    zeroed by it page by page, they cost a forward pass on a CPU up to a third of its time. Nothing happens
    where there is no glibc.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    # older versions refuse more than 32 MiB, and either call ends their own search for a threshold
    if mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_THRESHOLD, 1 << 25):
        mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """What the processor calls itself, with family and model where it states them: a virtual machine may
    call two generations alike.
    """
    try:
        lines = [line.partition(":") for line in cpuinfo.read_text().splitlines()]
    except OSError:
        lines = []
    stated = {key.strip(): value.strip() for key, _, value in reversed(lines)}  # of the first core
    name = stated.get("model name") or platform.processor() or platform.machine()
    if {"cpu family", "model"} <= stated.keys():
        name += f" (family {stated['cpu family']}, model {stated['model']})"
    return name


def hardware(device: "torch.device") -> str:
    """Name of the card or the processor."""
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else processor()


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    """Matrix products and convolutions in TF32 or not within the block, and as they were afterwards."""
    import torch

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    _set_tf32(on)
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _set_tf32(on: bool) -> None:
    """TF32's ten bits would be counted as equivariance error; bfloat16 training is an option of its own."""
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on


def on_device(drawn: dict, device: "torch.device | str") -> dict:
    """The same with its tensors on the device, on a GPU without waiting for it; other values as they are."""
    import torch

    kind = torch.device(device).type
    if kind == "cpu":
        return drawn
    return {
        name: (value.pin_memory() if kind == "cuda" else value).to(device, non_blocking=True)
        if isinstance(value, torch.Tensor)
        else value
        for name, value in drawn.items()
    }


def placed(model: "torch.nn.Module", device: "torch.device | str") -> "torch.nn.Module":
    """The model on the device, its weights in the memory format that it states for devices of this type in
    ``memory_formats``.
    """
    import torch

    model = model.to(device)
    wanted = getattr(model, "memory_formats", {}).get(torch.device(device).type)
    return model if wanted is None else model.to(memory_format=wanted)


def placed_for_training(model: "torch.nn.Module", precision: str) -> "torch.nn.Module":
    """The model; if it is on a GPU and trains in bf16, in the memory format that it states for that case in
    ``bf16_format``.
    """
    wanted = getattr(model, "bf16_format", None)
    if wanted is None or precision != "bf16" or not next(model.parameters()).is_cuda:
        return model
    return model.to(memory_format=wanted)
