import numpy as np
import pytest

from equidyn.data.select import held_out_items, training_items
from equidyn.errors import DataError

RNG = np.random.default_rng(0)
ARRAYS = dict(
    cluster=np.repeat(np.arange(20), 50), split=np.repeat((RNG.permutation(20) < 6).astype(np.uint8), 50)
)  # 20 molecules, one after the other


def test_subsets_are_nested_and_drawn_from_all_training_molecules():
    few, more, everything = (set(training_items(ARRAYS, "f", n)) for n in (40, 200, None))
    assert (
        len(few) == 40 and few < more < everything and everything == set(np.flatnonzero(ARRAYS["split"] == 0))
    )
    assert len({ARRAYS["cluster"][i] for i in few}) > 10  # the first 40 items are one molecule
    assert (np.diff(training_items(ARRAYS, "f", 40)) > 0).all()


def test_held_out_items_are_one_per_cluster():
    items = held_out_items(ARRAYS, "f", 5)
    assert len(items) == 5 == len(set(ARRAYS["cluster"][items])) and (ARRAYS["split"][items] == 1).all()


@pytest.mark.parametrize("call, n", [(training_items, 701), (held_out_items, 7)])
def test_too_few(call, n):
    with pytest.raises(DataError, match=rf"data\.h5: .* = {n}, but only"):
        call(ARRAYS, "data.h5", n)
