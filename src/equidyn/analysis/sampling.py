"""New backbones from a trained flow, and what they look like: Euler integration, PDB files, bond-length and
handedness statistics.
"""

from pathlib import Path

import numpy as np
import torch

from equidyn.errors import ArgumentError
from equidyn.geometry.chains import bond_lengths, clashes, helix_handedness, radius_of_gyration
from equidyn.geometry.pairs import centred

BOND, BOND_TOLERANCE = 3.8, 0.4  # Å between consecutive Cα, and how far off still counts as a bond


@torch.no_grad()
def sample(
    model: torch.nn.Module,
    lengths: list[int],
    steps: int = 100,
    seed: int = 0,
    self_conditioning: bool = True,
    batch_size: int = 32,
) -> list[np.ndarray]:
    """Chains of these lengths by Euler integration of the velocity from noise at t = 0 to t = 1.

    Parameters
    ----------
    model : in eval mode;  steps : equal steps in t
    seed : noise of chain i depends on (seed, i) alone
    self_conditioning : whether each step sees the estimate x̂_1 of the one before it, the first none

    Returns
    -------
    positions [n, 3] in Å of every chain, float32

    Raises
    ------
    ArgumentError
        a length or a number of steps below 1
    """
    if steps < 1 or min(lengths, default=1) < 1:
        raise ArgumentError(
            f"sample: steps = {steps}, shortest length {min(lengths, default=1)}; expected at least 1"
        )
    device = next(model.parameters()).device
    chains = [np.empty(0)] * len(lengths)
    by_length = sorted(range(len(lengths)), key=lambda i: lengths[i])
    for start in range(0, len(by_length), batch_size):
        members = by_length[start : start + batch_size]
        n = torch.tensor([lengths[i] for i in members])
        mask = torch.arange(int(n.max())) < n[:, None]  # (b, n)
        x = torch.zeros(*mask.shape, 3)
        for row, i in zip(x, members):
            row[: lengths[i]] = torch.from_numpy(
                np.random.default_rng([seed, i]).normal(size=(lengths[i], 3))
            )
        x, mask = centred(x, mask).to(device), mask.to(device)
        fixed = dict(
            mask=mask,
            index=torch.arange(1, mask.shape[1] + 1, device=device).expand(mask.shape),
            breaks=torch.zeros(mask.shape, device=device),
        )
        x_sc = torch.zeros_like(x)
        for t in (torch.arange(steps) / steps).tolist():
            velocity = model(x_t=x, t=torch.full((len(x),), t, device=device), **fixed, x_sc=x_sc)
            if self_conditioning:
                x_sc = x + (1 - t) * velocity
            x = centred(x + velocity / steps, mask)
        for row, i in zip(x.cpu().numpy(), members):
            chains[i] = 10 * row[: lengths[i]]
    return chains


def write_pdb(path: str | Path, positions: np.ndarray, title: str = "") -> None:
    """One chain A of alanines with nothing but their Cα at positions [n, 3] Å; ``title`` is the file's TITLE.

    Raises
    ------
    ArgumentError
        an empty chain, or coordinates that do not fit the format's columns
    """
    import gemmi

    if len(positions) < 1 or not np.abs(positions).max() < 1000:  # also refuses NaN
        raise ArgumentError(
            f"{path}: {len(positions)} positions, "
            "expected at least one, finite and within 1000 Å of the origin"
        )
    chain = gemmi.Chain("A")
    for number, position in enumerate(np.asarray(positions, dtype=float), start=1):
        residue, atom = gemmi.Residue(), gemmi.Atom()
        residue.name, residue.seqid, residue.entity_type = (
            "ALA",
            gemmi.SeqId(number, " "),
            gemmi.EntityType.Polymer,
        )
        atom.name, atom.element, atom.occ, atom.pos = "CA", gemmi.Element("C"), 1.0, gemmi.Position(*position)
        residue.add_atom(atom)
        chain.add_residue(residue)
    structure, model = gemmi.Structure(), gemmi.Model(1)
    model.add_chain(chain)
    structure.add_model(model)
    structure.setup_entities()
    structure.info["_struct.title"] = title
    structure.write_pdb(str(path))


def statistics(chains: list[np.ndarray]) -> dict[str, float]:
    """How protein-like chains of positions [n, 3] Å are, over all of them.

    Bond lengths in Å (mean, standard deviation, share within 3.8 ± 0.4), mean radius of gyration in Å, mean
    of Rg / n^0.4, clashes per residue, share of quadruplets that are helical, helical ones of either hand
    and the right-handed share of them (NaN if there are none).
    """
    bonds = np.concatenate([bond_lengths(chain) for chain in chains])
    gyration = np.array([radius_of_gyration(chain) for chain in chains])
    right, left = np.sum([helix_handedness(chain) for chain in chains], axis=0)
    residues, quadruplets = (sum(max(len(chain) - k, 0) for chain in chains) for k in (0, 3))
    return dict(
        n_chains=len(chains),
        bond_mean=float(bonds.mean()),
        bond_std=float(bonds.std()),
        bonds_within=float((np.abs(bonds - BOND) <= BOND_TOLERANCE).mean()),
        radius_of_gyration=float(gyration.mean()),
        radius_over_power=float((gyration / np.array([len(c) for c in chains]) ** 0.4).mean()),
        clashes=sum(clashes(chain) for chain in chains) / residues,
        helix_share=float((right + left) / quadruplets) if quadruplets else float("nan"),
        right_handed=int(right),
        left_handed=int(left),
        right_share=float(right / (right + left)) if right + left else float("nan"),
    )
