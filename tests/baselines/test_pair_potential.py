from types import SimpleNamespace

import pytest
import torch

from equidyn.baselines.evaluate import sums_of_losses
from equidyn.baselines.pair_potential import PairPotential, radial_basis
from equidyn.errors import ArgumentError
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Fixed, Scalar, Vector
from equidyn.symmetry.measure import Batch, measure

CUTOFF, N_BASIS = 4.0, 5
ACTIONS = dict(numbers=Scalar(), positions=Vector(), mask=Fixed())


def molecules(n, seed, elements=(1, 6, 8)):
    """n molecules of 4 to 9 atoms in a box of 4 Å, padded; float64."""
    g = torch.Generator().manual_seed(seed)
    mask = torch.arange(9) < torch.randint(4, 10, (n, 1), generator=g)
    kind = torch.randint(0, len(elements), (n, 9), generator=g)
    numbers = torch.where(mask, torch.tensor(elements)[kind], 0).to(torch.uint8)
    positions = 4 * torch.rand(n, 9, 3, generator=g, dtype=torch.float64) * mask[..., None]
    return dict(numbers=numbers, positions=positions, mask=mask)


@pytest.fixture
def planted():
    c = torch.randn(3, 3, N_BASIS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return PairPotential(torch.tensor([1, 6, 8]), c + c.transpose(0, 1), CUTOFF)


def fit(potential, parts, ridge=1e-10):
    """Fitted to forces of the potential; what stands on padding does not matter."""

    def labelled():
        for x in parts:
            forces, padding = potential.predict(x), ~x["mask"]
            forces[padding] = torch.nan
            positions = x["positions"].masked_fill(padding[..., None], torch.nan)
            filler = torch.tensor([6, 9] * 5)[:9]  # an element of the fit, and one that is none
            yield dict(x, numbers=torch.where(padding, filler, x["numbers"]), positions=positions), forces

    return PairPotential.fit(labelled(), N_BASIS, CUTOFF, ridge)


def test_force_is_that_of_the_formula(planted):
    inputs = molecules(1, 1)
    n = int(inputs["mask"].sum())
    x, z = inputs["positions"][0, :n], inputs["numbers"][0, :n].tolist()
    expected = torch.zeros(9, 3, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            r = (x[i] - x[j]).norm()
            if i != j and r < CUTOFF:
                c = planted.coefficients[[1, 6, 8].index(z[i]), [1, 6, 8].index(z[j])]
                expected[i] += (c * radial_basis(r, N_BASIS, CUTOFF)).sum() * (x[i] - x[j]) / r
    assert torch.allclose(planted.predict(inputs)[0], expected, atol=1e-13) and expected.abs().max() > 0.1


def test_planted_potential_is_found(planted):
    found = fit(planted, [molecules(60, seed) for seed in (1, 2, 3)])
    assert found.elements.tolist() == [1, 6, 8]
    assert torch.allclose(found.coefficients, planted.coefficients, atol=1e-6)
    new = molecules(20, 4)
    assert torch.allclose(found.predict(new), planted.predict(new), atol=1e-6)
    parts = [{name: x[k : k + 30] for name, x in molecules(60, 1).items()} for k in (0, 30)]
    one, two = fit(planted, [molecules(60, 1)], 0.1), fit(planted, parts, 0.1)
    assert torch.allclose(one.coefficients, two.coefficients, atol=1e-10)  # whatever the batches


def test_elements_that_come_late_or_never_meet(planted):
    """The first batch knows one element; no molecule has both 1 and 8."""
    parts = [molecules(40, 1, (6,)), molecules(60, 2, (6, 8)), molecules(60, 3, (1, 6))]
    found = fit(planted, parts)
    assert found.elements.tolist() == [1, 6, 8] and (found.coefficients[0, 2] == 0).all()
    rest = [(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)]
    assert all(torch.allclose(found.coefficients[p], planted.coefficients[p], atol=1e-6) for p in rest)


def test_equivariance_error_is_rounding(planted):
    batches = []
    for seed in (5, 6):
        inputs = molecules(6, seed)
        target = torch.randn(6, 9, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        batches.append(Batch(inputs, target, inputs["mask"], torch.arange(6)))
    found = measure(
        torch.nn.Identity().eval(),
        lambda _, inputs: planted.predict(inputs),
        batches,
        ACTIONS,
        Vector(),
        groups.haar_per_item(5, 12, 0),
    )
    assert found.equivariance < 1e-26 * found.total and found.total > 0.1


def test_forces_of_a_molecule_have_no_sum_and_no_torque(planted):
    inputs = molecules(10, 7)
    forces = planted.predict(inputs)
    assert forces.sum(1).abs().max() < 1e-12 and (forces[~inputs["mask"]] == 0).all()
    assert torch.linalg.cross(inputs["positions"], forces).sum(1).abs().max() < 1e-12
    moved = {**inputs, "positions": inputs["positions"] + 3}  # with the padding
    assert torch.allclose(planted.predict(moved), forces, atol=1e-11)
    single = planted.predict({**inputs, "positions": inputs["positions"].float()})
    assert single.dtype == torch.float32 and torch.allclose(single.double(), forces, atol=1e-4)


def test_unknown_elements_and_far_or_coincident_atoms_have_no_force(planted):
    inputs = molecules(10, 8)
    unknown = inputs["mask"].clone()
    unknown[:, 1:] = False
    strange = {**inputs, "numbers": torch.where(unknown, 9, inputs["numbers"])}
    without = {**inputs, "mask": inputs["mask"] & ~unknown}
    forces = planted.predict(strange)
    assert (forces[:, 0] == 0).all() and torch.allclose(forces, planted.predict(without), atol=1e-13)
    apart = torch.tensor([[[0.0, 0, 0], [CUTOFF, 0, 0]], [[1.0, 2, 3], [1, 2, 3]]], dtype=torch.float64)
    pair = dict(numbers=torch.tensor([[1, 6]] * 2), positions=apart, mask=torch.ones(2, 2, dtype=torch.bool))
    assert (planted.predict(pair) == 0).all()
    assert (planted.predict({**pair, "mask": torch.zeros(2, 2, dtype=torch.bool)}) == 0).all()


def test_basis_ends_at_the_cutoff_and_is_dense_at_bonds():
    """Gaussians are 1 at their centres, whose ratios are all alike, but for the cutoff function."""
    centres = 0.7 * (CUTOFF / 0.7) ** (torch.arange(20, dtype=torch.float64) / 19)
    smooth = 0.5 * (1 + torch.cos(torch.pi * centres / CUTOFF))
    basis = radial_basis(centres, 20, CUTOFF)
    assert torch.allclose(basis.diagonal(), smooth, atol=1e-14)
    neighbours = torch.exp(torch.tensor(-0.5, dtype=torch.float64)) * smooth[1:]  # one width away
    assert torch.allclose(basis[1:, :-1].diagonal(), neighbours, atol=1e-14)


def test_potential_of_the_forces_task_is_better_than_no_forces(task):
    model = SimpleNamespace(cutoff=5.0, n_neighbours=4)  # neighbours are ignored

    def training():
        for items in task.train.split(16):
            inputs = dict(numbers=task.numbers[items], positions=task.positions[items], mask=task.mask[items])
            yield inputs, task.forces[items]

    batches = task.held_out(model)
    zero = sum(batch.target.double().square().sum().item() for batch in batches)
    losses = sums_of_losses(PairPotential.fit(training()), batches)
    assert len(losses) == sum(map(len, batches)) and losses.sum().item() < 0.8 * zero


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(n_basis=1), "n_basis = 1"),
        (dict(cutoff=0.7), "more than 0.7 Å"),
        (dict(ridge=0.0), "ridge = 0.0; expected"),
        (dict(batches=[]), "no atoms to fit to, expected"),
        (dict(batches=[(molecules(2, 0), torch.zeros(2, 8, 3))]), r"forces \[2, 8, 3\], expected"),
    ],
)
def test_errors_say_what_was_found_and_expected(change, message):
    inputs = molecules(2, 0)
    with pytest.raises(ArgumentError, match=message):
        PairPotential.fit(**{"batches": [(inputs, inputs["positions"])], **change})
