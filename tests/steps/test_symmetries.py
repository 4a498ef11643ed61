"""One table of symmetries: each is seen where it is broken, and nowhere else."""

import pytest
import torch
from steps.stub_runs import Cloud, points, voxels

from equidyn.results.columns import SYMMETRIES
from equidyn.steps.symmetries import symmetry_rows

NAMES = ("rotation", "inversion", "translation", "permutation")


def exact(run):
    return {row["symmetry"]: row["exact"] == "yes" for row in symmetry_rows(run, "", 3)}


@pytest.mark.parametrize("broken", ["", *NAMES])
def test_a_broken_symmetry_is_seen_and_the_others_are_exact(broken):
    found = exact(points(Cloud(broken)))
    expected = dict.fromkeys(NAMES, True) | ({broken: False} if broken else {})
    if broken == "translation":  # distances from the origin know no rotation, inversion or order
        expected = dict.fromkeys(NAMES, True) | dict(translation=False)
    assert found == expected


def convolution(symmetric: bool, circular: bool):
    torch.manual_seed(0)
    made = torch.nn.Conv3d(2, 2, 3, padding=1, padding_mode="circular" if circular else "zeros")
    if symmetric:
        made.weight.data[:] = made.weight.data.mean((2, 3, 4), keepdim=True)
    return Grids(made)


class Grids(torch.nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, noisy):
        return self.inner(noisy)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("circular", [True, False])
def test_grids_turn_are_mirrored_and_move(symmetric, circular):
    found = exact(voxels(convolution(symmetric, circular)))
    assert found == dict(rotation=symmetric, inversion=symmetric, translation=circular)


def test_chains_are_turned_and_mirrored_alone():
    assert list(exact(points(Cloud(), name="flow"))) == ["rotation", "inversion"]


def test_inversion_is_exact_over_its_two_elements():
    row = symmetry_rows(points(Cloud("inversion")), "", 3)[1]
    batch = points(Cloud()).task.held_out(None)[0]
    model, mask = Cloud("inversion").double().eval(), batch.mask
    fields = {k: v.double() if v.is_floating_point() else v for k, v in batch.inputs.items()}
    plain = model(**fields)
    mirrored = -model(**fields | dict(positions=-fields["positions"]))
    spread = ((plain - mirrored) / 2)[mask].square().mean().item()
    assert row["equivariance"] == pytest.approx(spread, rel=1e-5) and row["n_transformations"] == 2


def test_rows_have_the_columns_of_the_table():
    for row in symmetry_rows(points(Cloud("rotation")), "", 3):
        assert set(row) == set(SYMMETRIES) and row["step"] == 3 and row["run"] == "stub"
        assert row["total"] == pytest.approx(row["twirled"] + row["equivariance"])
