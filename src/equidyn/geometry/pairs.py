"""Padded chains of points: centring, and the bins that their pair distances fall into.

b items, n residues; nm.
"""

import torch


def centred(x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """x [b, n, 3] less its mean over the residues of mask [b, n], zero elsewhere."""
    weight = mask[..., None].to(x.dtype)
    return (x - (x * weight).sum(1, keepdim=True) / weight.sum(1, keepdim=True)) * weight


NEAREST = 0.1  # nm, where distance bins begin
DISTOGRAM_BINS = 64  # of the distogram that models predict
DISTOGRAM_FARTHEST = 1.0  # nm, where its last bin begins


def distance_bins(x: torch.Tensor, bins: int, farthest: float) -> torch.Tensor:
    """Bin of every pairwise distance of x [b, n, 3] nm: [b, n, n] in 0 … bins − 1; the first ends at 0.1 nm,
    the last begins at ``farthest`` and has what is no number.
    """
    x = x.detach()
    distance = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    width = (farthest - NEAREST) / (bins - 2)
    place = ((distance - NEAREST) / width).ceil_().clamp_(0, bins - 1)
    return place.nan_to_num_(bins - 1.0).long()  # no place for what is no number would end in another error
