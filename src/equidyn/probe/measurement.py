"""``measure_calculator``: an ASE calculator over structures × rotations."""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

import numpy as np
import torch

from equidyn.errors import ArgumentError, DataError, UnknownNameError, optional_packages
from equidyn.probe import calculators, structures
from equidyn.probe.atoms import by_atom
from equidyn.probe.defaults import BATCH_SIZE, GROUP, LIMIT_PERCENT, QUADRATURE, ROTATIONS, SEED
from equidyn.probe.loading import reason
from equidyn.probe.poses import Poses, check_seed, poses, special
from equidyn.probe.quantities import PER_ATOM, QUANTITIES
from equidyn.probe.records import SUMS, InMemory, Kept, Record, clusters_of, joined
from equidyn.probe.result import Result, Row
from equidyn.probe.rows import About, beside_composition, broken_at_the_identity, number, row_of
from equidyn.probe.structures import Structure, Structures
from equidyn.symmetry.averaging import losses_of_means
from equidyn.symmetry.content import by_angle
from equidyn.symmetry.decomposition import accumulate
from equidyn.symmetry.quadrature import accumulate_weighted

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

FLOOR_ITEMS = 4  # structures that the floor is taken from
GIVE_UP = 3  # failures in a row at the start
ALIGNED, ALIKE = 0.9, 1.6  # cosine of labels and predictions; their ratio, if both are in one unit
DEFAULTS = ("energy", "forces")  # measured without labels, where the calculator has them


@dataclass
class Settings:
    """What is measured and how; the keyword arguments of ``measure_calculator``."""

    keys: dict[str, str] = field(default_factory=dict)  # quantity → key of its label
    quantities: tuple[str, ...] | None = None
    rotations: int = ROTATIONS
    group: str = GROUP
    quadrature: str = QUADRATURE
    special_poses: bool = False
    seed: int = SEED
    cluster_key: str | None = None
    limit: int | None = None
    limit_percent: float = LIMIT_PERCENT
    meant_equivariant: bool = False
    name: str = ""
    batch_size: int = BATCH_SIZE

    def __post_init__(self):
        if self.batch_size < 1:
            raise ArgumentError(f"batch_size: {self.batch_size}, expected at least 1 structure at once")
        check_seed(self.seed)


class Options(TypedDict, total=False):
    """``Settings`` as keyword arguments, but for the keys of labels."""

    quantities: tuple[str, ...] | None
    rotations: int
    group: str
    quadrature: str
    special_poses: bool
    seed: int
    cluster_key: str | None
    limit: int | None
    limit_percent: float
    meant_equivariant: bool
    name: str
    batch_size: int


def measure_calculator(
    calculator: "Calculator",
    frames: "Iterable[Atoms] | str | Path",
    *,
    energy_key: str | None = None,
    forces_key: str | None = None,
    stress_key: str | None = None,
    dipole_key: str | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    records: Kept | InMemory | None = None,
    **settings: Unpack[Options],
) -> Result:
    """Split the loss of an ASE calculator into twirled prediction error and equivariance error.

    Parameters
    ----------
    calculator : any ASE calculator
    frames : structures, or a file of them that ase can read
    energy_key, forces_key, stress_key, dipole_key : where the reference label of each stands in the
        structures; without one there is an equivariance error, but no share of a loss
    progress : called with structures done, structures in all, and evaluations so far
    records : where results of single structures are kept; structures that are in it already are not measured
        again
    settings : ``quantities`` (names; by default those with labels, and energy and forces where the calculator
        has them), ``rotations`` (8 per structure), ``group`` (so3, o3, cube), ``quadrature`` (haar, cube,
        icosahedron, lebedev:DEGREE), ``special_poses`` (also with a bond along each axis), ``seed`` (0),
        ``cluster_key``, ``limit`` (that many structures, drawn at random), ``limit_percent`` (2, of the
        verdict), ``meant_equivariant``, ``name``, ``batch_size`` (32, of a calculator that takes many
        structures at once, see ``probe.calculators.Batched``)

    Returns
    -------
    Result, a row for each quantity. Energies are per atom; structures whose evaluation fails are left out and
    counted in its notes.

    Raises
    ------
    DataError
        structures or labels that cannot be used, a calculator that fails on the first structures or on all
    ArgumentError, UnknownNameError
        settings out of bounds, unknown quantities or groups
    MissingPackageError
        ase is not installed

    Examples
    --------
    >>> from ase.build import molecule
    >>> from ase.calculators.emt import EMT
    >>> found = measure_calculator(EMT(), [molecule("CH3OH"), molecule("H2O")], rotations=4)
    >>> found["forces"].verdict
    'exact (at the floor)'
    """
    with optional_packages():
        import ase  # noqa: F401
    labels = dict(energy=energy_key, forces=forces_key, stress=stress_key, dipole=dipole_key)
    chosen = Settings(keys={name: key for name, key in labels.items() if key}, **settings)
    where = "frames"
    if isinstance(frames, str | Path):
        where, frames = str(frames), structures.read(frames)
    limits = (chosen.cluster_key, chosen.limit, chosen.seed)
    found = structures.prepare(frames, chosen.keys, *limits, where=where)
    names = _quantities(calculator, chosen)
    drawn = poses(chosen.group, chosen.rotations, len(found.chosen), chosen.seed, chosen.quadrature)
    records = InMemory() if records is None else records
    of_floor = _of_floor(len(found.chosen), chosen.seed)
    run = _Run(calculator, names, drawn, chosen.seed, of_floor, chosen.special_poses, chosen.batch_size)
    measured = _all(run, found, records, progress or (lambda *_: None))
    return _result(calculator, chosen, found, names, drawn, measured)


def _quantities(calculator: "Calculator", settings: Settings) -> list[str]:
    asked = settings.quantities
    if asked is None:
        has = getattr(calculator, "implemented_properties", DEFAULTS)
        asked = [name for name in QUANTITIES if name in settings.keys or (name in DEFAULTS and name in has)]
    unknown = sorted(set(asked) - set(QUANTITIES))
    if unknown:
        raise UnknownNameError(f"quantities: {', '.join(unknown)}, expected some of {', '.join(QUANTITIES)}")
    if not asked:
        raise ArgumentError(
            "quantities: the calculator has neither energies nor forces; expected names of what to measure"
        )
    return [name for name in QUANTITIES if name in asked]


def _of_floor(n: int, seed: int) -> set[int]:
    return set(np.random.default_rng([seed, 2]).permutation(n)[:FLOOR_ITEMS].tolist())


@dataclass(frozen=True)
class _Run:
    """What every structure is measured with."""

    calculator: "Calculator"
    names: list[str]
    poses: Poses
    seed: int
    of_floor: set[int]
    special_poses: bool
    batch_size: int

    def record(self, place: int, structure: Structure) -> Record:
        """Measure one structure; ``place`` among the chosen ones decides its poses."""
        atoms, started = structure.atoms, time.monotonic()
        made = Record(structure.index, atoms.get_chemical_formula(), structure.cluster, len(atoms), 0.0)
        rotations = self.poses.of(place)
        try:
            twisted = self._twisted(atoms, rotations)
            extreme = self._twisted(atoms, special(atoms.positions)) if self.special_poses else None
        except Exception as error:  # of any type: the calculator is not ours
            made.failed = reason(error)
        else:
            if place in self.of_floor:
                made.floor, made.floor_failed = self.floor(atoms, place)
            for name, stack in twisted.items():
                made.quantities[name] = _sums(stack, structure.labels.get(name), self.poses, place)
                if name in PER_ATOM:
                    made.quantities[name]["atoms"] = by_atom(stack, atoms, self.poses)
                if extreme is not None:
                    far = (extreme[name] - self.poses.mean(stack)).flatten(1).square().mean(1)
                    made.quantities[name]["special"] = far.max().sqrt().item()
        made.seconds = round(time.monotonic() - started, 4)
        return made

    def _twisted(self, atoms: "Atoms", rotations: torch.Tensor) -> dict[str, torch.Tensor]:
        return calculators.twisted(self.calculator, atoms, self.names, rotations, self.batch_size)

    def floor(self, atoms: "Atoms", place: int) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
        """Spreads by quantity and kind; kinds that the calculator failed on, with its reason."""
        seed = [self.seed, 3, place]
        agreeing, failed = calculators.at_the_identity(
            self.calculator, atoms, self.names, seed, self.batch_size
        )
        found: dict[str, dict[str, float]] = {}
        for kind, values in agreeing.items():
            for name, stack in values.items():  # [3, ...]
                spread = stack.var(0).sum().item()
                found.setdefault(name, {"power": stack.square().mean(0).sum().item()})[kind] = spread
        return found, failed


def _sums(stack: torch.Tensor, label: np.ndarray | None, drawn: Poses, place: int) -> dict:
    """``Record.quantities`` of one quantity from its twisted predictions [n, 1, ...]."""
    rotations = drawn.of(place)
    target = torch.zeros_like(stack[0]) if label is None else torch.from_numpy(label)[None]
    if drawn.weights is None:
        sums = accumulate(stack, target, group_order=drawn.order)
    else:
        sums = accumulate_weighted(stack, target, drawn.weights)
    made = {key: getattr(sums, key).item() for key in SUMS}
    deviation = (stack - drawn.mean(stack)).flatten(1).square().mean(1)  # (n,)
    worst = int(deviation.argmax())
    made |= dict(worst=deviation[worst].sqrt().item(), worst_rotation=rotations[worst].flatten().tolist())
    made["labelled"] = label is not None
    made["along"] = (drawn.mean(stack) * target).sum().item()
    made["content"] = drawn.content(stack, place)
    if drawn.name in ("haar", "cube"):
        made["angle"] = by_angle(stack, rotations)
    random = drawn.weights is None and label is not None
    losses = losses_of_means(stack, target) if random else {}
    made["averaged"] = {str(n): loss.item() for n, loss in losses.items()}
    if stack.ndim == 2:  # energies
        made |= dict(
            mean=drawn.mean(stack).item(), label=target.item() if label is not None else float("nan")
        )
    return made


def _all(run: _Run, found: Structures, records, progress) -> list[Record]:
    evaluations, per_structure, measured = 0, len(run.poses.rotations), []
    for place, structure in enumerate(found.chosen):
        kept = records.found.get(structure.index)
        if kept is None or kept.failed:  # a failure may have been the machine's
            records.add(run.record(place, structure))
            evaluations += per_structure
        progress(place + 1, len(found.chosen), evaluations)
        measured.append(records.found[structure.index])
        if place + 1 in (GIVE_UP, len(found.chosen)) and all(record.failed for record in measured):
            raise DataError(
                f"the calculator fails on all of the first {place + 1} structures, expected predictions; the "
                f"first ({measured[0].formula}): {measured[0].failed}"
            )
    good = [place for place, record in enumerate(measured) if not record.failed]
    if not any(measured[place].floor or measured[place].floor_failed for place in good):
        record = measured[good[0]]  # all of those that were drawn for the floor have failed
        record.floor, record.floor_failed = run.floor(found.chosen[good[0]].atoms, good[0])
        records.add(record)
    return measured


def _result(calculator, settings: Settings, found: Structures, names, drawn: Poses, measured) -> Result:
    good = [record for record in measured if not record.failed]
    about = dict(
        structures=found.n_read,
        measured=len(good),
        rotations=drawn.name,
        n_rotations=len(drawn.rotations),
        seed=settings.seed,
        clusters=found.clusters,
    )
    if hasattr(calculator, "calculate_many"):
        about["batch_size"] = settings.batch_size
    name = settings.name or type(calculator).__name__
    seconds = round(sum(record.seconds for record in measured), 3)
    rows = []
    for quantity in names:
        unit, limit = QUANTITIES[quantity].unit, settings.limit_percent
        how = About(name, quantity, unit, drawn.name, seconds, limit, settings.meant_equivariant)
        rows.append(_row(how, good, quantity, len(drawn.rotations), drawn.order))
    return Result(rows, measured, _notes(found, measured, rows), about)


def _row(about: About, good: list[Record], quantity: str, n: int, order: int | None) -> Row:
    sums = joined(good, quantity, n, order)
    kept = [record.quantities[quantity] for record in good]
    labelled = kept[0]["labelled"]
    baseline = spread = None
    if quantity == "energy":
        fractions = _fractions([record.formula for record in good])
        baseline = torch.from_numpy(beside_composition(fractions, np.array([k["label"] for k in kept])))
        spread = torch.from_numpy(beside_composition(fractions, np.array([k["mean"] for k in kept])))
    floors = _floors(good, quantity)
    return row_of(about, sums, clusters_of(good), labelled, floors, baseline, spread)


def _fractions(formulas: list[str]) -> np.ndarray:
    """Share of each element, [n, n_elements]."""
    from ase.formula import Formula

    counts = [Formula(text).count() for text in formulas]
    elements = sorted(set().union(*counts))
    table = np.array([[count.get(element, 0) for element in elements] for count in counts], dtype=float)
    return table / table.sum(1, keepdims=True)


def _floors(good: list[Record], quantity: str) -> dict[str, float]:
    floors = {}
    for kind in calculators.KINDS:
        taken = [record.floor[quantity] for record in good if kind in record.floor.get(quantity, {})]
        if power := sum(floor["power"] for floor in taken):
            floors[kind] = sum(floor[kind] for floor in taken) / power
    return floors


def _notes(found: Structures, measured: list[Record], rows: list[Row]) -> list[str]:
    notes = list(found.notes)
    if found.left_out:
        index, reason = next(iter(found.left_out.items()))
        notes.append(f"{len(found.left_out)} structures not used; the first, {index}: {reason}")
    failed = [record for record in measured if record.failed]
    if failed:
        first = failed[0]
        notes.append(
            f"{len(failed)} structures left out, as the calculator failed on them; the first, {first.index} "
            f"({first.formula}): {first.failed}"
        )
    notes += _of_floors(measured)
    notes += [note for row in rows for note in broken_at_the_identity(row)]
    notes += [note for row in rows for note in _of_units(row, measured)]
    return notes + [note for row in rows for note in _of_special_poses(row, measured)]


def _of_floors(measured: list[Record]) -> list[str]:
    """Evaluations at the identity that the calculator refuses, as one with a fixed order of atoms does."""
    found: dict[str, list[str]] = {}
    for record in measured:
        for kind, why in record.floor_failed.items():
            found.setdefault(kind, []).append(why)
    return [
        f"{kind} at the identity: the calculator failed on {len(reasons)} of the floor's structures, which "
        f"are left out of that floor alone; the first: {reasons[0]}"
        for kind, reasons in found.items()
    ]


def _of_units(row: Row, measured: list[Record]) -> list[str]:
    """Whether labels point where predictions do and are of another size: a unit that is not the one expected.

    Energies have an offset of each method's own, which says nothing.
    """
    kept = [record.quantities[row.quantity] for record in measured if record.quantities]
    if row.quantity == "energy" or not kept[0]["labelled"]:
        return []
    along, zero, power = (sum(sums[key] for sums in kept) for key in ("along", "zero", "power"))
    if zero == 0 or power == 0 or abs(along) < ALIGNED * math.sqrt(zero * power):
        return []
    ratio = math.copysign(math.sqrt(zero / power), along)
    if 1 / ALIKE < ratio < ALIKE:
        return []
    return [
        f"{row.quantity}: labels are {number(ratio)} times the predictions, expected about 1: are they in "
        f"{row.unit}, and not gradients?"
    ]


def _of_special_poses(row: Row, measured: list[Record]) -> list[str]:
    """How far the worst of the special poses lies from the mean, beside the worst of the others."""
    kept = [record.quantities[row.quantity] for record in measured if record.quantities]
    found = [sums["special"] for sums in kept if "special" in sums]
    if not found:
        return []
    worst = max(sums["worst"] for sums in kept)
    text = f"{row.quantity}: with a bond along an axis at most {number(max(found))} {row.unit} from the mean"
    return [f"{text}, {number(worst)} in other poses"]
