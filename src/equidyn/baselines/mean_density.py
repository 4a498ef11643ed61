"""Task ``voxels``: the mean of the training grids, and the best stationary linear filter about it.

Both average over the 24 rotations of the cube, so that both are equivariant under them: ``MeanDensity`` says
where atoms of an element are found, ``WienerFilter`` in addition how smooth a density is. c channels, g
voxels per edge, even or odd.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from equidyn.errors import ArgumentError
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid

Grids = Iterable[torch.Tensor] | Callable[[], Iterable[torch.Tensor]]
AXES = (-3, -2, -1)
AT_ONCE = 8  # grids in Fourier space at once: a batch of the published ones would be 1 GB


@dataclass(frozen=True, eq=False)
class MeanDensity:
    """Whatever the noisy grid, the mean of the clean ones: ``mean`` float64 [c, g, g, g]."""

    mean: torch.Tensor

    @classmethod
    def fit(cls, clean: Grids) -> "MeanDensity":
        """Mean of the grids, in all 24 orientations.

        Parameters
        ----------
        clean : batches [b, c, g, g, g] of training grids, or a function that returns an iterator over them;
            one pass, one batch in memory

        Raises
        ------
        ArgumentError
            no grids, or grids that differ in shape or are not cubic
        """
        total, count = 0.0, 0
        for batch in _batches(clean):
            total, count = total + batch.sum(0, dtype=torch.float64), count + len(batch)
        total = total.cpu()
        turned = sum(Grid().apply(rotation, total) for rotation in groups.cube())
        return cls(turned / (count * groups.CUBE_ORDER))

    def predict(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Clean grids [b, c, g, g, g], in the dtype and on the device of ``noisy`` [b, c, g, g, g].

        Raises
        ------
        ArgumentError
            a noisy grid of another shape than those of the fit
        """
        noisy = inputs["noisy"]
        return _like(self.mean, noisy).expand_as(noisy).clone()


@dataclass(frozen=True, eq=False)
class WienerFilter:
    """mean + h * (noisy − mean) with h = S/(S + σ²) in Fourier space, channel by channel (Wiener 1949).

    S is the power spectrum of clean − mean. Of all filters that treat every voxel alike this one loses least
    on average, with the grid closed to a torus. Fields: ``mean`` float64 [c, g, g, g] and the ``gains`` h
    float64 [c, g, g, g // 2 + 1], of a transform over real grids.

    Grids turn about their centre, between voxels where g is even, and Fourier space about frequency zero:
    turning a grid turns its spectrum modulo g and multiplies it by phases, those of a shift by g − 1 voxels
    along every axis that is flipped. Filters commute with shifts, so h needs to be symmetric about frequency
    zero and no more, and the filter is exactly equivariant for even g and odd g alike.
    """

    mean: torch.Tensor
    gains: torch.Tensor

    @classmethod
    def fit(cls, clean: Grids, sigma: float, mean: MeanDensity) -> "WienerFilter":
        """Power spectrum of the grids about their mean, in all 24 orientations.

        Parameters
        ----------
        clean : as for ``MeanDensity.fit``
        sigma : standard deviation of the noise that is to be removed, in the unit of the grids
        mean : fitted to the same grids

        Raises
        ------
        ArgumentError
            as ``MeanDensity.fit``; also a mean of another shape, or a sigma that is not positive
        """
        if not sigma > 0:
            raise ArgumentError(f"WienerFilter: sigma = {sigma}, expected a positive number")
        power, count = 0.0, 0
        for batch in _batches(clean):
            for grids in batch.split(AT_ONCE):
                spectrum = torch.fft.fftn(grids - _like(mean.mean, grids), dim=AXES, norm="ortho")
                power = power + spectrum.abs().square().sum(0, dtype=torch.float64)
            count += len(batch)
        power = _over_rotations(power.cpu() / count)
        gains = power / (power + sigma**2)  # white noise has σ² at every frequency
        return cls(mean.mean, gains[..., : gains.shape[-1] // 2 + 1].contiguous())

    def predict(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Clean grids [b, c, g, g, g], in the dtype and on the device of ``noisy`` [b, c, g, g, g].

        Raises
        ------
        ArgumentError
            a noisy grid of another shape than those of the fit
        """
        noisy = inputs["noisy"]
        mean = _like(self.mean, noisy)
        spectrum = torch.fft.rfftn(noisy - mean, dim=AXES) * self.gains.to(noisy)
        return mean + torch.fft.irfftn(spectrum, s=noisy.shape[-3:], dim=AXES)


def _over_rotations(power: torch.Tensor) -> torch.Tensor:
    """Mean over the 24 rotations of frequencies k modulo g, of the spectrum [c, g, g, g] of real grids.

    It is the same at k and at −k, so that the mean over the 24 is that over all 48 permutations and flips.
    """
    for axis in AXES:
        power = (
            power + power.flip(axis).roll(1, axis)
        ) / 2  # k → −k along the axis: 0 stays, 1 to g − 1 swap
    return sum(power.permute(0, *axes) for axes in itertools.permutations((1, 2, 3))) / 6


def _batches(clean: Grids) -> Iterator[torch.Tensor]:
    """The batches, each checked to be of cubic grids like the first; ArgumentError where there is no grid."""
    shape = None
    for batch in clean() if callable(clean) else clean:
        if (
            batch.ndim != 5
            or len(set(batch.shape[-3:])) != 1
            or batch.shape[1:] != (shape or batch.shape[1:])
        ):
            raise ArgumentError(
                f"grids of shape {list(batch.shape)}, expected [b, c, g, g, g] with one c and g for all"
            )
        if len(batch):
            shape = batch.shape[1:]
            yield batch
    if shape is None:
        raise ArgumentError("no grids to fit to, expected at least one (was an iterator used before?)")


def _like(mean: torch.Tensor, grids: torch.Tensor) -> torch.Tensor:
    """The mean [c, g, g, g] in dtype and on device of grids [b, c, g, g, g]."""
    if grids.shape[1:] != mean.shape:
        raise ArgumentError(f"grids of shape {list(grids.shape)}, expected [b, *{list(mean.shape)}]")
    return mean.to(grids)
