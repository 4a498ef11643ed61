"""``measure_calculator``: closed forms, traps, and what is said of each."""

import math

import numpy as np
import pytest
import torch
from ase.calculators.emt import EMT
from probe.stand_ins import SHARE, Offset, Springs, crystal, frames, stretched

import equidyn
from equidyn.errors import DataError, EquidynError
from equidyn.probe import calculators, measurement, verdicts
from equidyn.probe.quantities import QUANTITIES, checked, label_of
from equidyn.probe.rows import beside_composition
from equidyn.symmetry import groups
from equidyn.symmetry.decomposition import ratio_interval

LABELS = dict(forces_key="REF_forces", energy_key="REF_energy")
KEYS = ("equivariance", "count")


def test_invariant_models_are_exact_in_every_quantity():
    names = ("energy", "forces", "stress", "dipole")
    for group in ("so3", "o3", "cube"):
        found = equidyn.measure_calculator(Springs(), frames(6), rotations=4, group=group, quantities=names)
        assert [row.quantity for row in found] == list(names)
        assert {row.verdict for row in found} == {verdicts.AT_FLOOR}, str(found)
    assert {row.verdict for row in equidyn.measure_calculator(EMT(), [crystal()], rotations=4)} == {
        verdicts.AT_FLOOR
    }


def test_a_stretch_gives_its_closed_form_within_the_interval():
    found = equidyn.measure_calculator(Springs(stretched), frames(45), rotations=8, **LABELS)["forces"]
    plain = np.concatenate([calculators.evaluate(Springs(), a, ["forces"])["forces"] for a in frames(45)])
    exact = SHARE * (plain**2).mean()
    assert found.equivariance_lo < exact < found.equivariance_hi
    assert found.equivariance == pytest.approx(exact, rel=0.1)
    assert found.twirled + found.equivariance == pytest.approx(found.total, rel=1e-12)
    assert found.verdict.startswith("above 2 %") and 2 < found.percent_lo < found.percent < 30


def test_the_whole_cube_gives_the_closed_form_to_rounding():
    """A map linear in the vectors is of degree 2, which the 24 rotations integrate exactly."""
    found = equidyn.measure_calculator(Springs(stretched), frames(9), rotations=24, group="cube")["forces"]
    plain = np.concatenate([calculators.evaluate(Springs(), a, ["forces"])["forces"] for a in frames(9)])
    assert found.equivariance == pytest.approx(SHARE * (plain**2).mean(), rel=1e-12)
    assert found.relative_equivariance == pytest.approx(SHARE / ((2 + 1.05**2) / 3), rel=1e-12)


def test_a_loop_by_hand_and_the_library_agree_to_the_last_digit():
    given = frames(12, names=("CH3OH",))
    found = equidyn.measure_calculator(Springs(stretched), given, rotations=5, seed=3, **LABELS)["forces"]
    rotations, _ = groups.draw_per_item("haar", 5, 12, seed=3)
    twisted, calculator, action = [], Springs(stretched), QUANTITIES["forces"].action
    for r in range(5):
        row = []
        for item, atoms in enumerate(given):
            pose = calculators.turned(atoms, rotations[r, item].numpy())
            pose.calc = calculator
            row.append(action.inverse(rotations[r, item], torch.from_numpy(pose.get_forces())))
        twisted.append(torch.stack(row))
    target = torch.from_numpy(np.stack([atoms.arrays["REF_forces"] for atoms in given]))
    by_hand = equidyn.decompose(torch.stack(twisted), target, clusters=torch.arange(12))
    for name in ("total", "equivariance", "percent", "percent_lo", "percent_hi", "zero_loss"):
        assert getattr(found, name) == getattr(by_hand, name), name


def test_conformers_of_a_molecule_widen_every_interval():
    """Also that of the equivariance error itself: what stands for its clusters is the key."""
    given = frames(18)
    found = equidyn.measure_calculator(Springs(stretched), given, rotations=4, cluster_key="name", **LABELS)
    sums = [record.quantities["forces"] for record in found.records]
    error, count = (torch.tensor([one[key] for one in sums], dtype=torch.float64) for key in KEYS)
    clusters = torch.tensor(np.unique([atoms.info["name"] for atoms in given], return_inverse=True)[1])
    _, low, high, n = ratio_interval(error, 100 * count, clusters)
    row = found["forces"]
    assert n == row.n_clusters == 9 and (row.equivariance_lo, row.equivariance_hi) == (low, high)


def test_momenta_turn_with_the_positions():
    atoms, rotation = frames(1)[0], groups.haar(1, 0)[0].numpy()
    atoms.set_momenta(np.random.default_rng(0).normal(size=atoms.positions.shape))
    assert np.allclose(calculators.turned(atoms, rotation).get_momenta(), atoms.get_momenta() @ rotation.T)


def test_the_cell_turns_with_the_positions():
    """A model of periodic structures in a cell that was left behind would seem to break symmetry."""

    def left_behind(forces, atoms):
        return forces + atoms.get_scaled_positions(wrap=False) @ np.eye(3)

    def along_the_cell(forces, atoms):
        return forces + atoms.cell.array.sum(0)

    broken = equidyn.measure_calculator(Springs(left_behind), [crystal()], rotations=4)
    assert broken["forces"].verdict == verdicts.UNLABELLED
    kept = equidyn.measure_calculator(Springs(along_the_cell), [crystal()], rotations=4)
    assert kept["forces"].verdict == verdicts.AT_FLOOR
    pose = calculators.turned(crystal(), groups.haar(1, 0)[0].numpy())
    before, after = crystal().get_scaled_positions(wrap=False), pose.get_scaled_positions(wrap=False)
    assert np.allclose(before, after, atol=1e-12) and after.max() > 1  # outside stays outside
    assert (pose.pbc == crystal().pbc).all()


def test_a_stochastic_calculator_is_called_so():
    random = np.random.default_rng(0)
    noisy = Springs(lambda forces, atoms: forces + 0.1 * random.normal(size=forces.shape))
    found = equidyn.measure_calculator(noisy, frames(9), rotations=4, **LABELS)
    assert found["forces"].verdict == verdicts.STOCHASTIC
    assert found["energy"].verdict != verdicts.STOCHASTIC
    assert any("repeats at the identity change it by" in note for note in found.notes)
    assert not found.passes()


def test_a_result_that_the_calculator_remembers_is_not_taken_for_a_repeat():
    calculator = Springs()
    calculators.at_the_identity(calculator, frames(1)[0], ["forces"], 0)
    assert calculator.calls == 1 + len(calculators.KINDS) * calculators.TIMES


def test_broken_translations_are_no_floor():
    placed = Springs(lambda forces, atoms: forces + 0.2 * np.abs(atoms.positions))
    found = equidyn.measure_calculator(placed, frames(9), rotations=4)
    row = found["forces"]
    assert row.floor < 1e-9 * row.floor_translations
    taken = [record.floor["forces"] for record in found.records if record.floor]
    share = sum(one["translations"] for one in taken) / sum(one["power"] for one in taken)
    assert len(taken) == 4 and row.floor_translations == pytest.approx(share * row.size)
    assert any("translations at the identity" in note for note in found.notes)
    assert row.verdict == verdicts.UNLABELLED


def test_broken_permutations_are_found():
    ordered = Springs(lambda forces, atoms: forces * (1 + 0.01 * np.arange(len(forces)))[:, None])
    found = equidyn.measure_calculator(ordered, frames(9), rotations=4)
    assert found["forces"].verdict == verdicts.AT_FLOOR  # it is equivariant under rotations
    assert any("permutations at the identity" in note for note in found.notes)


def test_a_calculator_with_a_fixed_order_of_atoms_has_the_rest_of_a_floor():
    order = {}

    def forces_of(forces, atoms):
        if order.setdefault(atoms.get_chemical_formula(), atoms.numbers.tolist()) != atoms.numbers.tolist():
            raise ValueError("atoms do not match the topology")
        return forces

    found = equidyn.measure_calculator(Springs(forces_of), frames(4), rotations=2, meant_equivariant=True)
    row = found["forces"]
    assert row.n_items == 4 and row.verdict == verdicts.AT_FLOOR and not any(r.failed for r in found.records)
    assert math.isnan(row.floor_permutations) and row.floor_translations >= 0 and row.floor_rounding > 0
    note = next(note for note in found.notes if note.startswith("permutations at the identity"))
    assert "failed on 4 of the floor's structures" in note and "do not match the topology" in note


def test_where_the_structures_of_the_floor_fail_another_is_taken():
    given = frames(9)
    for place in measurement._of_floor(9, 1):
        given[place].info["bad"] = True
    failing = Springs(lambda forces, atoms: forces[1:] if "bad" in atoms.info else forces)
    found = equidyn.measure_calculator(failing, given, rotations=2, seed=1, meant_equivariant=True)
    row = found["forces"]
    assert row.n_items == 5 and row.verdict == verdicts.AT_FLOOR and row.floor_rounding > 0
    assert [record.index for record in found.records if record.floor] == [1]


def test_a_small_break_of_a_model_that_should_be_exact():
    tiny = Springs(lambda forces, atoms: forces * np.array([1, 1, 1 + 1e-7]))
    found = equidyn.measure_calculator(tiny, frames(9), rotations=4, meant_equivariant=True)
    assert found["forces"].verdict == verdicts.A_BUG and found["energy"].verdict == verdicts.AT_FLOOR
    single = Springs(lambda forces, atoms: forces.astype(np.float32))  # as a network in float32 returns
    found = equidyn.measure_calculator(single, frames(9), rotations=4, meant_equivariant=True)
    assert found["forces"].verdict == verdicts.AT_FLOOR


def test_missing_keys_name_those_that_there_are():
    with pytest.raises(DataError, match=r"no structure has forces under the key 'forces'.*REF_energy"):
        equidyn.measure_calculator(Springs(), frames(3), forces_key="forces")
    with pytest.raises(DataError, match="no structures, expected at least one"):
        equidyn.measure_calculator(Springs(), [])
    some = frames(9)
    del some[4].arrays["REF_forces"]
    some[5].arrays["REF_forces"][0, 0] = np.nan
    found = equidyn.measure_calculator(Springs(), some, rotations=2, **LABELS)
    assert found["forces"].n_items == 7
    assert "2 structures not used; the first, 4: no forces under the key 'REF_forces'" in found.notes


def nan_if_upright(forces, atoms):
    return forces * (np.nan if atoms.positions[0, 2] > atoms.positions[1, 2] else 1.0)


def test_predictions_that_are_not_finite_leave_the_structure_out_by_name():
    given = frames(12)
    found = equidyn.measure_calculator(Springs(nan_if_upright), given, rotations=2, seed=1)
    failed = [record for record in found.records if record.failed]
    assert 0 < len(failed) < 12 and found["forces"].n_items == 12 - len(failed)
    assert "forces: NaN" in failed[0].failed and "rotation" in failed[0].failed
    assert any(f"{len(failed)} structures left out" in note for note in found.notes)
    assert not found.passes()


def test_a_calculator_that_always_fails_ends_with_its_reason():
    calculator = Springs(lambda forces, atoms: forces[:-1])
    with pytest.raises(DataError, match=r"fails on all of the first 3 structures.*forces: shape \[5, 3\]"):
        equidyn.measure_calculator(calculator, frames(9), rotations=2)
    assert calculator.calls == 3  # and did not go on


def test_forces_of_another_shape_are_not_reshaped():
    """But flat ones, and those with further axes of length 1, as files and networks have them."""
    transposed = Springs(lambda forces, atoms: forces.T)
    with pytest.raises(DataError, match=r"forces: shape \[3, 6\], expected \[6, 3\]"):
        equidyn.measure_calculator(transposed, frames(9, names=("CH3OH",)), rotations=2)
    given = frames(9)
    given[0].info["REF_T"] = given[0].arrays["REF_forces"].T
    with pytest.raises(DataError, match=r"label 'REF_T': forces: shape \[3, 6\], expected \[6, 3\]"):
        equidyn.measure_calculator(Springs(), given[:1], rotations=2, forces_key="REF_T")
    for shape in ((18,), (1, 6, 3), (6, 3, 1)):
        assert checked("forces", np.arange(18.0).reshape(shape), 6).tolist()[5] == [15, 16, 17]
    assert checked("energy", [6.0], 6) == 1 and checked("stress", np.zeros(9), 6).shape == (3, 3)
    stress = label_of("stress", [1, 2, 3, 4, 5, 6], 6)  # Voigt: xx, yy, zz, yz, xz, xy
    assert stress.tolist() == [[1, 6, 5], [6, 2, 4], [5, 4, 3]]


def test_zero_forces_are_nothing_to_judge():
    silent = Springs(lambda forces, atoms: 0 * forces)
    found = equidyn.measure_calculator(silent, frames(9), rotations=2, **LABELS)["forces"]
    assert found.verdict == verdicts.NOTHING and found.percent == 0
    relaxed = frames(9)
    for atoms in relaxed:
        atoms.arrays["REF_forces"][:] = 0
    found = equidyn.measure_calculator(Springs(stretched), relaxed, rotations=2, **LABELS)["forces"]
    assert found.verdict == verdicts.ZERO_LABELS


def test_a_model_that_has_learned_nothing_is_not_praised():
    weak = Springs(lambda forces, atoms: 1e-3 * stretched(forces, atoms))
    found = equidyn.measure_calculator(weak, frames(18), rotations=4, **LABELS)["forces"]
    assert found.percent_hi < 1 and found.verdict == verdicts.UNLEARNED


def test_labels_of_the_model_itself_are_no_loss():
    own = frames(9, noise=0.0)
    found = equidyn.measure_calculator(Springs(), own, rotations=4, **LABELS)["forces"]
    assert found.verdict == verdicts.NO_LOSS and "of the loss" not in str(found)


def test_clusters_are_compositions_a_key_or_blocks():
    def clusters(given, **more):
        found = equidyn.measure_calculator(Springs(), given, rotations=2, **more)
        return found.about["clusters"], found["forces"].n_clusters

    assert clusters(frames(18)) == ("compositions", 9)
    assert clusters(frames(18), cluster_key="name") == ("key name", 9)
    assert clusters(frames(50, names=("H2O",))) == ("blocks of consecutive frames", 17)
    assert clusters(frames(6, names=("H2O", "NH3"))) == ("blocks of consecutive frames", 6)


def test_one_structure_has_an_error_and_no_interval():
    found = equidyn.measure_calculator(Springs(stretched), frames(1), rotations=4, **LABELS)
    assert found["forces"].verdict == verdicts.NO_INTERVAL and found["forces"].percent > 0
    assert math.isnan(found["forces"].percent_hi) and not found.passes()


def test_a_limit_picks_at_random_and_the_same_again():
    given = frames(40)
    one, two = (equidyn.measure_calculator(Springs(), given, rotations=2, limit=10) for _ in range(2))
    picked = [record.index for record in one.records]
    assert picked == [r.index for r in two.records] == sorted(picked) != list(range(10))
    assert one["energy"].equivariance == two["energy"].equivariance
    other = equidyn.measure_calculator(Springs(), given, rotations=2, limit=10, seed=1)
    assert [record.index for record in other.records] != picked


def test_a_composition_is_fitted_without_the_structure_that_it_is_compared_with():
    """Left out one by one by hand; the only one with an element is compared with the mean of the others."""
    rng = np.random.default_rng(0)
    counts = rng.integers(1, 5, size=(8, 3)).astype(float)
    counts[:, 2] = 0
    counts[5, 2] = 2
    fractions, energies = counts / counts.sum(1, keepdims=True), rng.normal(size=8)
    for k, found in enumerate(beside_composition(fractions, energies)):
        others = np.arange(8) != k
        terms = np.linalg.lstsq(fractions[others], energies[others])[0]
        expected = energies[others].mean() if k == 5 else fractions[k] @ terms
        assert found == pytest.approx((energies[k] - expected) ** 2, rel=1e-9)


def test_the_baseline_of_energies_knows_their_labels_and_not_the_predictions():
    given, rng = frames(18), np.random.default_rng(0)
    labels = rng.normal(size=18)
    for atoms, label in zip(given, labels):
        atoms.info["REF_energy"] = label * len(atoms)
    found = equidyn.measure_calculator(Springs(), given, rotations=2, **LABELS)["energy"]
    fractions = measurement._fractions([atoms.get_chemical_formula() for atoms in given])
    own = [calculators.evaluate(Springs(), atoms.copy(), ["energy"])["energy"].item() for atoms in given]
    assert found.baseline_loss == pytest.approx(beside_composition(fractions, labels).mean())
    assert found.spread == pytest.approx(beside_composition(fractions, np.array(own)).mean())


def test_offsets_of_energies_do_not_flatter():
    """Energies are compared with the best sum over atoms, not with zero."""
    far = frames(36)
    for atoms in far:
        atoms.info["REF_energy"] += 1000.0 * len(atoms)
    found = equidyn.measure_calculator(Springs(), far, rotations=2, **LABELS)["energy"]
    assert found.baseline == "composition" and found.baseline_loss < 1 < found.baseline_ratio


def placed(atoms):
    """An energy that knows where the molecule is, and how it lies."""
    return 0.05 * np.sin(atoms.positions.mean(0)[0] + 3 * (atoms.positions[0] - atoms.positions[-1])[2])


def with_offset(wrong, offset: float, n: int = 36):
    given = frames(n, noise=0.0)
    for atoms in given:
        atoms.info["REF_energy"] += offset * len(atoms)
    how = dict(rotations=4, energy_key="REF_energy", quantities=("energy",))
    return equidyn.measure_calculator(Offset(wrong, offset), given, **how)


def test_an_offset_of_energies_hides_neither_broken_symmetry_nor_noise():
    """What is rounding is judged by the spread of energies, not by their size."""
    plain, far = (with_offset(placed, offset)["energy"] for offset in (0.0, -1000.0))
    assert plain.verdict == far.verdict and far.verdict.startswith("above 2 %")
    assert far.percent == pytest.approx(plain.percent, rel=1e-6)
    assert far.spread == pytest.approx(plain.spread, rel=1e-6) and far.size > 1e5
    found = with_offset(placed, -1000.0)
    assert any("energy: translations at the identity" in note for note in found.notes)
    assert not found.passes() and far.floor < 1e-10 < far.floor_translations
    random = np.random.default_rng(0)
    assert with_offset(lambda atoms: 0.3 * random.normal(), -1000.0)["energy"].verdict == verdicts.STOCHASTIC
    assert with_offset(lambda atoms: 0.0, -1000.0)["energy"].verdict == verdicts.NO_LOSS
    alone = with_offset(placed, -1000.0, n=1)  # whose energies have no spread
    assert alone["energy"].verdict == verdicts.NO_INTERVAL and alone.notes


def test_settings_out_of_bounds():
    for bad in (dict(rotations=1), dict(group="so4"), dict(quantities=("charge",)), dict(limit=0)):
        with pytest.raises(EquidynError, match="expected"):
            equidyn.measure_calculator(Springs(), frames(2), **bad)
    with pytest.raises(EquidynError, match="25 rotations|1 to 24"):
        equidyn.measure_calculator(Springs(), frames(2), group="cube", rotations=25)


def test_labels_in_another_unit_are_noticed():
    other = frames(9)
    for factor in (27.2114 / 0.529177, -1.0):  # hartree/bohr in eV/Å; gradients
        given = frames(9, noise=0.01)
        for atoms in given:
            atoms.arrays["REF_forces"] *= factor
        found = equidyn.measure_calculator(Springs(), given, rotations=2, **LABELS)
        note = next(note for note in found.notes if "labels are" in note)
        assert note.startswith("forces: labels are ") and "are they in eV/Å" in note
        assert float(note.split()[3]) == pytest.approx(factor, rel=0.02)
    found = equidyn.measure_calculator(Springs(), other, rotations=2, **LABELS)
    assert not any("labels are" in note for note in found.notes)


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_float32_sum_over_atoms_is_exact_without_a_spread_of_energies(copies, shuffled):
    """One structure, or copies of one, summed in another order every time, as on a GPU."""
    from ase import Atoms
    from ase.calculators.calculator import Calculator

    class Sums(Calculator):
        implemented_properties = ["energy"]

        def calculate(self, atoms=None, properties=None, system_changes=None):
            super().calculate(atoms, properties, system_changes)
            x = torch.tensor(atoms.positions, dtype=torch.float32)
            each = torch.exp(-((x[:, None] - x[None]) ** 2).sum(-1) / 4).sum(1)
            each = each[torch.randperm(len(each))] if shuffled else each
            total = torch.zeros(1).index_add(0, torch.zeros(len(each), dtype=torch.long), each)
            self.results = {"energy": float(total)}

    atoms = Atoms("C" * 300, 3 * np.random.default_rng(0).normal(size=(300, 3)))
    found = equidyn.measure_calculator(
        Sums(), [atoms.copy() for _ in range(copies)], rotations=6, meant_equivariant=True
    )
    assert found["energy"].verdict == "exact (at the floor)"
    assert not [note for note in found.notes if "at the identity" in note]
