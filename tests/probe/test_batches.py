"""Calculators that take many structures at once: the same numbers from fewer calls."""

import numpy as np
import pytest
from probe.stand_ins import Springs, crystal, frames, stretched

import equidyn
from equidyn.errors import ArgumentError, DataError
from equidyn.probe import calculators

ALL = ("energy", "forces", "stress", "dipole")


class Batching(Springs):
    """``Springs`` that takes many, and what a batch may get wrong."""

    def __init__(self, change=stretched, wrong=lambda results: results):
        super().__init__(change)
        self.wrong, self.sizes = wrong, []

    def calculate(self, *arguments, **named):
        raise AssertionError("asked one by one")

    def calculate_many(self, given, properties):
        self.sizes.append(len(given))
        made = []
        for atoms in given:
            one = Springs(self.change)
            one.calculate(atoms)
            made.append({name: one.results[name] for name in properties})
        return self.wrong(made)


def measured(calculator, given=None, **settings):
    labels = dict(forces_key="REF_forces", energy_key="REF_energy")
    return equidyn.measure_calculator(calculator, given or frames(9), rotations=6, **labels, **settings)


def numbers(result):
    return [{k: v for k, v in vars(row).items() if k not in ("run", "seconds")} for row in result]


@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_batches_give_the_same_numbers_to_the_last_digit(batch_size):
    batching = Batching()
    found = measured(batching, batch_size=batch_size, special_poses=True, name="x")
    expected = measured(Springs(stretched), special_poses=True, name="x")
    assert repr(numbers(found)) == repr(numbers(expected)) and found.notes == expected.notes
    assert max(batching.sizes) == min(batch_size, 7) and found.about["batch_size"] == batch_size
    # poses, special ones, and of the floor's structures the plain one with six twins, and two repeats
    assert sum(batching.sizes) == 9 * (6 + 6) + 4 * (7 + 2)


def test_fewer_calls_than_poses():
    batching = Batching()
    measured(batching)
    assert len(batching.sizes) == 9 + 4 * (1 + 2)


def test_every_quantity_of_a_cell_comes_through():
    given = [crystal(), crystal()]
    how = dict(quantities=ALL, rotations=4, name="x")
    found = equidyn.measure_calculator(Batching(lambda forces, atoms: forces), given, **how)
    expected = equidyn.measure_calculator(Springs(), given, **how)
    assert repr(numbers(found)) == repr(numbers(expected))
    assert [row.verdict for row in found] == ["exact (at the floor)"] * 4


def test_what_leaks_between_structures_of_a_batch_is_seen():
    """A structure by itself and the same one among others must agree."""

    def leaking(results):
        mean = np.mean([one["energy"] for one in results])
        return [one | dict(energy=0.9 * one["energy"] + 0.1 * mean * len(results)) for one in results]

    found = measured(Batching(wrong=leaking))
    assert found["energy"].verdict.startswith("stochastic")
    assert any("repeats at the identity" in note for note in found.notes)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda results: results[1:], "5 results for 6 structures"),
        (
            lambda results: [{"energy": one["energy"]} for one in results],
            r"no forces in results \['energy'\]",
        ),
        (lambda results: [one | dict(forces=one["forces"][1:]) for one in results], "forces: shape"),
        (
            lambda results: [one | dict(forces=np.nan * one["forces"]) for one in results],
            "rotation 0: forces",
        ),
    ],
)
def test_results_that_cannot_be_used_are_said(wrong, message):
    with pytest.raises(DataError, match=message):
        measured(Batching(wrong=wrong))


def test_a_batch_size_out_of_bounds():
    with pytest.raises(ArgumentError, match="batch_size: 0, expected at least 1"):
        measured(Springs(), batch_size=0)


def test_an_average_over_rotations_takes_one_call():
    batching, atoms = Batching(), frames(1)[0]
    atoms.calc = equidyn.Twirled(batching, 5)
    found = atoms.get_forces()
    atoms.calc = equidyn.Twirled(Springs(stretched), 5)
    assert np.array_equal(found, atoms.get_forces()) and batching.sizes == [5]


def test_structures_of_several_sizes_may_come_together():
    given = frames(9)
    found = list(calculators.predictions(Batching(), [a.copy() for a in given], ["forces"]))
    assert [len(one["forces"]) for one in found] == [len(atoms) for atoms in given]
