"""Datasets of one-atom molecules, and files of waters."""

import numpy as np

WATERS = "".join(
    f"3\n\n{element} 0 0 {0.01 * i}\nH 0.96 0 0\nH -0.24 0.93 0\n"
    for i in range(40)
    for element in ("O", "S", "Se", "Te")
)  # not that they would be water, all of them
XYZ = dict(source="xyz", licence="x", n_held_out=1, seed=0)


def molecules_of(n):
    """Arrays and attributes of a dataset of n one-atom molecules."""
    keys = dict(
        offsets=np.arange(n + 1),
        numbers=np.ones(n, np.uint8),
        positions=np.zeros((n, 3), np.float32),
        cluster=np.arange(n),
        split=np.arange(n) % 2,
    )
    return keys, dict(
        kind="molecules",
        source="x",
        licence="x",
        split="molecule",
        split_seed=0,
        code="",
        settings="{}",
        poses="as-made",
    )
