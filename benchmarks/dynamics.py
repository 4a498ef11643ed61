"""What broken rotation adds to what non-conservation costs: short molecular dynamics with direct forces.

    python benchmarks/dynamics.py --calculator equidyn.steps.run_calculator:calculator \\
        --kwargs '{"run": "results/runs/forces-raw"}' --structures test.extxyz --out dynamics.csv

From rest, 0.5 fs a step: drift of kinetic plus GFN2-xTB energy (the labels' own) for the model as it is, for
one random rotation at each step, and for the mean over the 24 rotations of the cube. Needs ase and tblite.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet
from tblite.ase import TBLite

import equidyn
from equidyn.probe import loading, structures
from equidyn.probe.result import write

EVERY = 10  # steps between looks at the energy
BROKEN = 20.0  # eV, a drift at which a trajectory is given up
VARIANTS = {
    "as it is": lambda model, seed: model,
    "one random rotation a step": lambda model, seed: equidyn.Twirled(model, 1, fresh=True, seed=seed),
    "mean over 24 rotations": lambda model, seed: equidyn.Twirled(model, "cube"),
}
COLUMNS = ["model", "variant", "structure", "formula", "step", "fs", "kinetic", "total", "drift"]


def trajectory(calculator, atoms, n_steps: int, step_fs: float):
    """Yield (step, kinetic, kinetic + GFN2 energy, both in eV) from rest, until the end or a broken one."""
    atoms, reference = atoms.copy(), atoms.copy()
    atoms.calc, reference.calc = calculator, TBLite(method="GFN2-xTB", verbosity=0)
    atoms.set_velocities(np.zeros((len(atoms), 3)))
    dynamics, start = VelocityVerlet(atoms, step_fs * units.fs), None
    for step in range(0, n_steps + 1, EVERY):
        if step:
            dynamics.run(EVERY)
        reference.positions = atoms.positions
        try:
            total = atoms.get_kinetic_energy() + reference.get_potential_energy()
        except Exception as error:  # atoms on top of each other: GFN2 does not converge
            print(f"  step {step}: {type(error).__name__}, given up", file=sys.stderr)
            return
        start = total if start is None else start
        yield step, atoms.get_kinetic_energy(), total
        if abs(total - start) > BROKEN:
            return


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calculator", required=True)
    parser.add_argument("--kwargs", default="{}")
    parser.add_argument("--name", default="")
    parser.add_argument("--structures", type=Path, required=True)
    parser.add_argument("--molecules", type=int, default=6, help="the smallest of the structures")
    parser.add_argument("--elements", default="H,C,N,O", help="of molecules that are looked at")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--fs", type=float, default=0.5)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    model = loading.calculator(args.calculator, json.loads(args.kwargs))
    frames = structures.read(args.structures)
    allowed = set(args.elements.split(","))
    fitting = [i for i, atoms in enumerate(frames) if set(atoms.get_chemical_symbols()) <= allowed]
    chosen = sorted(fitting, key=lambda i: (len(frames[i]), i))[: args.molecules]
    rows = []
    for variant, make in VARIANTS.items():
        for index in chosen:
            atoms, start = frames[index], None
            for step, kinetic, total in trajectory(make(model, index), atoms, args.steps, args.fs):
                start = total if start is None else start
                about = dict(model=args.name or args.calculator, variant=variant, structure=index)
                about |= dict(formula=atoms.get_chemical_formula(), step=step, fs=step * args.fs)
                rows.append(about | dict(kinetic=kinetic, total=total, drift=total - start))
            print(
                f"{variant}, {atoms.get_chemical_formula()}: {rows[-1]['drift']:.4f} eV at step {step}",
                flush=True,
            )
    write(args.out, rows, COLUMNS)


if __name__ == "__main__":
    main()
