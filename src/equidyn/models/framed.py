"""Proteina averaged over frames of the chain (Puny et al. 2022): exactly equivariant, the network untouched.

The principal axes of x_t make four right-handed frames, which turn with the chain. The network sees x_t and
x_sc in a frame and its velocity is turned back. Measured and sampled, the mean over the four is taken: four
forward passes. In training every chain is seen in one of them, drawn at random (Duval et al. 2023), at the
cost of one pass. Frames jump where two of the moments are equal, which no chain of a dataset is exactly.
"""

import copy

import torch
from torch import nn

from equidyn.models.proteina import SIZES as _OF_PROTEINA
from equidyn.models.proteina import Proteina

# no CUDA graph holds it: eigenvectors are checked on the host
MODEL = {"name": "framed", "task": "flow", "class": "FramedProteina", "graphs": False}
SIZES = {
    "tiny": dict(_OF_PROTEINA["tiny"]),
    "mini": dict(_OF_PROTEINA["mini"]),
    "60M": dict(_OF_PROTEINA["60M"]),
}
SIGNS = torch.tensor([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], dtype=torch.float64)


def principal_frames(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Four right-handed frames of every chain, columns its principal axes: float64 [4, b, 3, 3].

    Parameters
    ----------
    x : [b, n, 3], centred where ``mask`` [b, n] is true
    """
    points = x.to(torch.float64) * mask[..., None]
    axes = torch.linalg.eigh(points.transpose(1, 2) @ points).eigenvectors  # (b, 3, 3)
    axes = axes * torch.linalg.det(axes).sign()[:, None, None]
    return axes * SIGNS.to(axes)[:, None, None]


class FramedProteina(nn.Module):
    """Velocity field of the flow, same call as ``Proteina``, whose arguments it takes."""

    equivariant = True

    def __init__(self, hidden, layers, heads, pair, conditioning, registers):
        super().__init__()
        self.inner = Proteina(hidden, layers, heads, pair, conditioning, registers)

    def forward(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor,
        mask: torch.Tensor,
        index: torch.Tensor,
        breaks: torch.Tensor,
        x_sc: torch.Tensor,
    ) -> torch.Tensor:
        """Velocity [b, n, 3] in nm, zero where masked; parameters as in ``Proteina.forward``."""
        frames = principal_frames(x_t, mask)  # (4, b, 3, 3)
        if self.training:
            picked = torch.randint(len(frames), (len(x_t),), device=x_t.device)
            frames = frames[picked, torch.arange(len(x_t), device=x_t.device)][None]  # (1, b, 3, 3)
        total = torch.zeros_like(x_t, dtype=torch.float64)
        for frame in frames:
            seen = [(x.to(torch.float64) @ frame).to(x.dtype) for x in (x_t, x_sc)]
            velocity = self.inner(seen[0], t, mask, index, breaks, seen[1])
            total = total + velocity.to(torch.float64) @ frame.transpose(1, 2)
        return (total / len(frames)).to(x_t.dtype)

    def equivariant_control(self) -> "FramedProteina":
        """A copy: the network is its own control."""
        return copy.deepcopy(self)
