"""EScAIP's linear force head: how far its rows are from each other, and what that does to the equivariance
error.

At fixed features the equivariance error is q(ΔW, G) = tr(ΔW G ΔWᵀ), exact and without sampling: ΔW is the
head's deviation from equal rows, G belongs to the features. From one checkpoint (0) to the next (1) the
change of ln q splits into the features' part, G_0 to G_1 at fixed ΔW,

    features_part = ½ ln [q(ΔW_0, G_1) / q(ΔW_0, G_0)] + ½ ln [q(ΔW_1, G_1) / q(ΔW_1, G_0)]

the mean over both fixed heads, and the head's part, the same with the roles exchanged. The two add up to
``change`` = ln q_1 − ln q_0, so that each summed over rows is its part of the whole training (ln 10 = 2.3 per
decade).

Models are ``equidyn.models.escaip.EScAIP`` or have its ``features`` and ``force``.
"""

import math
from collections.abc import Iterable

import torch
from torch import nn


def closed_form(model: nn.Module, inputs: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """Exact twirled forces [b, a, 3] and equivariance error [b, a] (summed over components) from one forward
    pass.

    With W = 1 w̄ᵀ + ΔW: T_i = m_i Σ_j d̄_ij e_ij and E‖F_i − T_i‖² = m_i²/3 Σ_k ‖Σ_j δ_ij,k e_ij‖², because
    E[R_ka R_kb] = δ_ab/3 for every group whose action on vectors is irreducible.
    """
    f = model.features(**inputs)
    d = model.force(f["hidden"]).double()
    mean = d.mean(-1, keepdim=True)
    e, m = f["direction"].double(), f["magnitude"].double()
    mask = inputs["mask"]
    twirled, error = e.new_zeros(*mask.shape, 3), e.new_zeros(mask.shape)
    twirled[mask] = m * (mean * e).sum(1)
    error[mask] = m.squeeze(-1) ** 2 / 3 * torch.einsum("njk,njc->nkc", d - mean, e).square().sum((1, 2))
    return twirled, error


def head_deviation(model: nn.Module) -> torch.Tensor:
    """ΔW [3, H] in float64: the rows of the force head less their mean; zero (and [1, H]) where the head is
    tied.
    """
    weight = model.force.weight.detach().double()
    return weight - weight.mean(0, keepdim=True)


def head_variance(model: nn.Module) -> tuple[float, float]:
    """Population variance of the head W [3, H] over its rows, mean over columns; and that over the mean of
    W².
    """
    variance = head_deviation(model).square().mean().item()
    return variance, variance / model.force.weight.detach().double().square().mean().item()


def _acted_on(model: nn.Module, inputs: dict) -> torch.Tensor:
    """A_i = m_i Σ_j e_ij h_ijᵀ [n_atoms, 3, H], float64: force component k is A_ik · W_k."""
    f = model.features(**inputs)
    a = torch.einsum("njc,njh->nch", f["direction"].double(), f["hidden"].double())
    return a * f["magnitude"].double()[..., None]


@torch.no_grad()
def head_gram(model: nn.Module, batches: Iterable[dict], scale: float = 1.0) -> torch.Tensor:
    """Gram matrix G [H, H], float64, of what the head acts on: the equivariance error is tr(ΔW G ΔWᵀ),
    exactly, whatever ΔW.

    With A_i = Σ_j e_ij h_ijᵀ [3, H] the closed form is E‖F_i − T_i‖² = m_i²/3 Σ_k ‖A_i ΔW_k‖², hence G = Σ_i
    m_i² A_iᵀ A_i / 3, here a mean over atoms and components. G knows the features and nothing of W.

    Parameters
    ----------
    batches : inputs of ``forward``, one dictionary per batch;  scale : unit of the forces (error in its
        square)
    """
    total, count = 0.0, 0
    for inputs in batches:
        a = _acted_on(model, inputs).flatten(0, 1)  # (3 n, H)
        total, count = total + a.T @ a, count + len(a)
    return scale**2 * total / (3 * count)


@torch.no_grad()
def least_squares_head(
    model: nn.Module, batches: Iterable[tuple[dict, torch.Tensor]], ridge: float = 1e-6
) -> torch.Tensor:
    """The head W [3, H], float64, that fits forces best at the model's fixed features, each row by itself.

    Row k sees component k alone: F_ik ≈ A_ik · W_k with A_i = m_i Σ_j e_ij h_ijᵀ [3, H], so that W_k =
    (E A_kᵀ A_k)⁻¹ E A_kᵀ F_k. In isotropic poses the three second moments are the same and the rows differ by
    sampling alone; in aligned ones they differ for good, however many items there are.

    Parameters
    ----------
    batches : inputs of ``forward`` with forces [b, a, 3] in the unit of the model's output
    ridge : added to the diagonal, in units of its mean
    """
    moments, products = 0.0, 0.0
    for inputs, forces in batches:
        a = _acted_on(model, inputs)
        moments = moments + torch.einsum("nch,ncg->chg", a, a)
        products = products + torch.einsum("nch,nc->ch", a, forces[inputs["mask"]].double())
    diagonal = ridge * moments.diagonal(dim1=1, dim2=2).mean(1)[:, None, None]
    identity = torch.eye(moments.shape[-1], dtype=moments.dtype, device=moments.device)
    return torch.linalg.solve(moments + diagonal * identity, products)


def head_quadratic(deviation: torch.Tensor, gram: torch.Tensor) -> float:
    """tr(ΔW G ΔWᵀ): the equivariance error of a head with this deviation [3, H] on features with this Gram
    matrix [H, H].
    """
    return torch.einsum("kh,hg,kg->", deviation, gram, deviation).item()


def log_ratio(above: float, below: float) -> float:
    """ln(above / below); nan where either is not positive (a tied head)."""
    return math.log(above / below) if above > 0 and below > 0 else math.nan


def parts_of_change(old: tuple | None, new: tuple) -> dict[str, float]:
    """features_part, head_part and change in ln units, from (ΔW, G) of two checkpoints; nan without an older
    one.
    """
    if old is None:
        return dict.fromkeys(("features_part", "head_part", "change"), math.nan)
    (w0, g0), (w1, g1) = old, new
    q = {(i, j): head_quadratic(w, g) for i, w in enumerate((w0, w1)) for j, g in enumerate((g0, g1))}
    features = (log_ratio(q[0, 1], q[0, 0]) + log_ratio(q[1, 1], q[1, 0])) / 2
    head = (log_ratio(q[1, 0], q[0, 0]) + log_ratio(q[1, 1], q[0, 1])) / 2
    return dict(features_part=features, head_part=head, change=log_ratio(q[1, 1], q[0, 0]))
