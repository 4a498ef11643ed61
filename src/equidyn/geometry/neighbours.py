"""Neighbour lists and the invariants of a neighbourhood.

b items, a atoms (padded), n atoms (flat), m neighbours.
"""

import torch

FAINTEST = -80.0  # of exponents: e⁻⁸⁰ is nothing beside 1, and below it exp takes ten times as long on a CPU


def neighbour_list(
    positions: torch.Tensor, mask: torch.Tensor, cutoff: float, n_neighbours: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The nearest neighbours of every atom of a padded batch; no periodic images.

    Parameters
    ----------
    positions : [b, a, 3] Å;  mask : [b, a] bool;  cutoff : Å;  n_neighbours : strict cap

    Returns
    -------
    index [b, a, m] into the atoms of the same item, and its mask [b, a, m]; m = min(n_neighbours, a − 1), at
    least 1
    """
    positions = positions.to(torch.float64)
    distance = torch.cdist(positions, positions, compute_mode="donot_use_mm_for_euclid_dist")  # (b, a, a)
    allowed = (
        mask[:, :, None] & mask[:, None, :] & ~torch.eye(mask.shape[1], dtype=torch.bool, device=mask.device)
    )
    distance = distance.masked_fill(~allowed, torch.inf)
    m = min(n_neighbours, max(1, mask.shape[1] - 1))
    nearest, index = distance.topk(m, dim=-1, largest=False)
    return index, nearest <= cutoff


def flatten(
    numbers: torch.Tensor,
    positions: torch.Tensor,
    mask: torch.Tensor,
    neighbours: torch.Tensor,
    neighbour_mask: torch.Tensor,
    atoms: torch.Tensor | None = None,
) -> tuple[torch.Tensor, ...]:
    """From padded items to flat atoms: numbers [n], unit directions [n, m, 3], distances [n, m], neighbours
    [n, m], their mask.

    ``atoms`` [n] are the places of the atoms among the b · a of the padded items, those of ``places_of``
    where absent. Found from the mask they cost a GPU a pause, because their number must be known; given, they
    may hold places of padding, too.
    """
    b, a = mask.shape
    atoms = places_of(mask) if atoms is None else atoms
    flat = torch.zeros(b * a, dtype=torch.long, device=mask.device)
    flat[atoms] = torch.arange(len(atoms), device=mask.device)
    start = torch.arange(b, device=mask.device)[:, None, None] * a
    source = (neighbours + start).flatten(0, 1)[atoms]  # (n, m), padded numbering
    positions = positions.flatten(0, 1)  # (b a, 3)
    offset = positions[source] - positions[atoms][:, None, :]  # (n, m, 3) from the atom to its neighbour
    distance = offset.norm(dim=-1)
    valid = neighbour_mask.flatten(0, 1)[atoms]
    direction = offset / distance.clamp(min=1e-6)[..., None] * valid[..., None]
    return numbers.flatten()[atoms].long(), direction, distance, flat[source], valid


def places_of(mask: torch.Tensor) -> torch.Tensor:
    """Places of the atoms of padded items among all b · a places: [n], from mask [b, a]."""
    return mask.flatten().nonzero()[:, 0]


def padded(values: torch.Tensor, atoms: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Values of flat atoms [n, ...] as padded items [b, a, ...], zero where there is no atom."""
    empty = values.new_zeros(mask.numel(), *values.shape[1:])
    filled = empty.index_put((atoms,), values).unflatten(0, mask.shape)
    return torch.where(mask.reshape(*mask.shape, *[1] * (values.ndim - 1)), filled, 0.0)


def gaussian_basis(distance: torch.Tensor, n: int, cutoff: float) -> torch.Tensor:
    """n Gaussians on [0, cutoff], width twice their spacing: [..., n]."""
    centres = torch.linspace(0, cutoff, n, device=distance.device, dtype=distance.dtype)
    width = 2 * cutoff / (n - 1)
    exponent = -0.5 * ((distance[..., None] - centres) / width) ** 2
    return exponent.clamp(min=FAINTEST).exp()


def bond_order(cosine: torch.Tensor, valid: torch.Tensor, l_max: int) -> torch.Tensor:
    """Bond-orientational order of degree 0 … l_max: [n, l_max + 1].

    The norm over m of the neighbour mean of Y_lm, by the addition theorem: Σ_m |⟨Y_lm⟩|² = (2l+1)/4π ·
    ⟨P_l(cos θ_jk)⟩_jk. In float64, because the root of a cancelled sum carries the root of its rounding;
    where neighbours lie so that an order vanishes (CH4), that of float32 cosines leaves 4e-4.

    Parameters
    ----------
    cosine : [n, m, m] cosines between neighbour directions;  valid : [n, m] bool
    """
    cosine = cosine.to(torch.float64)
    weight = valid.to(torch.float64) / valid.sum(-1, keepdim=True).clamp(min=1)
    pair = weight[:, :, None] * weight[:, None, :]
    previous, current = torch.ones_like(cosine), cosine
    orders = [pair.sum((1, 2)) / (4 * torch.pi)]
    for degree in range(1, l_max + 1):
        orders.append((2 * degree + 1) / (4 * torch.pi) * (pair * current).sum((1, 2)))
        previous, current = current, ((2 * degree + 1) * cosine * current - degree * previous) / (degree + 1)
    return torch.stack(orders, -1).clamp(min=0).sqrt()
