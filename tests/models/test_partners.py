"""The equivariant partners: exact under their group, by float64; and not more than they claim to be."""

import pytest
import torch

from equidyn.geometry.neighbours import neighbour_list
from equidyn.models import cubenet, framed, registry
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Grid, Vector


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Away from special initial values."""
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.add_(0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return model.eval().double()


def molecules(n_items=3, n_atoms=9):
    g = torch.Generator().manual_seed(0)
    positions = 1.5 * torch.randn(n_items, n_atoms, 3, generator=g, dtype=torch.float64)
    mask = torch.arange(n_atoms) < torch.tensor([[9], [6], [2]])
    numbers = torch.randint(1, 9, (n_items, n_atoms), generator=g)
    return dict(numbers=numbers, positions=positions, mask=mask)


def chains(n_items=3, n=12):
    g = torch.Generator().manual_seed(1)
    mask = torch.arange(n) < torch.tensor([[12], [9], [5]])
    x_t, x_sc = (torch.randn(n_items, n, 3, generator=g, dtype=torch.float64) * mask[..., None] for _ in "ab")
    x_t = (x_t - x_t.sum(1, keepdim=True) / mask.sum(1)[:, None, None]) * mask[..., None]
    index = torch.arange(1, n + 1).expand(n_items, n)
    t, breaks = torch.tensor([0.1, 0.5, 0.95], dtype=torch.float64), torch.zeros(n_items, n)
    return dict(x_t=x_t, t=t, mask=mask, index=index, breaks=breaks.double(), x_sc=x_sc)


def test_painn_turns_with_the_molecule_and_its_mirror_image():
    model, x = shaken(registry.build("painn", "tiny", layers=2)), molecules()
    lists = neighbour_list(x["positions"], x["mask"], model.cutoff, model.n_neighbours)
    given = dict(zip(("neighbours", "neighbour_mask"), lists))
    energy, forces = model(**x, **given)
    for rotation in [groups.haar(3, 0), -groups.haar(3, 1)]:
        turned = {**x, "positions": Vector().apply(rotation, x["positions"])}
        other, vectors = model(**turned, **given)
        torch.testing.assert_close(other, energy, atol=1e-12, rtol=1e-10)
        torch.testing.assert_close(vectors, Vector().apply(rotation, forces), atol=1e-12, rtol=1e-10)
    assert forces[x["mask"]].abs().min() > 0 and (forces[~x["mask"]] == 0).all()


@pytest.mark.parametrize("architecture", ["egnn", "framed"])
def test_flow_partners_turn_with_the_chain(architecture):
    model, x = shaken(registry.build(architecture, "tiny")), chains()
    velocity, rotation = model(**x), groups.haar(3, 0)
    turned = {name: Vector().apply(rotation, v) if name in ("x_t", "x_sc") else v for name, v in x.items()}
    torch.testing.assert_close(model(**turned), Vector().apply(rotation, velocity), atol=1e-9, rtol=1e-8)
    assert velocity.abs().sum() > 0 and (velocity[~x["mask"]] == 0).all()
    mirrored = {name: -v if name in ("x_t", "x_sc") else v for name, v in x.items()}
    assert (model(**mirrored) + velocity).abs().max() > 1e-4  # a mirrored chain is another one


@pytest.mark.parametrize("architecture", ["egnn", "framed"])
def test_flow_partners_do_not_see_padding(architecture):
    model, x = shaken(registry.build(architecture, "tiny")), chains()
    whole, n = model(**x)[1, :9], 9
    alone = {name: v[1:2] if v.ndim == 1 else v[1:2, :n] for name, v in x.items()}
    torch.testing.assert_close(model(**alone)[0], whole, atol=1e-10, rtol=1e-8)


def test_frames_are_rotations_that_turn_with_the_chain():
    x = chains()
    frames = framed.principal_frames(x["x_t"], x["mask"])
    torch.testing.assert_close(torch.linalg.det(frames), torch.ones(4, 3, dtype=torch.float64))
    rotation = groups.haar(3, 5)
    turned = framed.principal_frames(Vector().apply(rotation, x["x_t"]), x["mask"])
    matched = rotation[None] @ frames  # the same set of four, in any order
    for item in range(3):
        distance = (turned[:, None, item] - matched[None, :, item]).abs().amax((-1, -2))
        assert (distance.amin(1) < 1e-9).all()


def test_framed_proteina_trains_in_one_frame_and_means_over_four():
    model, x = shaken(registry.build("framed", "tiny")), chains()
    mean = model(**x)
    model.train()
    torch.manual_seed(0)
    drawn = [model(**x) for _ in range(40)]
    assert len({tuple(v[0, 0].tolist()) for v in drawn}) == 4
    distinct = torch.stack([v for i, v in enumerate(drawn)]).mean(0)
    assert (distinct - mean).abs().max() < 0.5 * torch.stack(drawn).std(0).max()


@pytest.mark.parametrize("field", ["faces", "vertices", "edges", "rotations"])
def test_the_cube_net_turns_with_the_grid(field):
    model = shaken(registry.build("cubenet", "tiny", field=field, n_channels=2))
    x = torch.randn(1, 2, 8, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    prediction = model(x)
    for rotation in groups.cube()[[5, 11, 18, 23]]:
        turned = model(Grid().apply(rotation, x))
        torch.testing.assert_close(turned, Grid().apply(rotation, prediction), atol=1e-10, rtol=1e-8)
    flipped = model(x.flip(2))  # no rotation, and nothing that the network promises
    assert (flipped - prediction.flip(2)).abs().max() > 1e-6


@pytest.mark.parametrize(
    "field, n", [("grid", 1), ("faces", 6), ("vertices", 8), ("edges", 12), ("rotations", 24)]
)
def test_fields_are_permuted_as_a_group_acts(field, n):
    p, group = cubenet.permutations(field), groups.cube()
    assert p.shape == (24, n) and all(sorted(row) == list(range(n)) for row in p.tolist())
    for a, b in [(3, 7), (10, 20), (23, 1)]:
        product = next(i for i, g in enumerate(group) if (g == group[a] @ group[b]).all())
        assert (p[a][p[b]] == p[product]).all()


def test_orbits_are_as_many_as_burnside_counts():
    for fields in [("grid", "faces"), ("vertices", "vertices"), ("rotations", "edges")]:
        for kernel in (1, 2, 3):
            index = cubenet.orbits(*fields, kernel)
            line = torch.arange(kernel, dtype=torch.float64) - (kernel - 1) / 2
            places = cubenet._moved(torch.cartesian_prod(line, line, line))
            fixed = 1
            for p in (cubenet.permutations(fields[0]), cubenet.permutations(fields[1]), places):
                fixed = fixed * (p == torch.arange(p.shape[1])).sum(1)
            assert index.max() + 1 == fixed.sum() / 24


def test_an_unknown_field_says_what_there_is():
    with pytest.raises(ValueError, match="field 'corners', expected one of grid, faces, vertices"):
        registry.build("cubenet", "tiny", field="corners")


def test_the_cube_net_refuses_grids_that_its_levels_do_not_divide():
    model = registry.build("cubenet", "tiny")
    with pytest.raises(ValueError, match="multiples of 2"):
        model(torch.zeros(1, 8, 9, 9, 9))
