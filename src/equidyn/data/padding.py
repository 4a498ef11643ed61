"""From the flat rows of a dataset file to padded items: the one place where that is done."""

import numpy as np
import torch


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
