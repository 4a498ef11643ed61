"""Layers made anew for CPUs are torch's: values, gradients, gradients of gradients."""

import copy
import warnings

import pytest
import torch
import torch.nn.functional as F

from benchmarks import folding
from equidyn.models import layers, registry

LAST = torch.channels_last_3d


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator).requires_grad_()


def grids(*shape: int) -> torch.Tensor:
    return drawn(*shape).detach().to(memory_format=LAST).requires_grad_()


def with_weights(layer: torch.nn.Module) -> torch.nn.Module:
    for k, parameter in enumerate(layer.parameters()):
        parameter.data = drawn(*parameter.shape, seed=k + 1).detach()
    return layer


def rms_norm():
    norm = with_weights(layers.RMSNorm(6))
    return norm, torch.nn.RMSNorm.forward, (drawn(3, 4, 6), norm.weight)


def layer_norm():
    norm = with_weights(layers.LayerNorm(6))
    return norm, torch.nn.LayerNorm.forward, (drawn(3, 4, 6), norm.weight, norm.bias)


def plain_layer_norm():
    norm = layers.LayerNorm(6, elementwise_affine=False)
    return norm, torch.nn.LayerNorm.forward, (drawn(3, 4, 6),)


def group_norm(groups, monkeypatch):
    monkeypatch.setattr(layers, "LARGE", 0)
    norm = with_weights(layers.GroupNorm(groups, 6))
    return norm, torch.nn.GroupNorm.forward, (grids(2, 6, 3, 3, 4), norm.weight, norm.bias)


def pointwise():
    convolution = with_weights(layers.Pointwise(3, 5)).to(memory_format=LAST)
    return convolution, torch.nn.Conv3d.forward, (grids(2, 3, 4, 4, 4), convolution.weight, convolution.bias)


@pytest.fixture(
    params=["rms_norm", "layer_norm", "plain_layer_norm", "instance_norm", "group_norm", "pointwise"]
)
def layer(request, monkeypatch):
    groups = dict(instance_norm=6, group_norm=2)
    if request.param in groups:
        return group_norm(groups[request.param], monkeypatch)
    return globals()[request.param]()


def agree(ours, theirs, inputs):
    """Values, gradients, and products of second derivatives with a vector."""
    found, wanted = ours(inputs[0]), theirs(inputs[0])
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)
    direction = drawn(*wanted.shape, seed=9)
    first = [torch.autograd.grad(y, inputs, direction, retain_graph=True) for y in (found, wanted)]
    second = []
    for y in (found, wanted):
        gradients = torch.autograd.grad(y, inputs, direction, create_graph=True)
        total = sum((g * g).sum() for g in gradients)
        second.append(torch.autograd.grad(total, (*inputs, direction), materialize_grads=True))
    for got, want in (*zip(*first), *zip(*second)):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_a_layer_is_torchs(layer):
    module, plain, inputs = layer
    assert type(module).__mro__[1].forward is plain  # what it is compared with is another function
    agree(module, lambda x: plain(module, x), inputs)


def test_a_layer_is_torchs_where_its_input_has_no_gradient(layer):
    module, plain, inputs = layer
    x = inputs[0].detach()
    parameters = list(module.parameters())
    found, wanted = (
        torch.autograd.grad(f(x).square().sum(), parameters, create_graph=True) if parameters else f(x)
        for f in (module, lambda x: plain(module, x))
    )
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)


def test_ours_is_used_on_a_cpu_and_nowhere_else(layer, monkeypatch):
    """Autocast, compiling and other devices get torch's own layers."""
    module, plain, inputs = layer
    calls = []
    monkeypatch.setattr(type(module).__mro__[1], "forward", lambda self, x: calls.append(1) or plain(self, x))
    module(inputs[0])
    assert not calls
    with torch.autocast("cpu", torch.bfloat16):
        module(inputs[0])
    copy.deepcopy(module).to("meta")(inputs[0].to("meta"))
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    module(inputs[0])
    assert len(calls) == 3


def test_other_settings_of_torchs_layers_are_torchs():
    x, few = torch.randn(2, 3, 4), torch.randn(2, 4, 12, 12, 12).to(memory_format=LAST)
    for ours, theirs, options in (
        (layers.RMSNorm, torch.nn.RMSNorm, dict(normalized_shape=4, elementwise_affine=False)),
        (layers.RMSNorm, torch.nn.RMSNorm, dict(normalized_shape=(3, 4))),
        (layers.LayerNorm, torch.nn.LayerNorm, dict(normalized_shape=4, bias=False)),
        (layers.LayerNorm, torch.nn.LayerNorm, dict(normalized_shape=(3, 4))),
    ):
        torch.testing.assert_close(ours(**options)(x), theirs(**options)(x))
    plain = dict(num_groups=2, num_channels=4, affine=False)
    assert torch.equal(layers.GroupNorm(**plain)(few), torch.nn.GroupNorm(**plain)(few))


def test_no_rows_are_no_rows():
    table = torch.randn(7, 3, requires_grad=True)
    assert layers.sum_of_rows(table, torch.zeros(0, 5, 2, dtype=torch.long)).shape == (0, 5, 3)
    qkv, bias = torch.zeros(0, 7, 24, requires_grad=True), torch.zeros(0, 7, 7)
    found = layers.few_keys_attention(qkv, bias, 2)
    found.sum().backward()
    assert found.shape == (0, 7, 8) and qkv.grad.shape == qkv.shape


def test_rms_norm_is_the_same_function_in_every_dtype(monkeypatch):
    """Of small values, where eps counts, and whoever computes it."""
    x = 1e-3 * torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    norm = layers.RMSNorm(8)
    for _ in range(2):
        single, double = norm(x).double(), norm.double()(x.double())
        torch.testing.assert_close(single, double, rtol=1e-5, atol=0)
        half = norm.bfloat16()(x.bfloat16()).double()
        torch.testing.assert_close(half, double, rtol=3e-2, atol=0)
        norm.float()
        monkeypatch.setattr(layers, "_ours", lambda x: False)


def test_wide_rows_and_few_voxels_are_torchs_own():
    norm, rows = layers.LayerNorm(layers.NARROW + 1), torch.randn(3, layers.NARROW + 1)
    assert torch.equal(norm(rows), F.layer_norm(rows, norm.normalized_shape, norm.weight, norm.bias))
    few = torch.randn(2, 4, 8, 8, 8).to(memory_format=LAST).requires_grad_()
    assert layers.GroupNorm(2, 4)(few).grad_fn.name() == "NativeGroupNormBackward0"


def test_normalising_does_not_cancel_far_from_zero():
    x = 1e3 + torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
    exact = F.layer_norm(x.double(), (16,))
    error = (layers.normalised(x) - exact).abs().max()
    assert error < 1e-3 < 1e-1 < exact.abs().max()


def test_a_sum_of_rows_is_that_of_embeddings():
    table, places = drawn(7, 3), torch.randint(0, 7, (4, 5, 2), generator=torch.Generator().manual_seed(0))
    agree(lambda t: layers.sum_of_rows(t, places), lambda t: F.embedding(places, t).sum(-2), (table,))


def test_attention_with_a_bias_is_torchs():
    q, k, v = (drawn(2, 3, 5, 4, seed=s) for s in range(3))
    bias = drawn(2, 3, 5, 5, seed=3).detach()
    bias[1, :, :, 2:] = -1e9
    bias.requires_grad_()

    def ours(q):
        return layers.attention(q, k, v, bias)

    agree(ours, lambda q: F.scaled_dot_product_attention(q, k, v, attn_mask=bias), (q, k, v, bias))
    fixed = layers.attention(q, k, v, bias.detach())
    torch.testing.assert_close(fixed, ours(q), rtol=1e-10, atol=1e-12)


def test_attention_among_few_keys_is_torchs():
    """With masked keys, and a set that has none at all."""
    qkv, bias = drawn(5, 7, 24), drawn(5, 7, 7, seed=1).detach()
    bias[1, :, 3:] = -1e9
    bias[2] = -1e9
    bias.requires_grad_()

    def torchs(qkv):
        q, k, v = qkv.view(5, 7, 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[:, None])
        return y.transpose(1, 2).flatten(2)

    agree(lambda x: layers.few_keys_attention(x, bias, 2), torchs, (qkv, bias))
    composed = layers._few_keys(qkv, bias, 2)  # what other devices run
    torch.testing.assert_close(composed, torchs(qkv), rtol=1e-10, atol=1e-12)


def test_a_norm_keeps_the_dtype_of_its_input_under_autocast():
    """Weights are float32: of two dtypes torch would return float32, and have no fused kernel."""
    norm, x = layers.RMSNorm(8), torch.randn(3, 8).to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        found = norm(x)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), norm(x.float()), rtol=2**-7)


def assert_the_same_function(ours, torchs, *inputs):
    expected, found = torchs(*inputs), ours(*inputs)
    assert torch.allclose(found, expected, atol=1e-12)
    along = drawn(*expected.shape, seed=3)
    for one, other in zip(*(torch.autograd.grad(y, inputs, along) for y in (found, expected))):
        assert torch.allclose(one, other, atol=1e-12)
    return found


@pytest.mark.parametrize("widths", [(3, 2), (2, 3), (1, 1)])
@pytest.mark.parametrize(
    "fold, stride", [(1, 1), (2, 1), (3, 1), (6, 1), (12, 1), (1, 2), (2, 2), (3, 2), (6, 2)]
)
def test_rows_of_voxels_as_channels_are_the_same_convolution(widths, fold, stride):
    inputs, outputs = widths
    found = assert_the_same_function(
        lambda *x: layers.folded(*x, fold, stride),
        lambda *x: F.conv3d(*x, stride=stride, padding=1),
        grids(2, inputs, 4, 3, 12),
        drawn(outputs, inputs, 3, 3, 3, seed=1),
        drawn(outputs, seed=2),
    )
    assert fold == 1 or fold * stride == 12 or found.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize("fold", [1, 2, 3, 12])
def test_a_product_of_rows_is_the_same_pointwise_convolution(fold):
    assert_the_same_function(
        lambda *x: layers.folded_linear(*x, fold),
        F.conv3d,
        grids(2, 3, 4, 3, 12),
        drawn(2, 3, 1, 1, 1, seed=1),
        drawn(2, seed=2),
    )


def test_eight_voxels_as_channels_are_the_same_transposed_convolution():
    found = assert_the_same_function(
        layers.doubled,
        lambda *x: F.conv_transpose3d(*x, stride=2, padding=1),
        grids(2, 3, 4, 3, 5),
        drawn(3, 2, 4, 4, 4, seed=1),
        drawn(2, seed=2),
    )
    assert found.is_contiguous(memory_format=LAST)


class OnDevice:
    """What is asked of a grid before its convolution is chosen."""

    def __init__(self, is_cuda=True, dtype=torch.bfloat16, row=64):
        self.is_cuda, self.dtype, self.shape = is_cuda, dtype, (2, 8, row, row, row)


def test_few_channels_of_long_rows_are_folded_and_others_are_not():
    def folds(layer, *rows):
        layer = layer.to(memory_format=LAST)
        return [layers._fold_of(layer, OnDevice(row=row)) for row in rows]

    few = layers.WIDE // 8
    assert folds(layers.Convolution(8, 8), 64, 32, 36, 33, 16) == [few, few, 4, 1, 1]
    assert folds(layers.Convolution(8, 8, stride=2), 64, 72, 32, 65) == [few, 4, 1, 1]
    assert folds(layers.Pointwise(layers.FEW, 8), 64, 16) == [few, 1]
    widths = (layers.FEW, layers.FEW), (8, layers.FEW), (layers.FEW + 1, 8), (1, layers.FEW), (1, 1)
    found = [folds(layers.Convolution(*both), 64) for both in widths]
    assert found == [[layers.WIDE // layers.FEW], [few], [1], [2 * layers.WIDE // layers.FEW], [layers.WIDE]]
    contiguous = layers.Convolution(8, 8).to(memory_format=torch.contiguous_format)
    assert layers._fold_of(contiguous, OnDevice()) == 1


@pytest.fixture
def ours(monkeypatch):
    """Which convolutions of our own ran, as if this machine were a GPU, in rows of four and more."""
    names = []

    def noted(name, original):
        def call(*args):
            names.append(name)
            return original(*args)

        return call

    for name in ("folded", "folded_linear", "doubled"):
        monkeypatch.setattr(layers, name, noted(name, getattr(layers, name)))
    monkeypatch.setattr(layers, "LONG", 4)
    monkeypatch.setattr(layers, "_ours", lambda x: False)
    monkeypatch.setattr(layers, "_in_bf16_on_a_gpu", lambda x: True)
    return names


def results_of(network, x):
    y = network(x)
    y.square().mean().backward()
    gradients = [p.grad.clone() for p in network.parameters()]
    network.zero_grad()
    return [y.detach(), *gradients]


def test_a_network_whose_convolutions_are_folded_is_the_same(ours, monkeypatch):
    network, x = registry.build("voxmol", "tiny").eval(), torch.randn(2, 8, 8, 8, 8)
    found = results_of(network, x)
    assert set(ours) == {"folded", "folded_linear", "doubled"}
    for same in ("weights that are contiguous", "no folds"):
        ours.clear()
        if same == "no folds":
            monkeypatch.setattr(layers.Convolution, "folds", False)
        else:
            network.to(memory_format=torch.contiguous_format)
        expected = results_of(network, x)
        assert not ours
        for one, other in zip(found, expected, strict=True):
            assert torch.allclose(one, other, atol=1e-5)
        network.to(memory_format=LAST)


@pytest.mark.parametrize("channels, expected", [(layers.FEW, ["doubled"]), (layers.FEW + 1, [])])
def test_few_channels_are_doubled_and_others_are_not(channels, expected, ours):
    layer = layers.Doubling(channels).to(memory_format=LAST)
    assert layer(torch.randn(1, channels, 2, 2, 2)).shape == (1, channels, 4, 4, 4)
    assert ours == expected


@pytest.mark.parametrize("on_a_gpu", [False, True])
def test_no_grids_are_no_grids(on_a_gpu, request):
    if on_a_gpu:
        request.getfixturevalue("ours")
    empty = torch.zeros(0, 8, 8, 8, 8)
    assert registry.build("voxmol", "tiny")(empty).shape == empty.shape


def test_only_bfloat16_on_a_gpu_is_folded():
    low, full = torch.bfloat16, torch.float32
    asked = [OnDevice(*both) for both in ((True, low), (True, full), (False, low))]
    assert [layers._in_bf16_on_a_gpu(x) for x in asked] == [True, False, False]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an autocast for a device that is not there
        for dtype in (low, torch.float16):
            torch.set_autocast_dtype("cuda", dtype)
            torch.set_autocast_enabled("cuda", True)
            try:
                assert layers._in_bf16_on_a_gpu(OnDevice(True, full)) == (dtype == low)
            finally:
                torch.set_autocast_enabled("cuda", False)
                torch.set_autocast_dtype("cuda", torch.float16)


def test_a_benchmark_times_all_convolutions_of_a_network_in_ways_that_agree():
    found = folding.shapes("tiny", 8)
    convolutions = torch.nn.Conv3d, torch.nn.ConvTranspose3d
    network = registry.build("voxmol", "tiny")
    assert sum(found.values()) == sum(isinstance(m, convolutions) for m in network.modules())
    for *how, grid in found:
        layer = with_weights(folding.made(*how).double())
        x = grids(2, layer.in_channels, grid, grid, grid)
        named = folding.ways(layer, grid)
        assert len(named) > 1
        for way in named.values():
            assert torch.allclose(way(x, layer.weight, layer.bias), layer(x), atol=1e-10)
