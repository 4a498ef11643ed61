"""Which items of a dataset a run trains on and is measured on: the same for every task."""

import numpy as np

from equidyn import seeds
from equidyn.errors import DataError


def training_items(arrays: dict[str, np.ndarray], path: str, n_train: int | None = None) -> np.ndarray:
    """Indices of the training items, in order; with ``n_train``, of so many drawn at random (files often hold
    one molecule after the other).

    Raises
    ------
    DataError
        fewer training items than asked for
    """
    items = np.flatnonzero(arrays["split"] == 0)
    if n_train is None:
        return items
    if n_train > len(items):
        raise DataError(f"{path}: n_train = {n_train}, but only {len(items)} training items")
    return subset(items, n_train)


def subset(items: np.ndarray, n: int) -> np.ndarray:
    """n of the items (all, if there are fewer), drawn at random with a fixed seed, in order; a smaller subset
    is part of a larger one.
    """
    return np.sort(np.random.default_rng(seeds.SUBSETS).permutation(items)[:n])


def held_out_items(arrays: dict[str, np.ndarray], path: str, n_items: int | None = None) -> np.ndarray:
    """Indices of held-out items, in order: the first one of each cluster, so that items are independent; of
    n_items clusters drawn at random, all by default.

    Raises
    ------
    DataError
        fewer held-out clusters than asked for
    """
    items = one_per_cluster(arrays, np.flatnonzero(arrays["split"] == 1))
    if n_items is not None and n_items > len(items):
        raise DataError(f"{path}: measure.n_items = {n_items}, but only {len(items)} clusters are held out")
    return subset(items, len(items) if n_items is None else n_items)


def one_per_cluster(arrays: dict[str, np.ndarray], items: np.ndarray) -> np.ndarray:
    """The first of the items of each cluster, in order."""
    _, first = np.unique(arrays["cluster"][items], return_index=True)
    return np.sort(items[first])
