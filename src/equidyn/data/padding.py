"""From the flat rows of a dataset file to padded items: the one place where that is done."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch


class Ragged:
    """Rows of many items as a dataset file has them, padded when some are asked for, so that a million items
    take the memory of their rows. Values may lie on a device, offsets are on the host.

    ``ragged[items]`` is [n_items, longest of these, ...], zero where padded; ``ragged[item]`` the rows of
    one.

    Examples
    --------
    >>> values = Ragged(np.array([1, 2, 3]), np.array([0, 1, 3]))
    >>> values[torch.tensor([1, 0])], values[1]
    (tensor([[2, 3],
            [1, 0]]), tensor([2, 3]))
    """

    def __init__(self, values: np.ndarray | torch.Tensor, offsets: np.ndarray | torch.Tensor):
        self.values, self.offsets = torch.as_tensor(values), torch.as_tensor(offsets).long()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, items: int | torch.Tensor) -> torch.Tensor:
        items = torch.as_tensor(items)
        if items.ndim == 0:
            return self.values[self.offsets[items] : self.offsets[items + 1]]
        return self.take(*self.places(items))

    def places(self, items: torch.Tensor, multiple: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
        """Rows of some items [n_items, longest], and which of them are there, on the host; the longest is
        rounded up to a multiple of ``multiple``.
        """
        start, end = self.offsets[items], self.offsets[items + 1]
        longest = -(-int((end - start).max()) // multiple) * multiple
        place = torch.arange(longest)[None]  # (1, longest)
        there = place < (end - start)[:, None]  # (n_items, longest)
        return torch.where(there, start[:, None] + place, 0), there

    def take(self, places: torch.Tensor, there: torch.Tensor) -> torch.Tensor:
        """The values at ``places``, zero where nothing is: [n_items, longest, ...], where the values lie."""
        places, there = places.to(self.values.device), there.to(self.values.device)
        found = self.values[places]
        return torch.where(there.reshape(*there.shape, *[1] * (found.ndim - 2)), found, found.new_zeros(()))

    def to(self, device: torch.device | str) -> "Ragged":
        """The same with its values on a device; offsets stay on the host."""
        return type(self)(self.values.to(device), self.offsets)

    def rows(self, items: torch.Tensor) -> slice:
        """The rows of items that follow each other."""
        return slice(int(self.offsets[items[0]]), int(self.offsets[items[-1] + 1]))

    @classmethod
    def mask(cls, offsets: np.ndarray) -> "Ragged":
        """Which rows are there: True, and False where padded."""
        return cls(torch.ones(int(offsets[-1]), dtype=torch.bool), offsets)


SHARE = 0.5  # of a GPU's free memory that datasets may take


def have_room(device: torch.device | str, arrays: Iterable[Ragged]) -> bool:
    """Whether the arrays have room on a device: on a GPU in half of what is free there."""
    if torch.device(device).type != "cuda":
        return True
    free, _ = torch.cuda.mem_get_info(device)
    return sum(ragged.values.nbytes for ragged in arrays) <= SHARE * free


def looked_up(
    arrays: Mapping[str, Ragged], items: torch.Tensor, device: torch.device | str, multiple: int = 1
) -> dict[str, torch.Tensor]:
    """What ``gathered`` needs of some items, on the host: where their rows are, and the rows themselves of
    arrays that are not on the device.
    """
    places, there = next(iter(arrays.values())).places(items, multiple)
    away = {k: v for k, v in arrays.items() if v.values.device.type != torch.device(device).type}
    return dict(places=places, mask=there) | {k: v.take(places, there) for k, v in away.items()}


def gathered(arrays: Mapping[str, Ragged], found: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The arrays of the items by name, [n_items, longest, ...], and their ``mask``, on the device that
    ``found`` of ``looked_up`` has been brought to.
    """
    places, there = found["places"], found["mask"]
    return dict(mask=there) | {
        k: found[k] if k in found else v.take(places, there) for k, v in arrays.items()
    }
