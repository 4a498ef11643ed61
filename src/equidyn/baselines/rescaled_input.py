"""The input times a number: equivariant for inputs that turn like the output, and all it knows is a scale."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from equidyn.errors import ArgumentError

DIGITS = 6  # of the value that a factor depends on: a time in float32 is that time


@dataclass(frozen=True)
class RescaledInput:
    """``factor`` × the input ``name``; with ``by``, a scalar input, the factor is a function of its value.

    The best factor is E[x · y] / E[x · x] over training items x with targets y; whoever makes this has it.

    Examples
    --------
    >>> half = RescaledInput("x", 0.5)
    >>> half.predict(dict(x=torch.tensor([[2.0, 4.0]])))
    tensor([[1., 2.]])
    """

    name: str
    factor: float | Callable[[float], float]
    by: str = ""

    def predict(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Like the input [b, ...], in its dtype.

        Raises
        ------
        ArgumentError
            an input that is not there
        """
        if missing := [name for name in (self.name, self.by) if name and name not in inputs]:
            raise ArgumentError(f"RescaledInput: inputs {sorted(inputs)}, expected {missing} among them")
        x = inputs[self.name]
        if not self.by:
            return self.factor * x
        values = [round(value, DIGITS) for value in inputs[self.by].tolist()]  # [b]
        factors = {value: self.factor(value) for value in set(values)}
        scale = torch.tensor([factors[value] for value in values], dtype=torch.float64)
        return (scale.to(x).reshape(-1, *[1] * (x.ndim - 1))) * x
