"""What a model must have to be trained and measured, by task; what is missing is said beforehand."""

import inspect
from typing import Protocol

import torch

from equidyn.errors import ConfigError

CONTROL = "equivariant_control"


class Model(Protocol):
    """A network of any task: a ``torch.nn.Module`` whose ``forward`` takes what the task hands it by name.

    One that is exactly equivariant by construction may say so, ``equivariant = True``: it is its own control,
    and its floor is its rounding error.
    """

    def equivariant_control(self) -> torch.nn.Module:
        """An exactly equivariant network of the same cost: what it measures is the numerical floor."""


class ForcesModel(Model, Protocol):
    """Positions and numbers to energies and forces."""

    cutoff: float  # Å, of the neighbour lists that it is handed
    n_neighbours: int  # at most, per atom

    def forward(
        self,
        numbers: torch.Tensor,
        positions: torch.Tensor,
        mask: torch.Tensor,
        neighbours: torch.Tensor,
        neighbour_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Energy [b] and forces [b, a, 3], both in training units: the task multiplies forces by their r.m.s.
        over the training set, energies by the spread of what is left of them without the elements' own.

        numbers [b, a], positions [b, a, 3] Å, mask [b, a] bool; neighbours [b, a, m], indices into the a
        atoms of the same item, also where their mask [b, a, m] is false. ``geometry.neighbours.flatten``
        makes flat atoms, directions and distances of them.
        """


class VoxelsModel(Model, Protocol):
    """Noisy grids to clean ones."""

    def forward(self, noisy: torch.Tensor) -> torch.Tensor:
        """Grids [b, n_channels, g, g, g] to grids of the same shape."""


class FlowModel(Model, Protocol):
    """Noised chains to velocities."""

    def forward(
        self,
        x_t: torch.Tensor,
        t: torch.Tensor,
        mask: torch.Tensor,
        index: torch.Tensor,
        breaks: torch.Tensor,
        x_sc: torch.Tensor,
    ) -> torch.Tensor:
        """Velocity [b, n, 3] nm from x_t [b, n, 3] nm at times t [b], mask [b, n] bool, residue numbers index
        [b, n], breaks [b, n], and an earlier estimate x_sc [b, n, 3] nm, zeros where there is none.
        """


PROTOCOLS = {"forces": ForcesModel, "voxels": VoxelsModel, "flow": FlowModel}


def check(model: torch.nn.Module, task: str, where: str) -> None:
    """That a model has what its task asks for.

    Parameters
    ----------
    where : what messages call it

    Raises
    ------
    ConfigError
        an attribute, a method or an argument of ``forward`` that is missing
    """
    protocol = PROTOCOLS.get(task, Model)  # of a task outside the package no more is known
    wanted = [
        name for name in (*getattr(protocol, "__annotations__", {}), CONTROL) if not hasattr(model, name)
    ]
    if wanted:
        raise ConfigError(
            f"{where}: no {', '.join(wanted)}, expected for the task {task} (equidyn/models/protocol.py)"
        )
    if protocol is Model:
        return
    arguments = [name for name in inspect.signature(protocol.forward).parameters if name != "self"]
    found = inspect.signature(model.forward).parameters
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in found.values()):
        return
    if missing := [name for name in arguments if name not in found]:
        raise ConfigError(
            f"{where}: forward takes {', '.join(found)}, without {', '.join(missing)}; expected "
            f"{', '.join(arguments)} for the task {task} (equidyn/models/protocol.py)"
        )
