"""How a field transforms when the world is rotated.

Every action has ``apply(rotation, x)`` and ``inverse(rotation, x)``. ``rotation`` is [3, 3], or [n_items, 3,
3] with one rotation for each entry of x's first axis. Arithmetic is done in float64, whatever the dtype of x,
and returned in x's dtype: the group action must not add rounding of its own to an equivariance error of 1e-6.
"""

import torch

from equidyn.errors import ArgumentError


class Action:
    """Base of all actions; ``rank`` trailing axes of x belong to the representation, all others are batch
    axes.
    """

    rank = 0
    on_host = False  # whether it asks for the values of a rotation, which is then better kept on the host

    def apply(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """ρ(R) x."""
        raise NotImplementedError

    def inverse(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """ρ(R)⁻¹ x; rotations are orthogonal, so R⁻¹ = Rᵀ."""
        return self.apply(rotation.transpose(-1, -2), x)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def _aligned(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Float64 rotation on x's device, with axes inserted so that [n_items, 3, 3] broadcasts along x's
        first axis.
        """
        if rotation.shape[-2:] != (3, 3) or rotation.ndim not in (2, 3):
            raise ArgumentError(
                f"{self}: rotation has shape {list(rotation.shape)}, expected [3, 3] or [n_items, 3, 3]"
            )
        if rotation.ndim == 3:
            if x.ndim <= self.rank or len(rotation) != len(x):
                raise ArgumentError(
                    f"{self}: {len(rotation)} rotations for x of shape {list(x.shape)}, expected one per "
                    f"entry of the first axis"
                )
            rotation = rotation.reshape(len(rotation), *[1] * max(0, x.ndim - 1 - self.rank), 3, 3)
        return rotation.to(device=x.device, dtype=torch.float64)

    def _check_trailing(self, x: torch.Tensor) -> None:
        if tuple(x.shape[-self.rank :]) != (3,) * self.rank:
            raise ArgumentError(
                f"{self}: x has shape {list(x.shape)}, expected trailing axes {[3] * self.rank}"
            )


class Scalar(Action):
    """A physical invariant: an energy, a distance, an atomic number, a time."""

    def apply(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x


class Fixed(Action):
    """A field that is deliberately left as it is in the laboratory frame: a neighbour list, a mask,
    an index.
    """

    def apply(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return x


class Vector(Action):
    """Vectors stored as rows, x [..., 3]: ``apply(R, x)`` is ``x @ R.T``.

    Examples
    --------
    >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # about z
    >>> x = torch.tensor([[1.0, 0, 0], [0, 0, 2]])
    >>> Vector().apply(quarter, x)
    tensor([[0., 1., 0.],
            [0., 0., 2.]])
    >>> torch.equal(Vector().inverse(quarter, Vector().apply(quarter, x)), x)
    True
    """

    rank = 1

    def apply(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        self._check_trailing(x)
        rotation = self._aligned(rotation, x)
        return torch.einsum("...ij,...j->...i", rotation, x.to(torch.float64)).to(x.dtype)


class Tensor2(Action):
    """Second-rank Cartesian tensors, x [..., 3, 3]: ``apply(R, x)`` is ``R x Rᵀ``."""

    rank = 2

    def apply(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        self._check_trailing(x)
        rotation = self._aligned(rotation, x)
        return (rotation @ x.to(torch.float64) @ rotation.transpose(-1, -2)).to(x.dtype)


class Grid(Action):
    """Scalar fields on a cubic grid centred at the origin, x [..., g, g, g] with axes x, y, z.

    ``(ρ(R) x)(p) = x(R⁻¹ p)``. Exact for the 24 rotations of the cube, which permute and flip axes; any other
    rotation would need interpolation and is refused.

    Examples
    --------
    >>> quarter = torch.tensor([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # about z
    >>> x = torch.zeros(3, 3, 3)
    >>> x[2, 1, 1] = 1  # on the positive x axis
    >>> Grid().apply(quarter, x).nonzero().tolist()  # now on the positive y axis
    [[1, 2, 1]]
    """

    rank = 3
    on_host = True

    def apply(self, rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        if x.ndim < 3 or len(set(x.shape[-3:])) != 1:
            raise ArgumentError(f"Grid(): x has shape {list(x.shape)}, expected three equal trailing axes")
        if rotation.ndim == 2:
            return self._one(rotation, x)
        self._aligned(rotation, x)  # shape checks
        return torch.stack([self._one(r, item) for r, item in zip(rotation, x)]) if len(x) else x

    @staticmethod
    def _one(rotation: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        matrix = rotation.to(device="cpu", dtype=torch.float64)
        rounded = matrix.round()
        signed_permutation = bool((rounded.abs().sum(0) == 1).all() and (rounded.abs().sum(1) == 1).all())
        if (
            matrix.shape != (3, 3)
            or not signed_permutation
            or (matrix - rounded).abs().max() > 1e-9
            or torch.linalg.det(rounded) < 0
        ):
            raise ArgumentError(
                f"Grid(): rotation {matrix.tolist()} is not one of the 24 rotations of the cube; a grid "
                f'cannot be turned otherwise, expected group="cube" (--group cube)'
            )
        source = rounded.abs().argmax(dim=1).tolist()  # new axis i runs along old axis source[i]
        batch = list(range(x.ndim - 3))
        moved = x.permute(*batch, *[x.ndim - 3 + axis for axis in source])
        flipped = [x.ndim - 3 + axis for axis in range(3) if rounded[axis, source[axis]] < 0]
        return moved.flip(flipped) if flipped else moved
