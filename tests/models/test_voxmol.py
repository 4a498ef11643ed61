import pytest
import torch
from voxel_tools import Symmetrized

from equidyn.models import registry
from equidyn.models.voxmol import SIZES, VoxMol
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid


@pytest.mark.parametrize("size, published", [("7M", 6.98), ("28M", 27.90), ("111M", 111.52)])
def test_counts_are_the_published_ones(size, published):
    """Less the norms in front of attention that upstream declares but never applies: 1,632, 3,264 and 6,528
    parameters.
    """
    with torch.device("meta"):
        model = VoxMol(**SIZES[size])
    unused = 2 * sum(
        module.out.in_features for module in model.modules() if type(module).__name__ == "Attention"
    )
    count = sum(p.numel() for p in model.parameters())
    assert round((count + unused) / 1e6, 2) == published
    assert all(
        len(layer.weight) % layer.num_groups == 0
        for layer in model.modules()
        if isinstance(layer, torch.nn.GroupNorm)
    )


def equivariance_error(model, x):
    twisted = torch.stack([Grid().inverse(r, model(Grid().apply(r, x)).double()) for r in groups.cube()])
    return ((twisted - twisted.mean(0)).square().mean() / twisted.square().mean()).item()


@torch.no_grad()
def test_the_network_is_not_equivariant_and_its_control_and_symmetrization_are():
    model, x = (
        registry.build("voxmol", "tiny").eval(),
        torch.randn(2, 8, 8, 8, 8, generator=torch.Generator().manual_seed(0)),
    )
    assert model(x).shape == x.shape
    assert equivariance_error(model, x) > 1e-3
    assert equivariance_error(model.equivariant_control(), x) < 1e-12
    assert equivariance_error(Symmetrized(model), x) < 1e-12


def test_wrong_grids_are_named():
    model = registry.build("voxmol", "tiny")
    with pytest.raises(ValueError, match="8 channels"):
        model(torch.zeros(1, 5, 8, 8, 8))
    with pytest.raises(ValueError, match="multiples of 2"):
        model(torch.zeros(1, 8, 7, 7, 7))
