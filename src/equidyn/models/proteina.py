"""Proteina-style flow-matching transformer on Cα traces, from the paper's facts; no fold conditioning.

Geffner et al. 2025.

Distances enter through the pair representation and are invariant, also under mirroring. Symmetry breaks in
three linear maps that see or make raw coordinates: the embedding of x_t (D × 3), the columns of the token
features that hold x_sc (D × 3), the decoder (3 × D).

Shapes: b items, n residues, r register tokens, N = r + n, D token width, P pair width, C conditioning width,
h heads. Unit: nm.
"""

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from equidyn.errors import ArgumentError
from equidyn.geometry.pairs import DISTOGRAM_BINS, distance_bins
from equidyn.models.layers import LayerNorm, attention, normalised, sum_of_rows

INDEX_WIDTH, TIME_WIDTH = 128, 256
RELATIVE_BINS = 127
SC_BINS = 128
XT_BINS = 64
FARTHEST = 3.0  # nm, where the last bin of x_sc and x_t begins

_FULL = dict(conditioning=512, registers=10)
MODEL = {"name": "proteina", "task": "flow", "class": "Proteina"}
SIZES = {
    "tiny": dict(hidden=32, layers=2, heads=2, pair=16, conditioning=32, registers=2),
    "mini": dict(hidden=128, layers=4, heads=8, pair=16, conditioning=64, registers=4),
    "small": dict(hidden=192, layers=6, heads=8, pair=16, conditioning=64, registers=4),  # 4.3M
    "60M": dict(hidden=512, layers=10, heads=8, pair=256, **_FULL),
    "60M-tri": dict(hidden=512, layers=10, heads=8, pair=256, update_every=2, **_FULL),
    "200M": dict(hidden=768, layers=15, heads=12, pair=512, **_FULL),
    "400M": dict(hidden=1024, layers=18, heads=16, pair=512, update_every=5, **_FULL),
}


class AdaptiveNorm(nn.Module):
    """LayerNorm without parameters, scaled and shifted by functions of the conditioning."""

    def __init__(self, width, conditioning):
        super().__init__()
        self.norm = LayerNorm(width, elementwise_affine=False)
        self.norm_condition = nn.LayerNorm(conditioning)
        self.scale, self.shift = nn.Linear(conditioning, width), nn.Linear(conditioning, width, bias=False)

    def forward(self, x: torch.Tensor, c: torch.Tensor, spread: Callable = lambda y: y) -> torch.Tensor:
        """Tokens x [b, N, D] under the conditioning c [b, C], which ``spread`` brings to the tokens."""
        c = self.norm_condition(c)
        return self.norm(x) * spread(torch.sigmoid(self.scale(c))) + spread(self.shift(c))


class OutputScale(nn.Linear):
    """sigmoid(Linear(conditioning)), 0.12 everywhere at first: layers begin close to the identity."""

    def __init__(self, width, conditioning):
        super().__init__(conditioning, width)
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, -2.0)

    def forward(self, c: torch.Tensor) -> torch.Tensor:
        """Scales [b, D] of the conditioning c [b, C]."""
        return torch.sigmoid(super().forward(c))


class SwiGLU(nn.Module):
    """Linear to twice ``multiplier`` × width, silu(first half) · second half, linear to ``width``; no biases,
    not residual.
    """

    def __init__(self, width, multiplier):
        super().__init__()
        self.up = nn.Linear(width, 2 * multiplier * width, bias=False)
        self.down = nn.Linear(multiplier * width, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[..., D] to [..., D]."""
        gate, value = self.up(x).chunk(2, -1)
        return self.down(F.silu(gate) * value)


class PairBiasAttention(nn.Module):
    """Gated attention; ``norm_pair`` and ``to_bias`` make the bias, but in ``pair_biases``, for many layers
    at once.
    """

    def __init__(self, width, heads, pair):
        super().__init__()
        self.heads = heads
        self.norm, self.norm_q, self.norm_k = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.gate = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.norm_pair, self.to_bias = nn.LayerNorm(pair), nn.Linear(pair, heads, bias=False)

    def forward(self, x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        """Residues x [b, N, D], with a bias [b, h, N, N] of the logits, to updates of them [b, N, D]."""
        x = self.norm(x)
        q, k, v = self.qkv(x).chunk(3, -1)
        q, k, v = (
            y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in (self.norm_q(q), self.norm_k(k), v)
        )  # (b, h, N, D/h)
        y = attention(q, k, v, bias)
        return self.out(torch.sigmoid(self.gate(x)) * y.transpose(1, 2).flatten(2))  # (b, N, D)


class Layer(nn.Module):
    """Attention, then feed-forward; each between an adaptive norm and an output scale, residual."""

    def __init__(self, width, heads, pair, conditioning):
        super().__init__()
        self.norm = AdaptiveNorm(width, conditioning)
        self.attention = PairBiasAttention(width, heads, pair)
        self.scale = OutputScale(width, conditioning)
        self.norm2 = AdaptiveNorm(width, conditioning)
        self.transition = SwiGLU(width, 4)
        self.scale2 = OutputScale(width, conditioning)

    def forward(self, x: torch.Tensor, c: torch.Tensor, bias: torch.Tensor, spread: Callable) -> torch.Tensor:
        """Tokens x [b, N, D] under the conditioning c and a bias [b, h, N, N] of attention's logits."""
        x = x + spread(self.scale(c)) * self.attention(self.norm(x, c, spread), bias)
        return x + spread(self.scale2(c)) * self.transition(self.norm2(x, c, spread))


class TriangleMultiplication(nn.Module):
    """Edges (i, j) from the edges that i and j send to (``outgoing``) or receive from every k."""

    def __init__(self, pair, hidden, outgoing):
        super().__init__()
        self.equation = "bikc,bjkc->bijc" if outgoing else "bkic,bkjc->bijc"
        self.norm, self.norm_out = nn.LayerNorm(pair), nn.LayerNorm(hidden)
        self.left, self.left_gate = nn.Linear(pair, hidden), nn.Linear(pair, hidden)
        self.right, self.right_gate = nn.Linear(pair, hidden), nn.Linear(pair, hidden)
        self.out, self.gate = nn.Linear(hidden, pair), nn.Linear(pair, pair)

    def forward(self, pair: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Pairs [b, n, n, P], of which those with ``valid`` [b, n, n, 1] take part, to updates of them."""
        z = self.norm(pair)
        left = self.left(z) * torch.sigmoid(self.left_gate(z)) * valid  # (b, n, n, hidden)
        right = self.right(z) * torch.sigmoid(self.right_gate(z)) * valid
        return self.out(self.norm_out(torch.einsum(self.equation, left, right))) * torch.sigmoid(self.gate(z))


class PairUpdate(nn.Module):
    """Tokens into pairs by an outer sum, both triangle multiplications, ReLU transition; all residual."""

    def __init__(self, width, pair):
        super().__init__()
        hidden = min(pair, 196)
        self.norm, self.outer = nn.LayerNorm(width), nn.Linear(width, 2 * pair, bias=False)
        self.outgoing = TriangleMultiplication(pair, hidden, True)
        self.incoming = TriangleMultiplication(pair, hidden, False)
        self.transition = nn.Sequential(
            nn.LayerNorm(pair), nn.Linear(pair, 2 * pair), nn.ReLU(), nn.Linear(2 * pair, pair)
        )

    def forward(self, pair: torch.Tensor, x: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Pairs [b, n, n, P] after an update by the tokens x [b, n, D]."""
        rows, columns = self.outer(self.norm(x)).chunk(2, -1)  # (b, n, P)
        pair = pair + rows[:, :, None] + columns[:, None]
        pair = pair + self.outgoing(pair, valid)
        pair = pair + self.incoming(pair, valid)
        return pair + self.transition(pair)


class Proteina(nn.Module):
    """Velocity field of the flow; ``update_every`` > 0 adds pair updates after layers 0, k, 2k, … (not the
    last) and a distogram head.
    """

    repeated = ("layers",)  # see ``training.execution.compile_parts``

    def __init__(self, hidden, layers, heads, pair, conditioning, registers, update_every=0):
        super().__init__()
        self.central = False  # the equivariant control: see ``equivariant_control``
        self.embed = nn.Linear(3, hidden, bias=False)
        self.embed_features = nn.Linear(
            INDEX_WIDTH + 1 + 3, hidden, bias=False
        )  # residue index, chain break, x_sc
        self.condition = nn.Sequential(
            nn.Linear(TIME_WIDTH, conditioning, bias=False), SwiGLU(conditioning, 2), SwiGLU(conditioning, 2)
        )
        self.embed_pair = nn.Linear(RELATIVE_BINS + SC_BINS + XT_BINS, pair, bias=False)
        self.norm_pair, self.adapt_pair = LayerNorm(pair), AdaptiveNorm(pair, conditioning)
        self.registers = nn.Parameter(torch.randn(registers, hidden) / math.sqrt(hidden))
        self.layers = nn.ModuleList(Layer(hidden, heads, pair, conditioning) for _ in range(layers))
        updated = range(0, layers - 1, update_every) if update_every else ()
        self.updates = nn.ModuleDict({str(i): PairUpdate(hidden, pair) for i in updated})
        self.distances = nn.Linear(pair, DISTOGRAM_BINS) if update_every else None
        self.norm, self.decode = nn.LayerNorm(hidden), nn.Linear(hidden, 3, bias=False)
        for linear in (
            self.condition.modules()
        ):  # gains below 1 would leave almost nothing of the time after five linear maps
            if isinstance(linear, nn.Linear):
                nn.init.normal_(linear.weight, std=linear.in_features**-0.5)

    def forward(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor,
        mask: torch.Tensor,
        index: torch.Tensor,
        breaks: torch.Tensor,
        x_sc: torch.Tensor,
        distogram: bool = False,
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Velocity [b, n, 3] in nm, zero where masked; with ``distogram`` what that method returns.

        Parameters
        ----------
        x_t : [b, n, 3] nm, centred;  t : [b] in [0, 1];  mask : [b, n] bool, at least one residue each
        index : [b, n] long, residue numbers from 1;  breaks : [b, n], 1 where a chain break follows
        x_sc : [b, n, 3] nm, an earlier estimate of x_1; zeros where there is none, whose distances then all
            fall into the first bin
        """
        velocity, pair = self._run(x_t, t, mask, index, breaks, x_sc)
        return (velocity, self.distances(pair + pair.transpose(1, 2))) if distogram else velocity

    def distogram(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor,
        mask: torch.Tensor,
        index: torch.Tensor,
        breaks: torch.Tensor,
        x_sc: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """As ``forward``, with the distogram: (velocity, logits [b, n, n, 64], symmetric); bins as
        ``distance_bins(x, 64, 1.0)``.

        Raises
        ------
        ArgumentError
            a model without pair updates, which has no distogram head
        """
        if self.distances is None:
            raise ArgumentError(
                "Proteina.distogram: this model has no pair updates, hence no distogram head; expected "
                "update_every > 0"
            )
        # through the call of the module, which hooks and compilers of a whole network see
        return self(x_t, t, mask, index, breaks, x_sc, distogram=True)

    def _run(self, x_t, t, mask, index, breaks, x_sc):
        n, r = mask.shape[1], len(self.registers)

        def spread(y):  # one row for the registers, one for all residues: (b, 2, ·) → (b, N, ·)
            return torch.cat([y[:, :1].expand(-1, r, -1), y[:, 1:].expand(-1, n, -1)], 1)

        c = self.condition(time_embedding(t.to(x_t.dtype)))[:, None]  # (b, 1, C)
        pair = self._pair(x_t, index, x_sc, c)  # (b, n, n, P)
        c = torch.cat([torch.zeros_like(c), c], 1)  # (b, 2, C); registers are not conditioned
        features = torch.cat([index_embedding(index, x_t.dtype), breaks[..., None].to(x_t.dtype), x_sc], -1)
        x = self.embed(x_t) + self.embed_features(features)  # (b, n, D)
        x = torch.cat([self.registers.expand(len(x), -1, -1), x], 1)  # (b, N, D)
        valid = (mask[:, :, None] & mask[:, None, :])[..., None].to(x_t.dtype)  # (b, n, n, 1)
        ends = [int(i) + 1 for i in self.updates] + [len(self.layers)]
        for start, end in zip([0, *ends], ends):
            layers = self.layers[start:end]  # between two updates the pairs do not change
            for layer, bias in zip(layers, pair_biases([layer.attention for layer in layers], pair, mask, r)):
                x = layer(x, c, bias, spread)
            if end < len(self.layers):
                pair = self.updates[str(end - 1)](pair, x[:, r:], valid)
        velocity = self.decode(self.norm(x[:, r:]))  # (b, n, 3)
        if self.central:
            velocity = central_field(velocity, x_t, mask)
        return velocity * mask[..., None], pair

    def _pair(self, x_t, index, x_sc, c):
        """Pairs of residues: relative index and both distances, normalised, adapted to the time."""
        half = RELATIVE_BINS // 2
        relative = (index[:, :, None] - index[:, None, :]).clamp(-half, half) + half
        bins = [
            relative,
            distance_bins(x_sc, SC_BINS, FARTHEST) + RELATIVE_BINS,
            distance_bins(x_t, XT_BINS, FARTHEST) + RELATIVE_BINS + SC_BINS,
        ]
        # The linear map of three one-hot vectors is the sum of three of its columns; the one-hots (319 wide)
        # are never made.
        pair = sum_of_rows(self.embed_pair.weight.t().contiguous(), torch.stack(bins, -1))
        return self.adapt_pair(self.norm_pair(pair), c[:, None])  # (b, n, n, P)

    def equivariant_control(self) -> "Proteina":
        """An exactly equivariant copy of the same cost: no raw coordinates among the features, and two of the
        decoder's outputs, now invariant scalars of each residue, times two vectors that turn with x_t
        (``central_field``)."""
        control = copy.deepcopy(self)
        control.central = True
        with torch.no_grad():
            control.embed.weight.zero_()
            control.embed_features.weight[:, -3:].zero_()
        return control


def pair_biases(
    attentions: list[PairBiasAttention], pair: torch.Tensor, mask: torch.Tensor, registers: int
) -> list[torch.Tensor]:
    """Attention biases [b, h, N, N] of all these layers, in one product of the pair tensor normalised once.

    W LN(p) = (W diag(w)) norm(p) + W b: the affine parameters w, b of every layer's norm are folded into its
    map W, and norm(p) is the same for all. Pairs with a register are zero vectors, so W b is all that is left
    of them; masked keys get −10⁹.
    """
    b, n, _, width = pair.shape
    weight = torch.cat([a.to_bias.weight * a.norm_pair.weight for a in attentions])  # (layers h, P)
    constant = torch.cat([a.to_bias.weight @ a.norm_pair.bias for a in attentions])  # (layers h)
    z = normalised(pair).reshape(b, n * n, width)
    product = torch.bmm(weight.expand(b, -1, -1), z.transpose(1, 2)).reshape(
        b, -1, n, n
    )  # contiguous, heads first
    keys = pair.new_zeros(b, 1, 1, registers + n)
    keys[..., registers:].masked_fill_(~mask[:, None, None, :], -1e9)
    bias = F.pad(product, (registers, 0, registers, 0)).add_(
        keys + constant[:, None, None]
    )  # (b, layers h, N, N)
    return bias.unflatten(1, (len(attentions), -1)).unbind(1)


def time_embedding(t: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of 2000 t at frequencies from 1 down to 1/2000: [b] → [b, 256]."""
    half = TIME_WIDTH // 2
    angle = (
        2000
        * t[:, None]
        * torch.exp(-math.log(2000) * torch.arange(half, device=t.device, dtype=t.dtype) / (half - 1))
    )
    return torch.cat([angle.sin(), angle.cos()], -1)


def index_embedding(index: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Sines and cosines of residue numbers, base 2056: [b, n] → [b, n, 128]."""
    half = INDEX_WIDTH // 2
    angle = index[..., None] * torch.exp(
        -math.log(2056) * torch.arange(half, device=index.device, dtype=dtype) / half
    )
    return torch.cat([angle.sin(), angle.cos()], -1)


def central_field(scalars: torch.Tensor, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Equivariant vectors [b, n, 3]: one scalar times x_i, another times the mean of x_j − x_i under a
    Gaussian of the distance (0.5 nm).
    """
    weight = (
        torch.exp(-2 * torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist") ** 2) * mask[:, None, :]
    )
    pull = weight @ x / weight.sum(-1, keepdim=True).clamp(min=1e-6) - x
    return scalars[..., :1] * x + scalars[..., 1:2] * pull
