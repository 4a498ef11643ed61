"""Task ``flow``: the best linear denoiser along the chain.

Chains are taken for Gaussian, each component alike and independent, with the covariance that their mean
square distances imply: D²(s, n) between residues s apart in chains of n residues. With J the centring
projector,

    C = −½ J D² J / 3,     x̂_1 = A(t) x_t,     A = t C (t² C + (1 − t)² J)⁺,     v = (x̂_1 − x_t) / (1 − t)

(classical scaling, Torgerson 1952; the conditional mean of a Gaussian). One matrix for the three components:
equivariant by construction. It knows bond lengths, stiffness and size of chains, and no fold.

Everything happens in eigenvectors of C, where A is a factor per mode: C is diagonalised once per length, and
A(t) at any time costs nothing more.
"""

from dataclasses import dataclass, field

import torch

from equidyn.errors import ArgumentError


@dataclass(frozen=True, eq=False)
class ChainDenoiser:
    """See the module. Fields: mean square distances of the training chains, length by length.

    At length n they come from the ``window`` training chains nearest to it in length (all of that distance,
    so more where there are ties), each with the tricube weight of its distance (Cleveland 1979). The window
    is as wide as it needs to be, so that a length that no training chain has is served too. Separation s of n
    residues is read off a chain of m residues at s + (m − n) (s/(n − 1))²: ends fall on ends, whose distance
    follows the size of the whole, and neighbours on neighbours, whose distance does not and to which late
    times are sensitive.

    Mean distances of finitely many chains that are not stationary need not be those of any chain, and C may
    have eigenvalues below zero. A mode taken for empty turns what is in it into an error of 1/(1 − t), so
    eigenvalues are clipped not at zero but at (D²(1) − D²(2)/4)/12: the least variance, that of the
    alternating mode, in a chain whose bends scatter as much as here and independently (its second differences
    are white). A freely jointed walk stays above it, and it is zero for a straight rod.
    """

    lengths: torch.Tensor  # [k] int64, ascending
    counts: torch.Tensor  # [k] int64, training chains of that length
    profiles: torch.Tensor  # [k, longest] float64 nm², mean square distance by separation; 0 beyond the chain
    window: int
    _modes: dict[int, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict, init=False, repr=False)

    @classmethod
    def fit(cls, positions: torch.Tensor, mask: torch.Tensor, window: int = 400) -> "ChainDenoiser":
        """Mean square distances of training chains.

        Parameters
        ----------
        positions : [items, n, 3] nm, padded;  mask : [items, n] bool, true for the residues, which come first
        window : training chains that the distances at one length are taken from, at least

        Raises
        ------
        ArgumentError
            shapes that do not fit, no chains, chains of fewer than three residues, padding before residues,
            positions that are not finite, or a window below 1
        """
        if positions.ndim != 3 or positions.shape[-1] != 3 or mask.shape != positions.shape[:2]:
            raise ArgumentError(
                f"ChainDenoiser: positions {list(positions.shape)} and mask {list(mask.shape)}, expected "
                f"[items, n, 3] and [items, n]"
            )
        if window < 1:
            raise ArgumentError(f"ChainDenoiser: window = {window}, expected a number of chains >= 1")
        of_item = _lengths(mask)
        lengths, counts = of_item.unique(return_counts=True)
        if not len(lengths) or lengths[0] < 3 or not torch.isfinite(positions[mask]).all():
            raise ArgumentError(
                f"ChainDenoiser: {len(of_item)} chains of {lengths[:1].tolist()} or more residues, expected "
                f"one or more of at least 3, all finite"
            )
        profiles = torch.zeros(len(lengths), int(lengths[-1]), dtype=torch.float64)
        for profile, n in zip(profiles, lengths.tolist()):
            x = positions[of_item == n, :n].double()
            for s in range(1, n):
                profile[s] = 3 * (x[:, s:] - x[:, :-s]).square().mean()
        return cls(lengths.cpu(), counts.cpu(), profiles, window)

    def square_distances(self, n: int) -> torch.Tensor:
        """D²(s, n) for s = 0 … n − 1: float64 [n] nm²."""
        away = (self.lengths - n).abs()
        nearest, order = away.sort(stable=True)
        width = nearest[(self.counts[order].cumsum(0) < self.window).sum().clamp(max=len(nearest) - 1)]
        weight = self.counts * (1 - (away / (width + 1)).clamp(max=1) ** 3) ** 3  # (k,)
        s = torch.arange(n, dtype=torch.float64)
        found = torch.zeros(n, dtype=torch.float64)
        for w, m, profile in zip(weight.tolist(), self.lengths.tolist(), self.profiles):
            if w > 0:
                found += w * _interpolate(profile[:m], s + (m - n) * (s / max(n - 1, 1)) ** 2)
        return found / weight.sum()

    def modes(self, n: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Eigenvectors [n, n − 1] of C, but for (1, …, 1), and their eigenvalues [n − 1] nm²."""
        if n not in self._modes:
            i, squares = torch.arange(n), self.square_distances(n)
            basis = _centred_basis(n)  # J is basis basisᵀ
            values, vectors = torch.linalg.eigh(-basis.T @ squares[(i[:, None] - i).abs()] @ basis / 6)
            least = (squares[1] - squares[2] / 4).item() / 12 if n > 2 else 0.0
            self._modes[n] = basis @ vectors, values.clamp(min=max(least, 0.0))
        return self._modes[n]

    def denoiser(self, n: int, t: float) -> torch.Tensor:
        """A(t) for chains of n residues: float64 [n, n], x̂_1 = A x_t."""
        modes, values = self.modes(n)
        gains = 1 + (1 - t) * _velocity_gains(values, torch.tensor([t], dtype=torch.float64))[0]
        return modes * gains @ modes.T

    def predict(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Velocity [b, n, 3] nm from x_t [b, n, 3] nm, t [b] and mask [b, n]; other inputs are ignored.

        Centred, zero on padding, on the device and in the dtype of x_t.

        Raises
        ------
        ArgumentError
            padding before residues
        """
        x_t, t, of_item = inputs["x_t"], inputs["t"].double(), _lengths(inputs["mask"])
        velocity = torch.zeros_like(x_t)
        for n in of_item.unique().tolist():
            if n < 2:  # nothing of a centred residue can move
                continue
            rows = of_item == n
            modes, values = (x.to(x_t.device) for x in self.modes(n))
            gains = _velocity_gains(values, t[rows])[..., None]  # (rows, n − 1, 1)
            velocity[rows, :n] = (modes @ (gains * (modes.T @ x_t[rows, :n].double()))).to(x_t.dtype)
        return velocity


def _velocity_gains(values: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Factor [b, k] from x_t to v for modes of variance values [k] at times t [b].

    (tλ/(t²λ + (1 − t)²) − 1)/(1 − t) without the division by 1 − t. Where both t = 1 and λ = 0 there is
    nothing to predict from, and it is 0.
    """
    t = t[:, None]
    power = t**2 * values + (1 - t) ** 2  # of x_t in that mode
    return torch.where(power > 0, (t * values - (1 - t)) / power.clamp(min=1e-300), 0.0)


def _interpolate(profile: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """Mean square distances [m] by separation, linearly interpolated at s [n], held at the ends."""
    s = s.clamp(0, len(profile) - 1)
    below = s.floor().long().clamp(max=max(len(profile) - 2, 0))
    above = (below + 1).clamp(max=len(profile) - 1)
    return torch.lerp(profile[below], profile[above], s - below)


def _centred_basis(n: int) -> torch.Tensor:
    """Orthonormal columns [n, n − 1], all orthogonal to (1, …, 1): the cosines of the DCT-II."""
    i = torch.arange(n, dtype=torch.float64)
    return (2 / n) ** 0.5 * torch.cos(torch.pi / n * (i[:, None] + 0.5) * i[1:])


def _lengths(mask: torch.Tensor) -> torch.Tensor:
    """Residues of every chain: [b] int64; ArgumentError where they do not come first."""
    lengths = mask.sum(1)
    if not torch.equal(mask.bool(), torch.arange(mask.shape[1], device=mask.device) < lengths[:, None]):
        raise ArgumentError("ChainDenoiser: a mask with padding before residues, expected residues first")
    return lengths
