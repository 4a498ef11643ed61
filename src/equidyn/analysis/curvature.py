"""Curvature of the two terms of the loss over a block of parameters: Hessian products by differentiating
twice, spectra by eigh, eigsh and Lanczos.

Estimators, models and arguments are those of ``gradients``; parameters and inputs are float64 here.
"""

import re
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from equidyn.analysis.gradients import TERMS, sums_of_terms
from equidyn.analysis.spectrum import Spectrum, spectrum
from equidyn.errors import ArgumentError, UnknownNameError
from equidyn.symmetry.actions import Action
from equidyn.symmetry.measure import Batch, chunks


class Block:
    """Some of a model's parameters as one flat vector.

    Parameters
    ----------
    pattern : a name in ``named_parameters`` or a regular expression that matches whole names; a trailing
        ``[i]`` keeps entry i of the first
        axis only (``out.weight[1]``: the kernel of one output channel)

    Raises
    ------
    UnknownNameError
        nothing matches
    """

    def __init__(self, model: torch.nn.Module, pattern: str):
        names, cut = dict(model.named_parameters()), re.fullmatch(r"(.*)\[(\d+)\]", pattern)
        expression, entry = (cut[1], int(cut[2])) if cut and pattern not in names else (pattern, None)
        chosen = {
            name: p for name, p in names.items() if name == expression or re.fullmatch(expression, name)
        }
        if not chosen or (entry is not None and any(entry >= len(p) for p in chosen.values())):
            raise UnknownNameError(
                f"block {pattern!r} matches no parameter, expected a name such as "
                f"{', '.join(list(names)[-3:])}"
            )
        self.names, self.parameters = list(chosen), list(chosen.values())
        keep = [torch.full(p.shape, entry is None) for p in self.parameters]
        if entry is not None:
            for k in keep:
                k[entry] = True
        self.index = torch.cat([k.reshape(-1) for k in keep]).nonzero().squeeze(1)
        self.sizes = [p.numel() for p in self.parameters]

    def __len__(self) -> int:
        return len(self.index)

    def gather(self, tensors: Iterable[torch.Tensor]) -> np.ndarray:
        """[n] from tensors shaped like the parameters."""
        return torch.cat([t.detach().reshape(-1) for t in tensors]).cpu()[self.index].numpy()

    def scatter(self, vector: np.ndarray) -> list[torch.Tensor]:
        """Tensors shaped like the parameters from [n], zero outside the block."""
        flat = torch.zeros(sum(self.sizes), dtype=torch.float64)
        flat[self.index] = torch.as_tensor(vector, dtype=torch.float64)
        return [part.reshape(p.shape).to(p) for part, p in zip(flat.split(self.sizes), self.parameters)]

    def get(self) -> np.ndarray:
        """The weights [n]."""
        return self.gather(self.parameters)


class Hessians:
    """Products with the Hessians of P̂ and Ê over a block, in float64, by differentiating twice.

    The graph of the two gradients is built once for all batches and rotations and used for every product, so
    that what lies before the block is computed once. Memory: that graph, small where the block is the last
    layer.

    Raises
    ------
    RuntimeError
        a module in train mode
    ArgumentError
        parameters of the block that are not float64 or that no prediction depends on; numbers of rotations
        that do not match the items
    """

    def __init__(self, model, predict, batches, actions, output, rotations, block: Block, group_order=None):
        if any(p.dtype != torch.float64 for p in block.parameters):
            raise ArgumentError(
                f"curvature: {block.names[0]} is {block.parameters[0].dtype}, expected float64; call "
                f"model.double() and cast the batches"
            )
        self.block, self.gradients, self.counts = block, {term: [] for term in TERMS}, []
        flags = [(p, p.requires_grad) for p in model.parameters()]
        try:
            for p, _ in flags:
                p.requires_grad_(any(p is q for q in block.parameters))
            # the fused attention kernels have no second derivative
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                for batch, chunk in chunks(batches, rotations):
                    *found, count = sums_of_terms(model, predict, batch, actions, output, chunk, group_order)
                    self.counts.append(count.item())
                    if not found[0].requires_grad:
                        raise ArgumentError(
                            f"curvature: the predictions do not depend on {', '.join(block.names)}, "
                            f"expected parameters that they depend on"
                        )
                    for term, value in zip(TERMS, found):
                        self.gradients[term].append(
                            torch.autograd.grad(
                                value, block.parameters, create_graph=True, materialize_grads=True
                            )
                        )
        finally:
            for p, flag in flags:
                p.requires_grad_(flag)

    def product(self, term: str, vector: np.ndarray) -> np.ndarray:
        """H v: [n]."""
        return self.products(term, vector).sum(0) / sum(self.counts)

    def products(self, term: str, vector: np.ndarray) -> np.ndarray:
        """The part of every batch in H v times the number of all values, ``counts``: [n_batches, n]."""
        along = self.block.scatter(vector)
        return np.stack([self._product(found, along) for found in self.gradients[term]])

    def _product(self, gradients, along) -> np.ndarray:
        pairs = [(g, v) for g, v in zip(gradients, along) if g.requires_grad]
        if not pairs:
            return np.zeros(len(self.block))
        outputs, weights = zip(*pairs)
        parts = torch.autograd.grad(
            outputs, self.block.parameters, weights, retain_graph=True, materialize_grads=True
        )
        return self.block.gather(parts)


def curvature(
    model: torch.nn.Module,
    predict: Callable,
    batches: list[Batch],
    actions: dict[str, Action],
    output: Action,
    rotations: torch.Tensor,
    block: Block | str,
    group_order: int | None = None,
    **options,
) -> dict[str, Spectrum]:
    """Spectra of the Hessians of P̂ (``twirled``) and Ê (``equivariance``) over a block, on the same items
    and rotations.

    P̂ subtracts Ê, so that its Hessian carries Monte Carlo noise of the size of Ê's curvature over √(items ×
    rotations), which can exceed all else and give negative eigenvalues that P does not have. With a whole
    group (the 24 rotations of the cube) both terms are exact for that group, and for SO(3) where the
    prediction is linear in vectors, as EScAIP's head is. Over that head, `force.weight`, the two Hessians
    then have the same non-zero eigenvalues, those of Ê twice: rows can be equal in one way and differ in two,
    and E[R_ka R_kb] weighs both alike.

    Parameters and errors are those of ``Hessians``; options those of ``spectrum``.
    """
    block = Block(model, block) if isinstance(block, str) else block
    hessians = Hessians(model, predict, batches, actions, output, rotations, block, group_order)
    return {
        term: spectrum(lambda v, term=term: hessians.product(term, v), len(block), **options)
        for term in TERMS
    }
