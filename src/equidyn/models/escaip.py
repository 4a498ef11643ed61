"""EScAIP v1 (Qu & Krishnapriyan 2024): attention among the neighbours of each atom, an invariant backbone, a
linear force head.

Only the force head breaks symmetry. For an edge (i, j) with invariant feature h_ij and unit direction e_ij

    d_ij = W (h_ij + FFN(h_ij)),  W ∈ R^{3×H};     F_i = m_i Σ_j d_ij ⊙ e_ij

is equivariant for all inputs if and only if the three rows of W act alike. An atom without neighbours has no
edge and no force here; the authors' code gives it one along x to itself, which breaks symmetry too.

Shapes: b items, a atoms (padded), n atoms (flat), m neighbours, H hidden.
"""

import copy

import torch
import torch.nn.functional as F
from torch import nn

from equidyn.geometry.neighbours import bond_order, flatten, gaussian_basis, padded, places_of
from equidyn.models.layers import RMSNorm, few_keys_attention

_FULL = dict(
    heads=8,
    n_gaussians=600,
    distance_width=512,
    atom_width=128,
    order_width=64,
    l_max=9,
    cutoff=12.0,
    n_neighbours=20,
)
_MINI = dict(
    heads=4,
    n_gaussians=64,
    distance_width=32,
    atom_width=16,
    order_width=8,
    l_max=5,
    cutoff=6.0,
    n_neighbours=12,
)
MODEL = {"name": "escaip", "task": "forces", "class": "EScAIP"}
SIZES = {
    "tiny": dict(hidden=16, layers=1, **{**_MINI, "n_neighbours": 8}),
    "mini": dict(hidden=32, layers=2, **_MINI),
    "small": dict(hidden=96, layers=3, **_MINI),  # 1.0M
    "1M": dict(hidden=64, layers=1, **_FULL),  # the paper's exact 1M configuration is not public
    "4M": dict(hidden=128, layers=4, **_FULL),
    "6M": dict(hidden=128, layers=6, **_FULL),
}


def feed_forward(width: int, multiplier: int = 2, dropout: float = 0.0) -> nn.Sequential:
    """Linear, GELU, linear."""
    return nn.Sequential(
        nn.Linear(width, multiplier * width),
        nn.GELU(),
        nn.Dropout(dropout),
        nn.Linear(multiplier * width, width),
    )


class EdgeAttributes(nn.Module):
    """Invariant description of an edge; every block owns a copy."""

    def __init__(self, hidden, n_gaussians, distance_width, atom_width, order_width, l_max):
        super().__init__()
        self.distance = nn.Sequential(nn.Linear(n_gaussians, distance_width), nn.GELU())
        self.order_source = nn.Sequential(nn.Linear(l_max + 1, order_width), nn.GELU())
        self.order_target = nn.Sequential(nn.Linear(l_max + 1, order_width), nn.GELU())
        self.atom_source, self.atom_target = nn.Embedding(110, atom_width), nn.Embedding(110, atom_width)
        self.mix = nn.Sequential(
            nn.Linear(distance_width + 2 * order_width + 2 * atom_width, hidden), nn.GELU()
        )

    def forward(self, g: dict[str, torch.Tensor]) -> torch.Tensor:
        """Edges [n, m, H] of the graph g."""
        source = torch.cat([self.order_source(g["order"]), self.atom_source(g["numbers"])], -1)  # (n, ·)
        target = torch.cat([self.order_target(g["order"]), self.atom_target(g["numbers"])], -1)  # (n, ·)
        distance = self.distance(g["gaussians"])  # (n, m, ·)
        linear, activation = self.mix
        mixed = joined(linear.weight, linear.bias, distance, source, target, g["neighbours"])
        return activation(mixed)  # (n, m, H)


def joined(
    weight: torch.Tensor,
    bias: torch.Tensor,
    edge: torch.Tensor,
    source: torch.Tensor,
    target: torch.Tensor,
    neighbours: torch.Tensor,
) -> torch.Tensor:
    """A linear map of [edge, source of the neighbour, target of the atom], each part where it lives: atoms
    are mapped before they are spread over their m edges.

    weight: (H, ·), bias: (H), edge: (n, m, ·), source, target: (n, ·), neighbours: (n, m); returns (n, m, H).
    """
    widths = [edge.shape[-1], source.shape[-1], target.shape[-1]]
    of_edge, of_source, of_target = weight.split(widths, -1)
    ends = F.linear(source, of_source)[neighbours] + F.linear(target, of_target, bias)[:, None]  # (n, m, H)
    return F.linear(edge, of_edge) + ends


class NeighbourAttention(nn.Module):
    """Self-attention among the m neighbours of each atom; the angle between two of them enters the logits."""

    def __init__(self, hidden, heads):
        super().__init__()
        self.heads = heads
        self.qkv, self.out = nn.Linear(hidden, 3 * hidden), nn.Linear(hidden, hidden)
        self.angle_scale = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor, g: dict[str, torch.Tensor]) -> torch.Tensor:
        """Edges x [n, m, H] of the graph g to updates of them [n, m, H]."""
        bias = self.angle_scale * g["cosine"] + g["key_bias"]  # (n, m, m)
        return self.out(few_keys_attention(self.qkv(x), bias, self.heads))  # (n, m, H)


class Block(nn.Module):
    """Message from edge attributes and the two end nodes, neighbour attention, feed-forward; residual on node
    and edge.
    """

    def __init__(self, hidden, heads, dropout, embedding):
        super().__init__()
        self.attributes = EdgeAttributes(hidden, **embedding)
        self.ends, self.message = nn.Linear(2 * hidden, hidden), nn.Linear(2 * hidden, hidden)
        self.attention = NeighbourAttention(hidden, heads)
        self.norm_node = RMSNorm(hidden)
        self.norm_node2, self.norm_edge2 = RMSNorm(hidden), RMSNorm(hidden)
        self.ffn_node = feed_forward(hidden, dropout=dropout)
        self.ffn_edge = feed_forward(hidden, dropout=dropout)

    def forward(
        self, node: torch.Tensor, edge: torch.Tensor, g: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Nodes [n, H] and edges [n, m, H] of the graph g, after the block."""
        h = self.norm_node(node)
        # the map of the ends and the message's of what it gives are one, without an array of edges between
        of_attributes, of_ends = self.message.weight.chunk(2, -1)  # (H, H)
        weight = torch.cat([of_attributes, of_ends @ self.ends.weight], -1)  # (H, 3 H)
        bias = F.linear(self.ends.bias, of_ends, self.message.bias)  # (H)
        message = joined(weight, bias, self.attributes(g), h, h, g["neighbours"])  # (n, m, H)
        update = self.attention(message, g)
        edge, node = edge + update, node + neighbour_mean(update, g)
        return node + self.ffn_node(self.norm_node2(node)), edge + self.ffn_edge(self.norm_edge2(edge))


class Readout(nn.Module):
    """What a block hands to the output: x + FFN(norm x) for node and edge."""

    def __init__(self, hidden, dropout):
        super().__init__()
        self.norm_node, self.norm_edge = RMSNorm(hidden), RMSNorm(hidden)
        self.ffn_node = feed_forward(hidden, dropout=dropout)
        self.ffn_edge = feed_forward(hidden, dropout=dropout)

    def forward(self, node: torch.Tensor, edge: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Nodes [n, H] and edges [n, m, H], as the output reads them."""
        return node + self.ffn_node(self.norm_node(node)), edge + self.ffn_edge(self.norm_edge(edge))


def neighbour_mean(edge: torch.Tensor, g: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean over the valid neighbours: (n, m, H) → (n, H)."""
    return (edge * g["valid"][..., None]).sum(1) / g["valid"].sum(1, keepdim=True).clamp(min=1)


def _cosines(direction: torch.Tensor) -> torch.Tensor:
    """Between the directions [n, m, 3] of each atom: [n, m, m]. Never in bfloat16, whose rounding changes
    with the pose: training would see an input that is not invariant.
    """
    kind = direction.device.type
    with torch.autocast("cpu" if kind == "meta" else kind, enabled=False):
        return direction @ direction.transpose(1, 2)


class EScAIP(nn.Module):
    """Energies and direct forces; ``tied`` gives the force head a single row, the exactly equivariant
    control. Differences of its second and third row from the first begin ``row_spread`` times as large
    as independent draws make them: with 0 the network begins equivariant, and training is free to part them.
    """

    repeated = "blocks", "readouts"  # see ``training.execution.compile_parts``

    def __init__(
        self,
        hidden,
        layers,
        heads,
        n_gaussians,
        distance_width,
        atom_width,
        order_width,
        l_max,
        cutoff,
        n_neighbours,
        dropout=0.0,
        tied=False,
        row_spread=1.0,
    ):
        super().__init__()
        self.equivariant = tied
        self.cutoff = cutoff
        self.n_neighbours = n_neighbours
        self.n_gaussians = n_gaussians
        self.l_max = l_max
        embedding = dict(
            n_gaussians=n_gaussians,
            distance_width=distance_width,
            atom_width=atom_width,
            order_width=order_width,
            l_max=l_max,
        )
        self.attributes = EdgeAttributes(hidden, **embedding)
        self.norm_input, self.ffn_input = RMSNorm(hidden), feed_forward(hidden, multiplier=1)
        self.blocks = nn.ModuleList(Block(hidden, heads, dropout, embedding) for _ in range(layers))
        self.readouts = nn.ModuleList(Readout(hidden, dropout) for _ in range(layers + 1))
        wide = (layers + 1) * hidden

        def projection():
            return nn.Sequential(RMSNorm(wide), nn.Linear(wide, hidden), nn.GELU(), RMSNorm(hidden))

        self.project_node, self.project_edge = projection(), projection()
        self.ffn_energy, self.energy = feed_forward(hidden), nn.Linear(hidden, 1, bias=False)
        self.ffn_force, self.force = feed_forward(hidden), nn.Linear(hidden, 1 if tied else 3, bias=False)
        self.ffn_magnitude, self.magnitude = feed_forward(hidden), nn.Linear(hidden, 1, bias=False)
        self.apply(_initialise)
        nn.init.xavier_uniform_(self.energy.weight, gain=0.01)
        if row_spread != 1:
            with torch.no_grad():
                self.force.weight.copy_(self.force.weight[:1].lerp(self.force.weight, row_spread))

    def features(
        self,
        numbers: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        neighbours: torch.Tensor,
        neighbour_mask: torch.Tensor,
        atoms: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """Everything that is invariant, and the directions: node and edge features, the head's d_ij, e_ij and
        m_i.
        """
        atoms = places_of(mask) if atoms is None else atoms
        numbers, direction, distance, index, valid = flatten(
            numbers, positions, mask, neighbours, neighbour_mask, atoms
        )
        cosine = _cosines(direction)  # (n, m, m)
        g = dict(
            numbers=numbers, neighbours=index, valid=valid, cosine=cosine,
            gaussians=gaussian_basis(distance, self.n_gaussians, self.cutoff),  # (n, m, ·)
            order=bond_order(cosine, valid, self.l_max).to(direction.dtype),  # (n, l_max + 1)
            key_bias=torch.zeros_like(distance).masked_fill(~valid, -1e9)[:, None, :],  # (n, 1, m)
        )  # fmt: skip
        edge = self.attributes(g)
        edge = edge + self.ffn_input(self.norm_input(edge))  # (n, m, H)
        node = neighbour_mean(edge, g)  # (n, H)
        outputs = [self.readouts[0](node, edge)]
        for block, readout in zip(self.blocks, self.readouts[1:]):
            node, edge = block(node, edge, g)
            outputs.append(readout(node, edge))
        nodes, edges = zip(*outputs)
        node, edge = self.project_node(torch.cat(nodes, -1)), self.project_edge(torch.cat(edges, -1))
        hidden = edge + self.ffn_force(edge)  # (n, m, H), what W acts on
        magnitude = self.magnitude(node + self.ffn_magnitude(node))  # (n, 1)
        return dict(
            node=node, hidden=hidden, direction=direction, magnitude=magnitude, valid=valid, atoms=atoms
        )

    def forward(
        self,
        numbers: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        neighbours: torch.Tensor,
        neighbour_mask: torch.Tensor,
        atoms: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy [b] (mean over atoms of the atomic outputs) and forces [b, a, 3], both in training units.

        Parameters: numbers [b, a], positions [b, a, 3] Å, mask [b, a] bool, neighbours and their mask [b, a,
        m]; atoms [n], the places of the atoms among the b · a, are looked up in the mask where absent.
        """
        f = self.features(numbers, positions, mask, neighbours, neighbour_mask, atoms)
        d = self.force(f["hidden"])  # (n, m, 3), or (n, m, 1) when tied
        flat = f["magnitude"] * (d * f["direction"]).sum(
            1
        )  # (n, 3); directions of absent neighbours are zero
        atomic = self.energy(f["node"] + self.ffn_energy(f["node"])).squeeze(-1)  # (n,)
        atomic = atomic.to(positions.dtype)  # under autocast the sum would be one of bfloat16
        energy = padded(atomic, f["atoms"], mask).sum(1) / mask.sum(1)
        return energy, padded(flat, f["atoms"], mask)

    def equivariant_control(self) -> "EScAIP":
        """A copy whose head rows are replaced by their mean: exactly equivariant, and the twirled model
        itself.
        """
        control = copy.deepcopy(self)
        with torch.no_grad():
            control.force.weight.copy_(self.force.weight.mean(0, keepdim=True).expand_as(self.force.weight))
        return control


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.uniform_(module.weight, -1e-3, 1e-3)
