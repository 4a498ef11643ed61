"""From the flat rows of a dataset file to padded items: the one place where that is done."""

import numpy as np
import torch


class Ragged:
    """Rows of many items as a dataset file has them, padded when some are asked for, so that a million items
    take the memory of their rows.

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
        start, end = self.offsets[items], self.offsets[items + 1]
        if items.ndim == 0:
            return self.values[start:end]
        place = torch.arange(int((end - start).max()))[None]  # (1, longest)
        mask = place < (end - start)[:, None]  # (n_items, longest)
        found = self.values[torch.where(mask, start[:, None] + place, 0)]
        return torch.where(mask.reshape(*mask.shape, *[1] * (found.ndim - 2)), found, found.new_zeros(()))

    def rows(self, items: torch.Tensor) -> slice:
        """The rows of items that follow each other."""
        return slice(int(self.offsets[items[0]]), int(self.offsets[items[-1] + 1]))

    def double(self) -> "Ragged":
        """The same in float64."""
        return Ragged(self.values.double(), self.offsets)

    @classmethod
    def mask(cls, offsets: np.ndarray) -> "Ragged":
        """Which rows are there: True, and False where padded."""
        return cls(torch.ones(int(offsets[-1]), dtype=torch.bool), offsets)


def padding_mask(offsets: np.ndarray) -> torch.Tensor:
    """Which rows of padded items are there: bool [n_items, longest], from offsets [n_items + 1]."""
    lengths = np.diff(offsets)
    return torch.from_numpy(np.arange(lengths.max())[None, :] < lengths[:, None])


def padded(values: np.ndarray, mask: torch.Tensor) -> torch.Tensor:
    """Flat rows [n_rows, ...] as items [n_items, longest, ...], zero where ``mask`` is false.

    Examples
    --------
    >>> padded(np.array([1, 2, 3]), padding_mask(np.array([0, 1, 3])))
    tensor([[1, 0],
            [2, 3]])
    """
    values = torch.from_numpy(values)
    items = torch.zeros(*mask.shape, *values.shape[1:], dtype=values.dtype)
    items[mask] = values
    return items
