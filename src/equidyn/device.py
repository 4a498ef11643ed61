"""Which device a run uses, and whether products are in TF32 there."""

from collections.abc import Iterator
from contextlib import contextmanager

from equidyn.errors import ConfigError


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
