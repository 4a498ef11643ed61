"""Optimizers of a run: AdamW, AdamW without eps, SGD with momentum, Muon on matrices with AdamW on
the rest.
"""

import math

import torch

from equidyn import defaults

COORDINATES = 3


class Together:
    """Optimizers of disjoint parameters that act as one."""

    def __init__(self, *parts: torch.optim.Optimizer):
        self.parts = parts

    @property
    def param_groups(self) -> list[dict]:
        return [group for part in self.parts for group in part.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        for part in self.parts:
            part.zero_grad(set_to_none)

    def step(self) -> None:
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict:
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state: dict) -> None:
        for part, saved in zip(self.parts, state["parts"]):
            part.load_state_dict(saved)


class AdamWithoutEps(torch.optim.Optimizer):
    """AdamW with eps = 0, as in the published voxel runs: entries whose second moment is zero, underflow
    included, are left alone.
    """

    def __init__(self, parameters, lr: float, betas: tuple[float, float]):
        super().__init__(parameters, dict(lr=lr, betas=betas, weight_decay=0.0))

    @torch.no_grad()
    def step(self) -> None:
        """One update from the gradients of the parameters."""
        for group in self.param_groups:
            found = [p for p in group["params"] if p.grad is not None]
            if not found:
                continue
            beta1, beta2 = group["betas"]
            for p in found:
                if not self.state[p]:
                    empty = dict(exp_avg=torch.zeros_like(p), exp_avg_sq=torch.zeros_like(p))
                    self.state[p].update(step=0, **empty)
                self.state[p]["step"] += 1
            gradients, states = [p.grad for p in found], [self.state[p] for p in found]
            means, squares = ([s[name] for s in states] for name in ("exp_avg", "exp_avg_sq"))
            torch._foreach_lerp_(means, gradients, 1 - beta1)
            torch._foreach_mul_(squares, beta2)
            torch._foreach_addcmul_(squares, gradients, gradients, value=1 - beta2)
            updates = torch._foreach_rsqrt(squares)  # infinite where the square is zero, and nothing is moved
            torch._foreach_clamp_max_(updates, torch.finfo(torch.float32).max)
            torch._foreach_mul_(updates, torch._foreach_sign(squares))
            torch._foreach_mul_(updates, means)
            torch._foreach_mul_(found, 1 - group["lr"] * group["weight_decay"])
            steps = {s["step"] for s in states}
            for step in steps:  # one, but for parameters that had no gradient at first
                scale = math.sqrt(1 - beta2**step) / (1 - beta1**step)
                those = [k for k, s in enumerate(states) if s["step"] == step]
                moved = [found[k] for k in those], [updates[k] for k in those]
                torch._foreach_add_(*moved, alpha=-group["lr"] * scale)


def optimizer_for(model: torch.nn.Module, settings: dict) -> torch.optim.Optimizer | Together:
    """AdamW (``AdamWithoutEps`` where eps is 0) without decay on vectors and embeddings, SGD with momentum
    0.9, or Muon on the matrices between features with AdamW on all else.

    Muon's updates are scaled to AdamW's r.m.s., so that one learning rate serves both. As its author advises
    (Jordan 2024) it leaves embeddings, inputs and heads alone: matrices that lead from or to at most three
    coordinates, and those that no linear layer holds. It would make the rows of a head orthogonal to each
    other, where a symmetric head has them alike.
    """
    plain = {id(p) for m in model.modules() if isinstance(m, torch.nn.Embedding) for p in m.parameters()}
    decay = [p for p in model.parameters() if p.ndim > 1 and id(p) not in plain]
    rest = [p for p in model.parameters() if p.ndim <= 1 or id(p) in plain]
    matrices = _between_features(model) if settings["optimizer"] == "muon" else []
    decay = [p for p in decay if all(p is not matrix for matrix in matrices)]
    parameters = [
        dict(params=decay, weight_decay=settings["weight_decay"]),
        dict(params=rest, weight_decay=0.0),
    ]
    if settings["optimizer"] == "sgd":
        return torch.optim.SGD(parameters, lr=settings["lr"], momentum=0.9)
    betas, eps = tuple(settings.get("betas", defaults.BETAS)), settings.get("eps", defaults.EPS)
    adamw = (
        torch.optim.AdamW(parameters, lr=settings["lr"], betas=betas, eps=eps, fused=True)
        if eps > 0
        else AdamWithoutEps(parameters, settings["lr"], betas)
    )
    if not matrices:
        return adamw
    return Together(
        torch.optim.Muon(
            matrices, lr=settings["lr"], weight_decay=settings["weight_decay"], adjust_lr_fn="match_rms_adamw"
        ),
        adamw,
    )


def _between_features(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Weights of linear layers from more than three numbers to more than three."""
    linear = [module.weight for module in model.modules() if isinstance(module, torch.nn.Linear)]
    return [weight for weight in linear if min(weight.shape) > COORDINATES]
