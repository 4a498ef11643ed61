"""Curvature of the two terms of the loss over a block of parameters: Hessian products by differentiating twice, spectra by eigh, eigsh and Lanczos.

Estimators, models and arguments are those of ``dynamics``; parameters and inputs are float64 here.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch.nn.attention import SDPBackend, sdpa_kernel

from equidyn.actions import Action
from equidyn.dynamics import TERMS, sums_of_terms
from equidyn.measure import Batch, chunks

DENSE = 2000  # blocks up to this many parameters get their whole Hessian


class Block:
    """Some of a model's parameters as one flat vector.

    Parameters
    ----------
    pattern : a name in ``named_parameters`` or a regular expression that matches whole names; a trailing ``[i]`` keeps entry i of the first
        axis only (``out.weight[1]``: the kernel of one output channel)

    Raises
    ------
    KeyError
        nothing matches
    """

    def __init__(self, model: torch.nn.Module, pattern: str):
        names, cut = dict(model.named_parameters()), re.fullmatch(r"(.*)\[(\d+)\]", pattern)
        expression, entry = (cut[1], int(cut[2])) if cut and pattern not in names else (pattern, None)
        chosen = {name: p for name, p in names.items() if name == expression or re.fullmatch(expression, name)}
        if not chosen or (entry is not None and any(entry >= len(p) for p in chosen.values())):
            raise KeyError(f"block {pattern!r} matches no parameter, expected a name such as {', '.join(list(names)[-3:])}")
        self.names, self.parameters = list(chosen), list(chosen.values())
        keep = [torch.full(p.shape, entry is None) for p in self.parameters]
        if entry is not None:
            for k in keep:
                k[entry] = True
        self.index = torch.cat([k.reshape(-1) for k in keep]).nonzero().squeeze(1)
        self.sizes = [p.numel() for p in self.parameters]

    def __len__(self) -> int:
        return len(self.index)

    def gather(self, tensors) -> np.ndarray:
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

    The graph of the two gradients is built once for all batches and rotations and used for every product, so that what lies before the
    block is computed once. Memory: that graph, small where the block is the last layer.

    Raises
    ------
    RuntimeError
        a module in train mode
    ValueError
        parameters of the block that are not float64 or that no prediction depends on; numbers of rotations that do not match the items
    """

    def __init__(self, model, predict, batches, actions, output, rotations, block: Block, group_order=None):
        if any(p.dtype != torch.float64 for p in block.parameters):
            raise ValueError(f"curvature: {block.names[0]} is {block.parameters[0].dtype}, expected float64; call model.double() and cast the batches")
        self.block, self.gradients, self.count = block, {term: [] for term in TERMS}, 0.0
        flags = [(p, p.requires_grad) for p in model.parameters()]
        try:
            for p, _ in flags:
                p.requires_grad_(any(p is q for q in block.parameters))
            # the fused attention kernels have no second derivative
            with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
                for batch, chunk in chunks(batches, rotations):
                    *found, count = sums_of_terms(model, predict, batch, actions, output, chunk, group_order)
                    self.count += count.item()
                    if not found[0].requires_grad:
                        raise ValueError(f"curvature: the predictions do not depend on {', '.join(block.names)}, expected parameters that they depend on")
                    for term, value in zip(TERMS, found):
                        self.gradients[term].append(torch.autograd.grad(value, block.parameters, create_graph=True, materialize_grads=True))
        finally:
            for p, flag in flags:
                p.requires_grad_(flag)

    def product(self, term: str, vector: np.ndarray) -> np.ndarray:
        """H v: [n]."""
        along, result = self.block.scatter(vector), 0.0
        for found in self.gradients[term]:
            pairs = [(g, v) for g, v in zip(found, along) if g.requires_grad]
            if pairs:
                outputs, weights = zip(*pairs)
                result = result + self.block.gather(torch.autograd.grad(outputs, self.block.parameters, weights, retain_graph=True, materialize_grads=True))
        return result / self.count + np.zeros(len(self.block))


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of a Hessian.

    ``smallest_positive`` is the smallest eigenvalue above ``threshold`` (absolute), ``condition_number`` largest / smallest_positive,
    ``most_negative`` the lowest eigenvalue (not negative where there is no negative curvature). ``trace`` ± ``trace_error`` is exact where
    dense, Hutchinson's otherwise. ``residual`` is the largest ‖Hv − λv‖ of the three reported pairs over the largest eigenvalue: an
    eigenvalue lies that close to each. With ``lanczos`` smallest_positive is the smallest Ritz value above the threshold, so that the condition
    number grows with the number of steps and is a lower bound unless the residual is well below the threshold.
    ``vectors`` [n, 2] belong to largest and smallest_positive; ``eigenvalues`` [n], ascending, where dense.

    Where eigenvalues fall off without a gap, smallest_positive sits just above any threshold and the condition number is about its inverse,
    whatever the landscape. ``n_above``, how many lie above the threshold (nan with lanczos), and ``effective_rank``, trace / largest, tell.
    """

    largest: float
    smallest_positive: float
    most_negative: float
    condition_number: float
    threshold: float
    trace: float
    trace_error: float
    effective_rank: float
    n_above: float
    n_parameters: int
    n_products: int
    method: str
    residual: float
    vectors: np.ndarray
    eigenvalues: np.ndarray | None


def curvature(
    model: torch.nn.Module, predict: Callable, batches: list[Batch], actions: dict[str, Action], output: Action, rotations: torch.Tensor, block: Block | str,
    group_order: int | None = None, **options,
) -> dict[str, Spectrum]:  # fmt: skip
    """Spectra of the Hessians of P̂ (``twirled``) and Ê (``equivariance``) over a block, on the same items and rotations.

    P̂ subtracts Ê, so that its Hessian carries Monte Carlo noise of the size of Ê's curvature over √(items × rotations), which can exceed all else
    and give negative eigenvalues that P does not have. With a whole group (the 24 rotations of the cube) both terms are exact for that group,
    and for SO(3) where the prediction is linear in vectors, as EScAIP's head is. Over that head, `force.weight`, the two Hessians then have the
    same non-zero eigenvalues, those of Ê twice: rows can be equal in one way and differ in two, and E[R_ka R_kb] weighs both alike.

    Parameters and errors are those of ``Hessians``; options those of ``spectrum``.
    """
    block = Block(model, block) if isinstance(block, str) else block
    hessians = Hessians(model, predict, batches, actions, output, rotations, block, group_order)
    return {term: spectrum(lambda v, term=term: hessians.product(term, v), len(block), **options) for term in TERMS}


def spectrum(
    product: Callable[[np.ndarray], np.ndarray], n: int, dense: int = DENSE, threshold: float = 1e-6, steps: int = 120, probes: int = 30, tol: float = 1e-8, seed: int = 0
) -> Spectrum:
    """Spectrum of a symmetric matrix known by its products with vectors.

    Parameters
    ----------
    product : [n] → [n];  n : its size;  dense : up to this size all columns are made
    threshold : eigenvalues below threshold × largest count as zero
    steps : Lanczos steps for the smallest positive eigenvalue;  probes : Rademacher vectors for the trace
    tol : of eigsh, relative to the largest eigenvalue;  seed : of start vector and probes
    """
    counted, rng = [0], np.random.default_rng(seed)

    def times(v):
        counted[0] += 1
        return product(np.asarray(v, dtype=np.float64).reshape(-1))

    if n <= dense or n < 4:
        matrix = np.stack([times(row) for row in np.eye(n)])
        values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
        trace, error, method = float(np.trace(matrix)), 0.0, "dense"
        pairs = [(values[i], vectors[:, i]) for i in (n - 1, _smallest_above(values, threshold * values[-1]), 0)]
    else:
        start, values, method = rng.normal(size=n), None, "lanczos"
        largest = _extreme(times, n, start, tol)
        # shifted, because eigsh's tolerance is relative to the eigenvalue and the lowest is often almost zero
        lowest, lowest_vector = _extreme(lambda v: v * largest[0] - times(v), n, start, tol)
        ritz, basis = _lanczos(times, start, min(n, steps))
        i = _smallest_above(ritz[0], threshold * largest[0])
        pairs = [largest, (ritz[0][i], basis @ ritz[1][:, i]), (largest[0] - lowest, lowest_vector)]
        draws = rng.choice((-1.0, 1.0), size=(probes, n))
        draws -= np.outer(draws @ largest[1], largest[1])  # the largest eigenvalue is known: leaving it to chance would be most of the variance
        samples = [z @ times(z) for z in draws]
        trace, error = float(largest[0] + np.mean(samples)), float(np.std(samples, ddof=1) / math.sqrt(probes))
    residual = max(float(np.linalg.norm(times(v) - value * v)) for value, v in pairs)
    top, small, low = (float(value) for value, _ in pairs)
    positive = top > 0
    return Spectrum(
        largest=top, smallest_positive=small if positive else float("nan"), most_negative=low, condition_number=top / small if positive else float("nan"),
        threshold=threshold * top, trace=trace, trace_error=error,
        effective_rank=trace / top if positive else float("nan"), n_above=float((values > threshold * top).sum()) if values is not None else float("nan"), n_parameters=n,
        n_products=counted[0], method=method, residual=residual / abs(top) if top else residual, vectors=np.stack([pairs[0][1], pairs[1][1]], 1), eigenvalues=values,
    )  # fmt: skip


def _smallest_above(values: np.ndarray, threshold: float) -> int:
    """Index of the smallest entry above the threshold; of the largest where there is none."""
    above = np.flatnonzero(values > max(threshold, 0.0))
    return int(above[np.argmin(values[above])]) if len(above) else int(np.argmax(values))


def _extreme(times, n, start, tol):
    """Largest eigenvalue and its vector; what has been found so far where eigsh does not converge (the residual tells)."""
    try:
        values, vectors = eigsh(LinearOperator((n, n), matvec=times, dtype=np.float64), k=1, which="LA", v0=start, tol=tol, maxiter=100)
    except ArpackNoConvergence:
        (values, vectors), basis = _lanczos(times, start, min(n, 200))
        return values[-1], basis @ vectors[:, -1]
    return values[0], vectors[:, 0]


def _lanczos(times, start, steps):
    """Ritz values (ascending) and vectors in the Lanczos basis, and that basis [n, m ≤ steps]; fully reorthogonalised."""
    basis, alpha, beta = [start / np.linalg.norm(start)], [], []
    while True:
        w = times(basis[-1])
        alpha.append(basis[-1] @ w)
        q = np.stack(basis, 1)
        for _ in range(2):  # twice is enough
            w = w - q @ (q.T @ w)
        norm = np.linalg.norm(w)
        if len(alpha) == steps or norm <= 1e-12 * np.abs(alpha).max():
            return eigh_tridiagonal(np.array(alpha), np.array(beta)), q
        beta.append(norm)
        basis.append(w / norm)
