"""How the two terms of the loss train: their gradients, their curvature over a block of parameters, and their landscapes.

All of it is for squared loss and uses the unbiased estimators P̂ and Ê of ``decomposition`` on fixed items and fixed rotations, the
same for both terms. Models are in eval mode and called as ``predict(model, inputs)``; whatever their dtype, predictions are turned
back and summed in float64. Batches, actions and rotations are those of ``measure``.

With n twisted predictions f_r of an item, c = 1 or (|G| − 1)/|G|, the derivative of f̄ drops out because Σ_r (f_r − f̄) = 0:

    ∇Ê = 2c/(n − 1) Σ_r ⟨f_r − f̄, ∇f_r⟩,     ∇L̂ = 2/n Σ_r ⟨f_r − y, ∇f_r⟩,     ∇P̂ = ∇L̂ − ∇Ê
"""

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.linalg import eigh_tridiagonal
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh
from torch.nn.attention import SDPBackend, sdpa_kernel

from equidyn.actions import Action
from equidyn.decomposition import Decomposition, ItemSums, _weight, accumulate, summarise
from equidyn.measure import Batch, rotate, twisted_predictions

TERMS = ("twirled", "equivariance")
DENSE = 2000  # blocks up to this many parameters get their whole Hessian


def cast(batch: Batch, dtype: torch.dtype = torch.float64) -> Batch:
    """The batch with its floating-point inputs and target in ``dtype``; integers and masks stay."""
    inputs = {name: x.to(dtype) if x.is_floating_point() else x for name, x in batch.inputs.items()}
    return replace(batch, inputs=inputs, target=batch.target.to(dtype))


def terms(
    model: torch.nn.Module, predict: Callable, batch: Batch, actions: dict[str, Action], output: Action, rotations: torch.Tensor, group_order: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(P̂, Ê) of one batch as differentiable float64 scalars, means over its valid elements.

    Holds the graph of all rotations at once: for small batches, and for second derivatives.

    Parameters
    ----------
    rotations : [n_rotations ≥ 2, n_items, 3, 3];  others as in ``measure``

    Raises
    ------
    RuntimeError
        a module in train mode
    ValueError
        fewer than two rotations
    """
    twirled, equivariance, count = _sums(model, predict, batch, actions, output, rotations, group_order)
    return twirled / count, equivariance / count


@dataclass(frozen=True)
class Gradients:
    """Norms over all parameters of ∇Ê and ∇P̂, their ratio Ê : P̂ and cosine; ``percent`` is that of the same items and rotations."""

    norm_equivariance: float
    norm_twirled: float
    ratio: float
    cosine: float
    percent: float
    n_items: int
    n_rotations: int


def gradients(
    model: torch.nn.Module, predict: Callable, batches: list[Batch], actions: dict[str, Action], output: Action, rotations: torch.Tensor, group_order: int | None = None
) -> Gradients:
    """Compare the gradients of the two terms; parameters and errors as in ``gradient_vectors``."""
    twirled, equivariance, measured = gradient_vectors(model, predict, batches, actions, output, rotations, group_order)
    p, e = twirled.norm().item(), equivariance.norm().item()
    cosine = (twirled @ equivariance).item() / (p * e) if p * e > 0 else float("nan")
    return Gradients(e, p, e / p if p > 0 else float("nan"), cosine, measured.percent, measured.n_items, measured.n_rotations)


def gradient_vectors(
    model: torch.nn.Module, predict: Callable, batches: list[Batch], actions: dict[str, Action], output: Action, rotations: torch.Tensor, group_order: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, Decomposition]:
    """∇P̂ and ∇Ê over all parameters, flat float64 [n_parameters], and the decomposition of the same items and rotations.

    Two passes over the rotations of a batch. The first has no graph and leaves f̄; the second backpropagates the two linear functionals
    of the module docstring, one rotation at a time. Memory is that of one prediction with its graph, whatever the number of rotations;
    the cost is 2 n forward and 2 n backward passes. Parameters that do not reach the prediction have gradient zero.

    Parameters
    ----------
    rotations : [n_rotations ≥ 2, n_items of all batches, 3, 3];  others as in ``measure``

    Raises
    ------
    RuntimeError
        a module in train mode
    ValueError
        numbers of rotations that do not match the items, fewer than two rotations
    """
    _check_eval(model)
    parameters = list(model.parameters())
    total, equivariance = (torch.zeros(sum(p.numel() for p in parameters), dtype=torch.float64, device=parameters[0].device) for _ in range(2))
    parts, factor, n = [], _factor(group_order), len(rotations)
    for batch, chunk in _chunks(batches, rotations):
        weight = _weight(batch.mask, batch.target) > 0
        target = batch.target.to(torch.float64)
        mean = torch.zeros_like(target)

        def first_pass(batch=batch, chunk=chunk, mean=mean):
            for prediction in twisted_predictions(lambda inputs: predict(model, inputs), batch, actions, output, chunk):
                mean.add_(prediction / n)
                yield prediction

        with torch.no_grad():
            parts.append(accumulate(first_pass(), batch.target, batch.mask, group_order))
        for rotation in chunk:
            with torch.enable_grad():
                twisted = output.inverse(rotation, predict(model, rotate(batch.inputs, actions, rotation)).to(torch.float64))
            for sum_, centre, scale in ((equivariance, mean, 2 * factor / (n - 1)), (total, target, 2 / n)):
                functional = torch.where(weight, scale * (twisted.detach() - centre), 0.0)
                found = torch.autograd.grad(twisted, parameters, functional, retain_graph=True, materialize_grads=True)
                sum_ += torch.cat([g.reshape(-1).to(torch.float64) for g in found])
            del twisted, found
    sums = ItemSums.join(parts)
    count = sums.count.sum()
    return (total - equivariance) / count, equivariance / count, summarise(sums, torch.cat([b.clusters for b in batches]))


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
                for batch, chunk in _chunks(batches, rotations):
                    *sums, count = _sums(model, predict, batch, actions, output, chunk, group_order)
                    self.count += count.item()
                    if not sums[0].requires_grad:
                        raise ValueError(f"curvature: the predictions do not depend on {', '.join(block.names)}, expected parameters that they depend on")
                    for term, value in zip(TERMS, sums):
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


@dataclass(frozen=True)
class Landscape:
    """P̂ and Ê at the weights + a u + b v, [len(a), len(b)]; ``fresh``: with new rotations, and dropout if asked for, at each point."""

    a: np.ndarray
    b: np.ndarray
    twirled: np.ndarray
    equivariance: np.ndarray
    twirled_fresh: np.ndarray | None = None
    equivariance_fresh: np.ndarray | None = None


@torch.no_grad()
def landscape(
    model: torch.nn.Module, predict: Callable, batches: list[Batch], actions: dict[str, Action], output: Action, rotations: torch.Tensor, block: Block | str,
    directions: np.ndarray, span: float, n: int, group_order: int | None = None, fresh: Callable[[int], torch.Tensor] | None = None, dropout: float = 0.0,
) -> Landscape:  # fmt: skip
    """Both terms on a grid around the weights, with common random numbers: same items, noise and rotations at every point.

    So it is deterministic, and its centre is what ``measure`` gives. Drawing anew at each point writes evaluation noise into the picture instead.
    Where predictions are affine in the block (any last linear layer) both terms are exact quadratics there, and all scatter is noise.

    Parameters
    ----------
    directions : [2, n_parameters of the block], used as they are;  span : the grid reaches ± span times them;  n : points per axis, odd
    group_order : of ``rotations`` and of ``fresh``, as in ``measure``
    fresh : rotations of point k, for the grid with fresh draws; None leaves that grid out
    dropout : probability that the model's dropout layers have on that grid, drawn anew at each point

    Raises
    ------
    RuntimeError
        a module in train mode
    ValueError
        an even number of points, directions of another size than the block
    """
    _check_eval(model)
    block = Block(model, block) if isinstance(block, str) else block
    directions = np.asarray(directions, dtype=np.float64)
    if n < 3 or n % 2 == 0:
        raise ValueError(f"landscape: n = {n}, expected an odd number of points per axis, at least 3")
    if directions.shape != (2, len(block)):
        raise ValueError(f"landscape: directions have shape {list(directions.shape)}, expected [2, {len(block)}]")
    axis = span * np.arange(-(n // 2), n // 2 + 1) / (n // 2)
    saved = [p.detach().clone() for p in block.parameters]
    dropouts = {m: m.p for m in model.modules() if isinstance(m, torch.nn.modules.dropout._DropoutNd)} if dropout > 0 else {}
    values = np.full((4, n, n), np.nan)

    def evaluate(drawn):
        parts = []
        for batch, chunk in _chunks(batches, drawn):
            twisted = twisted_predictions(lambda inputs: predict(model, inputs), batch, actions, output, chunk)
            parts.append(accumulate(twisted, batch.target, batch.mask, group_order))
        result = summarise(ItemSums.join(parts))
        return result.twirled, result.equivariance

    try:
        for k, (i, j) in enumerate(np.ndindex(n, n)):
            for p, old, step in zip(block.parameters, saved, block.scatter(axis[i] * directions[0] + axis[j] * directions[1])):
                p.copy_(old + step)
            values[:2, i, j] = evaluate(rotations)
            if fresh is not None:
                with torch.random.fork_rng(devices=[]):
                    torch.manual_seed(k)
                    for module in dropouts:
                        module.p = dropout
                        module.train()
                    values[2:, i, j] = evaluate(fresh(k))
                    for module in dropouts:
                        module.eval()
    finally:
        for p, old in zip(block.parameters, saved):
            p.copy_(old)
        for module, probability in dropouts.items():
            module.p = probability
            module.eval()
    return Landscape(axis, axis, *values[:2], *(values[2:] if fresh is not None else ()))


def _sums(model, predict, batch, actions, output, rotations, group_order):
    """Σ P̂, Σ Ê over the valid elements of a batch, differentiable, and their number."""
    _check_eval(model)
    n = len(rotations)
    if n < 2:
        raise ValueError(f"dynamics: {n} rotation(s), expected at least 2")
    weight = _weight(batch.mask, batch.target) > 0
    twisted = torch.stack(list(twisted_predictions(lambda inputs: predict(model, inputs), batch, actions, output, rotations)))  # (n, n_items, …)
    error = torch.where(weight, twisted - batch.target.to(torch.float64), 0.0)
    equivariance = _factor(group_order) * (error - error.mean(0)).square().sum() / (n - 1)  # the target drops out of f_r − f̄
    return error.square().sum() / n - equivariance, equivariance, weight.sum()


def _factor(group_order: int | None) -> float:
    return 1.0 if group_order is None else (group_order - 1) / group_order


def _chunks(batches: list[Batch], rotations: torch.Tensor) -> Iterator[tuple[Batch, torch.Tensor]]:
    """Batches with their part of rotations [n_rotations, n_items of all batches, 3, 3]."""
    n_items = sum(len(batch) for batch in batches)
    if n_items != rotations.shape[1]:
        raise ValueError(f"dynamics: rotations for {rotations.shape[1]} items, but the batches hold {n_items}")
    yield from zip(batches, rotations.split([len(batch) for batch in batches], 1))


def _check_eval(model: torch.nn.Module) -> None:
    training = [name or type(model).__name__ for name, module in model.named_modules() if module.training]
    if training:
        raise RuntimeError(f"dynamics: module {training[0]!r} is in train mode; call model.eval() first")


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
