import pytest
import torch

from equidyn.analysis.force_head import closed_form
from equidyn.geometry.neighbours import bond_order, neighbour_list
from equidyn.models import escaip, rawdir, registry
from equidyn.symmetry import groups
from equidyn.symmetry.actions import Vector
from equidyn.symmetry.measure import measure


@pytest.mark.parametrize(
    "size, count, published",
    [("1M", 997_761, 0.998e6), ("4M", 4_374_404, 4.38e6), ("6M", 6_136_966, 6_137_222)],
)
def test_published_parameter_counts(size, count, published):
    """The authors' code at 6M, as it was run, has 256 more: two vectors of the hidden size."""
    with torch.device("meta"):
        n = sum(p.numel() for p in registry.build("escaip", size).parameters())
    assert n == count and n == pytest.approx(published, rel=2e-3)
    if size == "6M":
        assert published - n == 2 * 128


def randomised(architecture, **options):
    model = registry.build(architecture, "tiny", 0, **options).eval()
    with torch.no_grad():  # away from the special initial values
        for i, p in enumerate(model.parameters()):
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return model


@pytest.mark.parametrize("bf16, limit", [(False, 1e-10), (True, 3e-4)])
def test_training_in_bf16_shows_the_backbone_next_to_no_poses(bf16, limit):
    """Cosines between directions in bfloat16 change with the pose: then it is seven times as much."""
    model = randomised("escaip").equivariant_control().eval()
    numbers, positions = (
        torch.tensor([[6, 1, 1, 1, 8, 1, 7, 1]]),
        torch.randn(1, 8, 3, generator=torch.Generator().manual_seed(2)),
    )
    mask = torch.ones(1, 8, dtype=torch.bool)
    near = neighbour_list(positions, mask, model.cutoff, model.n_neighbours)
    frozen = dict(numbers=numbers, mask=mask, neighbours=near[0], neighbour_mask=near[1])
    forces = []
    for rotation in groups.haar(6, 0).float():
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            turned = model(positions=positions @ rotation.T, **frozen)[1]
        forces.append(turned.double() @ rotation.double())
    forces = torch.stack(forces)
    assert forces.var(0).sum() < limit * forces.square().mean(0).sum()


def test_unknown_names_list_the_known():
    with pytest.raises(KeyError, match="escaip"):
        registry.build("nope", "mini")
    with pytest.raises(KeyError, match="mini"):
        registry.build("escaip", "7B")


@pytest.mark.parametrize("order", [24, 60])
def test_finite_groups_give_the_exact_decomposition_of_the_linear_head(task, order):
    model = randomised("escaip").double()
    group = groups.cube() if order == 24 else groups.icosahedron()
    batches = task.held_out(model)
    for batch in batches:
        batch.inputs["positions"] = batch.inputs["positions"].double()
    n = sum(len(b) for b in batches)
    measured = measure(
        model, task.predict, batches, task.actions, task.output, group[:, None].expand(-1, n, -1, -1), order
    )
    exact = (
        torch.cat([closed_form(model, b.inputs)[1][b.mask] for b in batches]).detach()
        / 3
        * task.force_scale**2
    )
    assert measured.equivariance == pytest.approx(exact.mean().item(), rel=1e-9)
    sampled = measure(
        model, task.predict, batches, task.actions, task.output, groups.haar_per_item(200, n, 0)
    )
    assert sampled.equivariance == pytest.approx(exact.mean().item(), rel=0.1)


@pytest.mark.parametrize(
    "architecture, options", [("escaip", dict(tied=True)), ("escaip", {}), ("rawdir", {})]
)
def test_controls_measure_within_the_floor_of_float32(task, architecture, options):
    model = randomised(architecture, **options)
    control = model if options else model.equivariant_control()
    batches = task.held_out(control)
    n = sum(len(b) for b in batches)
    d = measure(control, task.predict, batches, task.actions, task.output, groups.haar_per_item(5, n, 0))
    assert 0 < d.relative_equivariance < 1e-10
    if not options:
        broken = measure(
            model, task.predict, batches, task.actions, task.output, groups.haar_per_item(5, n, 0)
        )
        assert broken.relative_equivariance > 1e-4


def test_rows_of_the_force_head_begin_as_far_apart_as_asked(task):
    plain, equal, near = (
        registry.build("escaip", "tiny", **o) for o in ({}, {"row_spread": 0.0}, {"row_spread": 0.1})
    )
    differences = [(m.force.weight[1:] - m.force.weight[:1]).detach() for m in (plain, equal, near)]
    assert differences[0].norm() > 0 and torch.equal(differences[1], torch.zeros_like(differences[1]))
    assert torch.allclose(differences[2], 0.1 * differences[0], atol=1e-7)
    others = [{k: v for k, v in m.state_dict().items() if k != "force.weight"} for m in (plain, equal)]
    assert all(torch.equal(others[0][k], others[1][k]) for k in others[0])
    batches = task.held_out(plain)
    n = sum(len(b) for b in batches)
    how = batches, task.actions, task.output, groups.haar_per_item(5, n, 0)
    found = [measure(m.eval(), task.predict, *how).relative_equivariance for m in (plain, equal)]
    assert found[1] < 1e-10 < 1e-3 < found[0]


@pytest.mark.parametrize("architecture", ["escaip", "rawdir"])
def test_translation_permutation_and_padding(task, architecture):
    model = randomised(architecture).double()
    batch = task.held_out(model)[-1]
    x = {**batch.inputs, "positions": batch.inputs["positions"].double()}
    energy, forces = model(**x)
    moved = {**x, "positions": x["positions"] + torch.tensor([1.0, -2.0, 3.0])}
    assert torch.allclose(model(**moved)[1], forces, atol=1e-9)
    n = int(x["mask"][0].sum())
    one = dict(numbers=x["numbers"][:1, :n], positions=x["positions"][:1, :n], mask=x["mask"][:1, :n])
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    one = {k: v[:, order] for k, v in one.items()}
    index, valid = neighbour_list(one["positions"], one["mask"], model.cutoff, model.n_neighbours)
    energy_one, forces_one = model(**one, neighbours=index, neighbour_mask=valid)
    assert torch.allclose(
        forces_one[0], forces[0, :n][order], atol=1e-9
    )  # alone and permuted = in a padded batch
    assert torch.allclose(energy_one[0], energy[0], atol=1e-9)
    assert (forces[~x["mask"]] == 0).all()


def test_bond_order_against_spherical_harmonics():
    from scipy.special import sph_harm_y

    v = Vector().apply(groups.haar(7, 0), torch.tensor([[1.0, 0, 0]] * 7, dtype=torch.float64))
    got = bond_order((v @ v.T)[None], torch.ones(1, 7, dtype=torch.bool), 9)[0]
    theta, phi = torch.acos(v[:, 2]).numpy(), torch.atan2(v[:, 1], v[:, 0]).numpy()
    for degree in range(10):
        power = sum(abs(sph_harm_y(degree, m, theta, phi).mean()) ** 2 for m in range(-degree, degree + 1))
        assert got[degree].item() == pytest.approx(power**0.5, abs=1e-12)


def test_a_map_of_joined_features_is_that_of_their_concatenation():
    g = torch.Generator().manual_seed(0)
    source, target, edge = (torch.randn(*shape, generator=g) for shape in ((6, 3), (6, 2), (6, 4, 5)))
    neighbours = torch.randint(0, 6, (6, 4), generator=g)
    linear = torch.nn.Linear(10, 8)
    spread = target[:, None].expand(-1, 4, -1)
    whole = linear(torch.cat([edge, source[neighbours], spread], -1))
    found = escaip.joined(linear.weight, linear.bias, edge, source, target, neighbours)
    torch.testing.assert_close(found, whole)


def test_the_message_of_a_block_is_that_of_its_two_maps_in_succession():
    """As the architecture has it: the ends mapped together, then the message of attributes and ends."""
    model = randomised("escaip").double()
    block, seen = model.blocks[0], {}
    block.attention.register_forward_pre_hook(lambda _, given: seen.update(message=given[0], g=given[1]))
    block.register_forward_pre_hook(lambda _, given: seen.update(node=given[0]))
    g = torch.Generator().manual_seed(1)
    positions = 2 * torch.randn(1, 9, 3, generator=g, dtype=torch.float64)
    mask = torch.ones(1, 9, dtype=torch.bool)
    index, valid = neighbour_list(positions, mask, model.cutoff, model.n_neighbours)
    numbers = torch.randint(1, 9, (1, 9), generator=g)
    model(numbers, positions, mask, neighbours=index, neighbour_mask=valid)
    h, attributes = block.norm_node(seen["node"]), block.attributes(seen["g"])  # (n, H), (n, m, H)
    source, target = h[seen["g"]["neighbours"]], h[:, None].expand_as(attributes)
    ends = block.ends(torch.cat([source, target], -1))
    whole = block.message(torch.cat([attributes, ends], -1))
    torch.testing.assert_close(seen["message"], whole, rtol=1e-10, atol=1e-12)


def test_attention_over_neighbours_is_that_of_their_keys_and_values():
    """Written out: keys and values made for every neighbour, and the softmax of queries with keys."""
    torch.manual_seed(0)
    layer = rawdir.Layer(hidden=8, heads=2).double()
    node, edge = torch.randn(6, 8, dtype=torch.float64), torch.randn(6, 4, 8, dtype=torch.float64)
    neighbours, valid = torch.randint(0, 6, (6, 4)), torch.rand(6, 4) < 0.7
    valid[0] = False
    h = layer.norm(node)
    key, value = (layer.key_value(h)[neighbours] + layer.edge(edge)).unflatten(-1, (2, 2, 4)).unbind(2)
    logits = torch.einsum("nhc,nmhc->nhm", layer.query(h).unflatten(-1, (2, 4)), key) / 2
    weights = logits.masked_fill(~valid[:, None], -torch.inf).softmax(-1).nan_to_num()
    after = node + layer.out(torch.einsum("nhm,nmhc->nhc", weights, value).flatten(1))
    whole = after + layer.ffn(layer.norm2(after))
    torch.testing.assert_close(layer(node, edge, neighbours, valid), whole, rtol=1e-10, atol=1e-12)
