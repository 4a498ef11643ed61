"""Options of ``equidyn measure`` and ``equidyn twirl``; read without torch."""

import argparse
from pathlib import Path

from equidyn.probe.defaults import (
    BATCH_SIZE,
    GROUP,
    QUADRATURE,
    ROTATIONS,
    SEED,
    TOLERANCE,
    TWIRL_ROTATIONS,
)

SUMMARY = "how equivariant is my model? its loss, split over rotations"
DESCRIPTION = """\
How much of a model's error is there only because it does not turn with the molecule?

Every structure is predicted in several random orientations (positions and cell turned together); the
predictions are turned back and compared. What differs is the equivariance error. With reference labels it
is given as a share of the squared error, with a 95 % interval; without them, as a root mean square and
relative to the prediction. Beside it stands the floor: what repeating, moving, re-ordering the same
structure or turning it by a hair changes, which is rounding."""
EXAMPLES = """\
examples
  equidyn measure --calculator ase.calculators.emt:EMT --structures test.xyz --out results/emt
  equidyn measure --calculator tblite.ase:TBLite --kwargs '{"method": "GFN2-xTB", "verbosity": 0}' \\
                  --structures test.xyz --out results/xtb
  equidyn measure --calculator mace.calculators:mace_mp --kwargs '{"model": "small"}' \\
                  --structures test.extxyz --forces-key REF_forces --energy-key REF_energy --out results/mace
  equidyn measure --calculator my_calc.py:make --structures test.extxyz --forces-key forces \\
                  --fail-above 2% --out results/mine       # in the tests of a model
  equidyn measure --model my_net.py:load --data my_net.py:heldout --checkpoints 'runs/x/*.pt' --out results/x

writes into --out
  decomposition.csv  a row per quantity: losses, shares, intervals, floors, verdict
  parts.csv          the error by degree, by element, distance from the centre, and angle between two poses
  per_item.csv       a row per structure and quantity, with its worst orientation
  equivariance.png, report.html, worst.extxyz (the worst structure in its worst orientation)
  summary.json       the same with versions, seed and command; items.jsonl and, with --checkpoints,
                     checkpoints.jsonl, from which a stopped run goes on

exit code: 0 measured; 1 with --fail-above, when the share is not shown to be below, or a structure or a
checkpoint failed; 2 something is wrong with the input or the model, which one paragraph says"""


TWIRL_SUMMARY = "what does averaging my model over rotations gain?"
TWIRL_DESCRIPTION = """\
A model that is not equivariant can be averaged over random rotations of its input, at the cost of as many
evaluations. Measured here: the loss of the mean over n = 1, 2, 4, 8, 24, beside what is expected of it,
P + E/n (P: twirled prediction error, E: equivariance error), and the n that a tolerance asks for."""
TWIRL_EXAMPLES = """\
example
  equidyn twirl --calculator my_calc.py:make --structures test.extxyz --forces-key REF_forces --out results/t

writes what equidyn measure does, and twirl.csv. In Python, equidyn.Twirled(calculator, 8) is the average as a
calculator."""


def add(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``measure``."""
    _describe(parser, DESCRIPTION, EXAMPLES)
    model = _model(parser)
    model.add_argument(
        "--model",
        metavar="WHERE:NAME",
        help="a torch network instead: a function that returns it; with --checkpoints it is given a path",
    )
    model.add_argument(
        "--checkpoints", metavar="GLOB", help="files of one training run, such as 'runs/x/*.pt'"
    )
    model.add_argument(
        "--data",
        metavar="WHERE:NAME",
        help="with --model: a function that returns an equidyn.HeldOut (items, and how each field turns)",
    )
    model.add_argument(
        "--meant-equivariant",
        action="store_true",
        help="the model should be exact: whatever lies above the floor is called a bug",
    )
    ours = _run(parser)
    ours.add_argument(
        "--symmetries",
        type=Path,
        metavar="FILE",
        help="instead a table, CSV: rotation, inversion and, where meant, translation and permutation",
    )
    _data(parser)
    how = _how(parser, ROTATIONS)
    how.add_argument(
        "--fail-above",
        metavar="PERCENT",
        help="exit with 1 unless the whole interval of every share is at most this, such as 2%%",
    )


def add_twirl(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``twirl``."""
    _describe(parser, TWIRL_DESCRIPTION, TWIRL_EXAMPLES)
    _model(parser)
    _run(parser)
    _data(parser)
    how = _how(parser, TWIRL_ROTATIONS)
    how.add_argument(
        "--tolerance",
        default=TOLERANCE,
        metavar="PERCENT",
        help=f"what the loss may lie above that of the whole average ({TOLERANCE}%)",
    )


def _describe(parser: argparse.ArgumentParser, description: str, epilog: str) -> None:
    parser.description, parser.epilog = description, epilog
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    folder = "folder to write to (default: equidyn-NAME); with --run the table to write, CSV (default: none)"
    parser.add_argument("--out", type=Path, metavar="DIR", help=folder)


def _model(parser: argparse.ArgumentParser):
    model = parser.add_argument_group("the model")
    model.add_argument(
        "--calculator",
        metavar="WHERE:NAME",
        help="an ASE calculator, a class or a function that makes one: package.module:name or file.py:name",
    )
    model.add_argument("--kwargs", default="{}", metavar="JSON", help="arguments for it, as JSON")
    model.add_argument("--name", default="", help="name of the model in tables and figures")
    return model


def _run(parser: argparse.ArgumentParser):
    ours = parser.add_argument_group("a run of this repository's workflow")
    ours.add_argument("--run", type=Path, metavar="DIR", help="its folder, such as results/runs/forces")
    ours.add_argument(
        "--dataset", type=Path, metavar="FILE", help="its dataset (default: the one beside runs/)"
    )
    return ours


def _data(parser: argparse.ArgumentParser) -> None:
    data = parser.add_argument_group("structures and reference labels")
    data.add_argument("--structures", metavar="FILE", help="any file that ase reads, all of its frames")
    for name, unit in (("energy", "eV"), ("forces", "eV/Å"), ("stress", "eV/Å³"), ("dipole", "e Å")):
        data.add_argument(f"--{name}-key", metavar="KEY", help=f"name of the reference {name}, {unit}")
    data.add_argument(
        "--quantities",
        metavar="NAMES",
        help="some of energy,forces,stress,dipole (default: those with labels, and energy and forces)",
    )
    data.add_argument("--limit", type=int, metavar="N", help="only N structures, drawn at random")
    data.add_argument(
        "--cluster-key",
        metavar="KEY",
        help="structures that share this entry belong together, as conformers do (default: composition)",
    )


def _how(parser: argparse.ArgumentParser, rotations: int):
    how = parser.add_argument_group("how it is measured")
    how.add_argument(
        "--rotations",
        type=int,
        default=rotations,
        metavar="N",
        help=f"orientations per structure ({rotations})",
    )
    how.add_argument(
        "--group",
        default=GROUP,
        help=f"so3: rotations; o3: rotations and mirror images; cube: its 24 rotations ({GROUP})",
    )
    how.add_argument(
        "--quadrature",
        default=QUADRATURE,
        help="haar: random orientations; cube, icosahedron or lebedev:DEGREE: fixed ones instead, exact to "
        f"degree 3, 5 or DEGREE ({QUADRATURE})",
    )
    how.add_argument(
        "--special-poses", action="store_true", help="also with the shortest bond exactly along each axis"
    )
    how.add_argument(
        "--batch-size",
        type=int,
        default=BATCH_SIZE,
        metavar="N",
        help="orientations in one call of a calculator with calculate_many(frames, properties) "
        f"({BATCH_SIZE})",
    )
    how.add_argument("--seed", type=int, default=SEED, help=f"of orientations and of --limit ({SEED})")
    return how


COMPARE_SUMMARY = "what changed between two measurements, with intervals"


def add_compare(parser: argparse.ArgumentParser) -> None:
    """Give a parser the options of ``compare``."""
    parser.description = COMPARE_SUMMARY
    help = "a folder of equidyn measure, of a run, or of a whole workflow"
    parser.add_argument("first", type=Path, help=help)
    parser.add_argument("second", type=Path, help=help)
    parser.add_argument("--out", type=Path, metavar="FILE", help="table to write, CSV")
