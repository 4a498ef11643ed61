"""Layers whose plain versions are slow in torch: the same functions and the same parameters, by cheaper
operations. Most are for CPUs; on other devices, under autocast and where a model is compiled they are torch's
own. Convolutions (``Convolution``, ``Doubling``, ``Pointwise``) have ways of their own for bf16 on a GPU.

Shapes: b items, c channels, d³ voxels. Gradients of gradients are those of torch's versions; ``torch.func``
has no rules for these functions.
"""

import itertools
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

ROW = 64  # values that share a row where channels are few: shorter rows cost more than their arithmetic
NARROW = 32  # values that LayerNorm normalises together, up to which torch's takes twice as long or more
LARGE = 1024  # voxels, up to which torch's backward pass of GroupNorm is the fast one of its two
FEW = 16  # channels, in and out, up to which a convolution on a GPU takes voxels of a row together,
WIDE = 64  # to so many on the narrower side, twice as many on the wider,
LONG = 32  # in rows of at least so many voxels: where it was measured to pay (docs/results/gpu)
EPS = torch.finfo(torch.float32).eps
LAST = torch.channels_last_3d


def _ours(x: torch.Tensor) -> bool:
    eager = not torch.compiler.is_compiling() and not torch.is_autocast_enabled("cpu")
    return x.device.type == "cpu" and eager


def _in_bf16_on_a_gpu(x: torch.Tensor) -> bool:
    if not x.is_cuda:
        return False
    if torch.is_autocast_enabled("cuda"):
        return torch.get_autocast_dtype("cuda") == torch.bfloat16
    return x.dtype == torch.bfloat16


def _differentiable(function: Callable, inputs: tuple[torch.Tensor, ...], gradient: torch.Tensor) -> tuple:
    """The gradients of ``function`` at the inputs, to be differentiated themselves."""
    wanted = [x for x in inputs if x.requires_grad]
    found = iter(torch.autograd.grad(function(*inputs), wanted, gradient, create_graph=True))
    return tuple(next(found) if x.requires_grad else None for x in inputs)


class _RMSNorm(torch.autograd.Function):
    """x w / r.m.s.(x). torch composes it of six operations, whose backward pass takes three times as long."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
        square = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_()
        scale = square.div_(x.shape[-1]).add_(eps).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, scale)
        ctx.eps = eps
        return (x * scale).mul_(weight)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        x, weight, scale = ctx.saved_tensors
        if torch.is_grad_enabled():
            width = weight.shape

            def plain(x, weight):
                return F.rms_norm(x, width, weight, ctx.eps)

            return *_differentiable(plain, (x, weight), gradient), None
        y = x * scale
        product = gradient * y
        mean = (product @ weight).unsqueeze(-1).div_(x.shape[-1])  # (..., 1), of the gradient along y
        of_x = torch.addcmul(gradient * weight, y, mean, value=-1).mul_(scale)
        return of_x, product.flatten(0, -2).sum(0), None


class RMSNorm(nn.RMSNorm):
    """``torch.nn.RMSNorm`` over the last axis, with the eps of float32 in every dtype: torch's is that of the
    input, which makes another function of a float64 copy and of training in bfloat16.
    """

    def __init__(self, normalized_shape, eps=EPS, **options):
        super().__init__(normalized_shape, eps, **options)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., width] to the same shape."""
        if not _ours(x) or self.weight is None or len(self.normalized_shape) > 1:
            if self.weight is None or self.weight.dtype == x.dtype:
                return super().forward(x)
            # of two dtypes, as under autocast, torch composes it of six kernels where it has one
            return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)
        return _RMSNorm.apply(x, self.weight, self.eps)


class _Normalised(torch.autograd.Function):
    """(x − mean) / standard deviation over the last axis, means as products with a constant vector."""

    @staticmethod
    def forward(ctx, x: torch.Tensor, eps: float) -> torch.Tensor:
        mean = x.new_full((x.shape[-1], 1), 1 / x.shape[-1])
        y = x - x @ mean
        scale = (y * y @ mean).add_(eps).rsqrt_()  # (..., 1)
        y.mul_(scale)
        ctx.save_for_backward(x, y, scale, mean)
        ctx.eps = eps
        return y

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        x, y, scale, mean = ctx.saved_tensors
        if torch.is_grad_enabled():
            width = x.shape[-1:]
            return *_differentiable(lambda x: F.layer_norm(x, width, eps=ctx.eps), (x,), gradient), None
        along_y = (gradient * y) @ mean
        return torch.addcmul(gradient - gradient @ mean, y, along_y, value=-1).mul_(scale), None


def normalised(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """LayerNorm over the last axis, without parameters: [..., width] to the same shape."""
    width = x.shape[-1]
    if not _ours(x) or width > NARROW:
        return F.layer_norm(x, (width,), eps=eps)
    return _Normalised.apply(x, eps)


class LayerNorm(nn.LayerNorm):
    """``torch.nn.LayerNorm`` over the last axis."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., width] to the same shape."""
        whole = self.weight is None or self.bias is not None
        if not _ours(x) or x.shape[-1] > NARROW or len(self.normalized_shape) > 1 or not whole:
            return super().forward(x)
        y = normalised(x, self.eps)
        return y if self.weight is None else torch.addcmul(self.bias, y, self.weight)


class _GroupNorm(torch.autograd.Function):
    """torch's forward pass; of its backward pass on channels-last grids with few channels to a group, the
    sums run along the channels, value by value. Here they run along the voxels.

    With g the gradient, x̂ = (x − m) r normalised, and means over the group:
    ∂x = r (w g − ⟨w g⟩ − x̂ ⟨w g x̂⟩).
    """

    @staticmethod
    def forward(ctx, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, groups: int, eps: float):
        b, c = x.shape[:2]
        y, mean, scale = torch.native_group_norm(x, weight, bias, b, c, x.shape[2:].numel(), groups, eps)
        ctx.save_for_backward(x, weight, bias, mean, scale)
        ctx.groups, ctx.eps = groups, eps
        return y

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        x, weight, bias, mean, scale = ctx.saved_tensors
        if torch.is_grad_enabled():

            def plain(x, weight, bias):
                return F.group_norm(x, ctx.groups, weight, bias, ctx.eps)

            return *_differentiable(plain, (x, weight, bias), gradient), None, None
        b, c, *grid = x.shape
        size, per_group = math.prod(grid), c // ctx.groups
        fold = math.gcd(size, max(1, ROW // c))  # voxels to a row

        def rows(values):  # (b, c, d, d, d) → (b, rows, fold · c)
            values = values.contiguous(memory_format=LAST)
            return values.permute(0, 2, 3, 4, 1).reshape(b, size // fold, fold * c)

        def summed(values):  # over the voxels: (b, rows, fold · c) → (b, c)
            return values.sum(1).view(b, fold, c).sum(1)

        def of_group(values):  # mean over a group: (b, c) → (b, groups)
            return values.unflatten(1, (ctx.groups, per_group)).sum(2) / (per_group * size)

        def wide(values):  # (b, groups) → (b, c)
            return values.repeat_interleave(per_group, 1)

        g, values = rows(gradient), rows(x)
        along_one, along_x = summed(g), summed(g * values)  # (b, c)
        one, projected = of_group(along_one * weight), of_group(along_x * weight)  # (b, groups)
        slope = (one * mean - projected) * scale**3
        offset = -slope * mean - one * scale
        factors = wide(scale) * weight, wide(slope), wide(offset)
        of_g, of_values, constant = (f.repeat(1, fold)[:, None] for f in factors)  # (b, 1, fold · c)
        of_x = torch.addcmul(constant, values, of_values).addcmul_(g, of_g)
        of_weight = ((along_x - wide(mean) * along_one) * wide(scale)).sum(0)
        return of_x.view(b, *grid, c).permute(0, 4, 1, 2, 3), of_weight, along_one.sum(0), None, None


class GroupNorm(nn.GroupNorm):
    """``torch.nn.GroupNorm`` of grids."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, d, d, d] to the same shape."""
        large = x.shape[2:].numel() > LARGE and x.is_contiguous(memory_format=LAST)
        if not _ours(x) or not large or self.weight is None:
            return super().forward(x)
        return _GroupNorm.apply(x, self.weight, self.bias, self.num_groups, self.eps)


class _SumOfRows(torch.autograd.Function):
    """``embedding_bag`` without the sorting of its backward pass, which adds row by row."""

    @staticmethod
    def forward(ctx, table: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(places)
        ctx.n = len(table)
        return F.embedding_bag(places, table, mode="sum")

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        (places,) = ctx.saved_tensors
        of_table = gradient.new_zeros(ctx.n, gradient.shape[1])
        for column in places.unbind(1):
            of_table = of_table.index_add(0, column, gradient)  # not in place: it may be differentiated
        return of_table, None


def sum_of_rows(table: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Sums of k rows of a table [rows, width] each: [..., width], from places [..., k]."""
    flat = places.flatten(0, -2)
    summed = _SumOfRows.apply(table, flat) if _ours(table) else F.embedding_bag(flat, table, mode="sum")
    return summed.view(*places.shape[:-1], table.shape[1])


def attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """softmax(q kᵀ / √d + bias) v, with q, k, v [b, h, n, ·] and a bias [b, h, n, n].

    Where the bias has a gradient, torch has no fused version on a CPU, and its composed one looks for rows
    that are masked altogether, of which there are none.
    """
    if not _ours(q) or not bias.requires_grad:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
    return ((q / q.shape[-1] ** 0.5) @ k.transpose(-1, -2) + bias).softmax(-1) @ v


class _FewKeys(torch.autograd.Function):
    """Attention among a dozen keys, whose backward pass is written out: composed, it makes twice as many
    arrays of weights.
    """

    @staticmethod
    def forward(ctx, qkv: torch.Tensor, bias: torch.Tensor, heads: int) -> torch.Tensor:
        n, m, width = qkv.shape
        depth = width // (3 * heads)
        apart = qkv.reshape(n, m, 3, heads, depth).permute(2, 0, 3, 1, 4)  # (3, n, heads, m, ·)
        q, k, v = apart.reshape(3, n * heads, m, depth)  # (n heads, m, ·)
        logits = ((q / q.shape[-1] ** 0.5) @ k.transpose(1, 2)).view(n, heads, m, m).add_(bias[:, None])
        weights = logits.sub_(logits.amax(-1, keepdim=True)).exp_()
        weights = weights.div_(weights.sum(-1, keepdim=True)).view(n * heads, m, m)
        y = weights @ v
        ctx.save_for_backward(qkv, bias, q, k, v, weights, y)
        ctx.heads = heads
        return y.view(n, heads, m, depth).transpose(1, 2).flatten(2)

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        qkv, bias, q, k, v, weights, y = ctx.saved_tensors
        if torch.is_grad_enabled():

            def plain(qkv, bias):
                return _few_keys(qkv, bias, ctx.heads)

            return *_differentiable(plain, (qkv, bias), gradient), None
        n, m, width = qkv.shape
        depth = q.shape[-1]
        gradient = gradient.view(n, m, ctx.heads, depth).transpose(1, 2).reshape(y.shape)  # (n heads, m, ·)
        along_y = (gradient * y).sum(-1, keepdim=True)
        of_logits = (gradient @ v.transpose(1, 2)).sub_(along_y).mul_(weights)
        of_q, of_k = of_logits @ k, of_logits.transpose(1, 2) @ q
        scaled = torch.stack([of_q, of_k, weights.transpose(1, 2) @ gradient])  # (3, n heads, m, ·)
        scaled[:2].div_(depth**0.5)
        of_qkv = scaled.view(3, n, ctx.heads, m, depth).permute(1, 3, 0, 2, 4).reshape(n, m, width)
        return of_qkv, of_logits.view(n, ctx.heads, m, m).sum(1), None


def _few_keys(qkv: torch.Tensor, bias: torch.Tensor, heads: int) -> torch.Tensor:
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # (n, heads, m, ·)
    logits = (q / q.shape[-1] ** 0.5) @ k.transpose(-1, -2) + bias[:, None]  # (n, heads, m, m)
    weights = (logits - logits.detach().amax(-1, keepdim=True)).exp()
    return (weights @ v / weights.sum(-1, keepdim=True)).transpose(1, 2).flatten(2)


def few_keys_attention(qkv: torch.Tensor, bias: torch.Tensor, heads: int) -> torch.Tensor:
    """softmax(q kᵀ / √d + bias) v among the m rows of each of n sets, heads side by side.

    torch's fused kernels are made for long sequences: for a dozen keys its softmax costs three times as much
    on a CPU as the exponential of the whole array, and on a GPU a step of training is slower with its fused
    attention (docs/results/gpu).

    Parameters
    ----------
    qkv : [n, m, 3 H], queries, keys and values, each of them [heads, H / heads];  bias : [n, m, m]

    Returns
    -------
    [n, m, H]
    """
    return _FewKeys.apply(qkv, bias, heads) if _ours(qkv) else _few_keys(qkv, bias, heads)


def _together(x: torch.Tensor, fold: int) -> torch.Tensor:
    """``fold`` voxels of a row as channels of one: [b, c, d, d, d] to [b, d, d, d / fold, fold c], in
    channels-last grids a view.
    """
    x = x.permute(0, 2, 3, 4, 1)  # (b, d, d, d, c)
    return x.reshape(*x.shape[:3], x.shape[3] // fold, fold * x.shape[4])


def _apart(rows: torch.Tensor, fold: int) -> torch.Tensor:
    """The reverse of ``_together``."""
    return rows.reshape(*rows.shape[:3], fold * rows.shape[3], rows.shape[4] // fold).permute(0, 4, 1, 2, 3)


def _fold_of(convolution: nn.Conv3d, x: torch.Tensor) -> int:
    """How many voxels of a row a convolution should make together: a power of two, 1 but in bf16 on a GPU
    where weights are channels-last.
    """
    last = convolution.weight.is_contiguous(memory_format=LAST)  # as those of one voxel always are
    if not (Convolution.folds and last and _in_bf16_on_a_gpu(x)):
        return 1
    few, many = sorted((convolution.in_channels, convolution.out_channels))
    fold, stride, row = 1, convolution.stride[-1], x.shape[-1]
    if many > FEW or row < LONG * stride:
        return 1
    while row % (2 * fold * stride) == 0 and 2 * fold * few <= WIDE and 2 * fold * many <= 2 * WIDE:
        fold *= 2
    return fold


class Pointwise(nn.Conv3d):
    """A convolution with a kernel of one voxel, 1×1×1: a linear map of the channels."""

    def __init__(self, channels_in: int, channels_out: int):
        super().__init__(channels_in, channels_out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, d, d, d] to [b, c', d, d, d]."""
        if _ours(x):
            y = F.linear(x.permute(0, 2, 3, 4, 1), self.weight.flatten(1), self.bias)
            return y.permute(0, 4, 1, 2, 3)
        fold = _fold_of(self, x)
        if fold == 1 or not x.is_contiguous(memory_format=LAST):
            return super().forward(x)
        return folded_linear(x, self.weight, self.bias, fold)


def folded_linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, fold: int) -> torch.Tensor:
    """A 1×1×1 convolution as a product of rows of ``fold`` voxels, see ``folded``.

    Parameters
    ----------
    x : [b, i, d, d, d], channels-last, d a multiple of fold;  weight : [o, i, 1, 1, 1];  bias : [o]

    Returns
    -------
    [b, o, d, d, d], channels-last
    """
    once_each = torch.eye(fold, dtype=weight.dtype, device=weight.device)
    kernel = torch.kron(once_each, weight.flatten(1))  # (fold o, fold i)
    return _apart(F.linear(_together(x, fold), kernel, bias.repeat(fold)), fold)


def folded(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, fold: int, stride: int = 1
) -> torch.Tensor:
    """A 3×3×3 convolution, padded by one voxel, that makes ``fold`` voxels of a row as if they were channels.

    On a GPU a convolution of 8 channels takes about as long as one of 64, whose tiles it fills with nothing.
    The voxels in whose place they are, and those beside, hold all that each of them needs: its kernel is the
    given one, moved to its place among zeros. That is stride · fold² times the weights for 1 / fold of the
    voxels; in channels-last grids taking rows together copies nothing.

    Parameters
    ----------
    x : [b, i, d, d, d], channels-last, d a multiple of stride · fold;  weight : [o, i, 3, 3, 3];  bias : [o]

    Returns
    -------
    [b, o, d / stride, d / stride, d / stride], channels-last where rows are more than one
    """
    row = stride * fold  # voxels of x that become one
    before = [row - 1 + stride * k for k in range(fold)]  # a kernel, among three rows
    moved = [F.pad(weight, (n, 3 * row - 3 - n)) for n in before]  # (o, i, 3, 3, 3 row)
    wide = torch.stack(moved).unflatten(-1, (3, row)).permute(0, 1, 6, 2, 3, 4, 5)
    kernel = wide.reshape(fold * len(weight), -1, 3, 3, 3).contiguous(memory_format=LAST)
    rows = _together(x, row).permute(0, 4, 1, 2, 3)  # (b, row i, d, d, d / row)
    y = F.conv3d(rows, kernel, bias.repeat(fold), (stride, stride, 1), padding=1)
    return _apart(y.permute(0, 2, 3, 4, 1), fold)


class Convolution(nn.Conv3d):
    """A 3×3×3 convolution, padded by one voxel. In bf16 on a GPU few channels are ``folded`` where weights
    are channels-last, unless ``folds`` is False.
    """

    folds = True  # of the other two, as well

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1):
        super().__init__(channels_in, channels_out, 3, stride, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, d, d, d] to [b, c', d, d, d], to half that edge with a stride of 2."""
        fold = _fold_of(self, x)
        if fold == 1:
            return super().forward(x)
        x = x.contiguous(memory_format=LAST)
        return folded(x, self.weight, self.bias, fold, self.stride[0])


def doubled(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """A transposed convolution of kernel 4, stride 2 and padding 1, as a 3×3×3 convolution whose channels are
    the eight voxels that one becomes: along an axis two of the four weights reach the first, two the other.

    Parameters
    ----------
    x : [b, i, d, d, d], channels-last;  weight : [i, o, 4, 4, 4];  bias : [o]

    Returns
    -------
    [b, o, 2 d, 2 d, 2 d], channels-last
    """
    b, inputs, *grid = x.shape
    outputs = len(bias)
    halves = weight.flip(2, 3, 4).reshape(inputs, outputs, 2, 2, 2, 2, 2, 2)
    parts = halves.permute(3, 5, 7, 1, 0, 2, 4, 6).flatten(0, 2)  # (8, o, i, 2, 2, 2)
    places = itertools.product((0, 1), repeat=3)
    padded = [F.pad(part, (k, 1 - k, j, 1 - j, i, 1 - i)) for part, (i, j, k) in zip(parts, places)]
    kernel = torch.cat(padded).contiguous(memory_format=LAST)  # (8 o, i, 3, 3, 3)
    y = F.conv3d(x, kernel, bias.repeat(8), padding=1).permute(0, 2, 3, 4, 1)  # (b, d, d, d, 8 o)
    apart = y.reshape(b, *grid, 2, 2, 2, outputs).permute(0, 1, 4, 2, 5, 3, 6, 7)
    return apart.reshape(b, *(2 * n for n in grid), outputs).permute(0, 4, 1, 2, 3)


class Doubling(nn.ConvTranspose3d):
    """To a grid of twice the edge: a transposed convolution of kernel 4, stride 2 and padding 1. In bf16 on a
    GPU that of few channels is ``doubled``.
    """

    def __init__(self, channels: int):
        super().__init__(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[b, c, d, d, d] to [b, c, 2 d, 2 d, 2 d]."""
        last = self.weight.is_contiguous(memory_format=LAST)
        if not (Convolution.folds and last and _in_bf16_on_a_gpu(x) and self.in_channels <= FEW):
            return super().forward(x)
        return doubled(x.contiguous(memory_format=LAST), self.weight, self.bias)
