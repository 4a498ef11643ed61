"""Measure published models, each in an environment of its own, and write docs/gallery.md: ``make gallery``.

    python benchmarks/gallery.py --work .gallery --run results/runs [--only CHGNet ...] [--limit 16]

Structures are held-out molecules of the default dataset (GFN2-xTB labels), which must be there: ``make
results`` or ``snakemake --cores 2 results/data/molecules.h5``. A case that fails keeps the last line of what
it said. Nothing of another project is kept in this repository but figures that our own command draws.
"""

import argparse
import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from equidyn.data import select, store

ROOT = Path(__file__).resolve().parents[1]
BOX = 22.0  # Å: models of periodic structures see no image of a molecule
ABOUT = """# Gallery: how well do models turn with their molecules?

Written by `make gallery` (`benchmarks/gallery.py`), CPU, one thread; each model in an environment of its own.
Structures: held-out molecules of the default dataset, one frame of each (EMT: crystals of metals). A share of
the loss is given only to models that were trained on such labels, GFN2-xTB (ours, and PET, trained here by
metatrain); for the others the error stands by itself, as their labels are of another method. The split is
that of the day in the last column (another one since 2026-11-27).
Voxel cases (`benchmarks/gallery_*.py`) are turned by all 24 rotations of the cube, which a grid has exactly;
Topaz is compared with the clean volumes that noise was added to.
How to read the columns: [measure-your-model.md](measure-your-model.md).

"""
HEADS = ["model", "what", "quantity", "verdict", "% of the loss", "r.m.s. error", "relative, %", "floor"]
HEADS += ["structures × orientations", "s per structure", "versions", "date"]


@dataclass(frozen=True)
class Case:
    """One model: what to install, how to ask it, and whether the labels are of its own method."""

    name: str
    what: str
    calculator: str  # or, of a voxel case, the file beside this one with ``load`` and ``heldout``
    kwargs: dict
    packages: tuple[str, ...] = ()
    boxed: bool = True
    labelled: bool = False
    without_dependencies: tuple[str, ...] = ()
    command_before: str = ""  # run in the work folder, with the environment's programs first
    more: tuple[str, ...] = field(default=())


MEANT = ("--meant-equivariant",)
PET = "metatrain==2026.4.1"
CASES = [
    Case("EMT", "ase's effective medium theory, crystals of metals", "ase.calculators.emt:EMT", {}),
    Case(
        "GFN2-xTB", "tblite, the method of the labels", "tblite.ase:TBLite",
        {"method": "GFN2-xTB", "verbosity": 0}, ("tblite==0.8.0",), boxed=False, more=MEANT,
    ),
    Case(
        "CHGNet", "graph network of invariants, float32", "chgnet.model.dynamics:CHGNetCalculator",
        {"use_device": "cpu"}, ("chgnet==0.4.2",), more=MEANT,
    ),
    Case(
        "7net-0", "NequIP-like tensors, float32", "sevenn.calculator:SevenNetCalculator",
        {"model": "7net-0", "device": "cpu"}, ("sevenn==0.13.0",), more=MEANT,
    ),
    Case(
        "DIEP", "graph network, float32", "diep.pretrained:make_calculator", {"stress": False},
        ("torch_geometric", "pymatgen", "torchmetrics", "lightning"),
        without_dependencies=("diep==2.0.0",), more=MEANT,
    ),
    Case(
        "PET, direct", "unconstrained transformer, direct forces", "metatomic_ase:MetatomicCalculator",
        {"model": "pet.pt", "device": "cpu", "non_conservative": "forces"}, (PET,), labelled=True,
        boxed=False, command_before="test -f pet.pt || mtt train pet.yaml -o pet.pt",
    ),
    Case(
        "PET, gradient", "the same network, forces that are gradients", "metatomic_ase:MetatomicCalculator",
        {"model": "pet.pt", "device": "cpu"}, (PET,), labelled=True, boxed=False,
    ),
    Case(
        "forces-raw", "our transformer on raw directions", "equidyn.steps.run_calculator:calculator",
        {"run": "forces-raw"}, labelled=True, boxed=False,
    ),
    Case(
        "forces", "our EScAIP mini", "equidyn.steps.run_calculator:calculator",
        {"run": "forces"}, labelled=True, boxed=False,
    ),
    Case(
        "Topaz 3D denoiser", "3D U-Net, invented volumes of 32³ voxels under noise", "gallery_topaz.py",
        {"model": "unet-3d-20a"}, ("topaz-em==0.3.20", "setuptools<81"),  # pkg_resources
    ),
    Case(
        "gnina CNN", "3D network on densities of atoms, invented complexes", "gallery_gnina.py",
        {}, ("molgrid==0.5.5", "numpy<2", "pytorch-ignite", "pandas", "scikit-learn"),
        without_dependencies=("gninatorch==0.0.2",),
    ),
]  # fmt: skip
NOT_RUN = """
Not run: MACE, Orb, UMA, PET-MAD (no weights in their packages; the commands are in
[measure-your-model.md](measure-your-model.md), tried against stand-ins).
"""


def molecules(dataset: Path, work: Path, limit: int) -> None:
    """Held-out molecules with and without a box, and training ones for PET."""
    arrays, _ = store.read(dataset)
    held, train = select.held_out_items(arrays, dataset, limit), select.training_items(arrays, dataset, 360)
    files = {"molecules": (held, None), "boxed": (held, BOX)}
    files |= {"train": (train[:320], None), "valid": (train[320:], None)}
    for name, (items, box) in files.items():
        ase.io.write(work / f"{name}.extxyz", [_atoms(arrays, item, box) for item in items])


def _atoms(arrays: dict, item: int, box: float | None) -> Atoms:
    here = slice(arrays["offsets"][item], arrays["offsets"][item + 1])
    atoms = Atoms(arrays["numbers"][here], arrays["positions"][here].astype(float))
    if box:
        atoms.cell, atoms.pbc = [box] * 3, True
    atoms.arrays["REF_forces"] = arrays["forces"][here].astype(float)
    atoms.info |= dict(REF_energy=float(arrays["energy"][item]), mol_id=int(arrays["cluster"][item]))
    return atoms


def metals(work: Path) -> None:
    """Displaced crystals that EMT knows."""
    from ase.build import bulk

    random, frames = np.random.default_rng(0), []
    for symbol in ("Cu", "Ag", "Au", "Ni", "Pd", "Pt", "Al"):
        atoms = bulk(symbol, cubic=True).repeat((2, 1, 1))
        atoms.positions += random.normal(scale=0.05, size=atoms.positions.shape)
        frames.append(atoms)
    ase.io.write(work / "metals.extxyz", frames)


def environment(case: Case, work: Path) -> Path:
    """Folder of the programs of the case's environment, made where it is not there; ours use this one."""
    if case.calculator.startswith("equidyn."):
        return Path(sys.executable).parent
    packages = (*case.packages, *case.without_dependencies)
    folder = work / "environments" / ("-".join(re.split("[=<]", one)[0] for one in packages) or "ase")
    if not (folder / "done").exists():
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        constraint = work / "torch.txt"  # that of this environment: its build serves this machine
        constraint.write_text(f"torch=={metadata.version('torch')}\n")
        pip = [str(folder / "bin/pip"), "install", "--quiet", "--constraint", str(constraint)]
        subprocess.run([*pip, f"{ROOT}[calculators]", *case.packages], check=True)
        if case.without_dependencies:
            subprocess.run([*pip, "--no-deps", *case.without_dependencies], check=True)
        (folder / "done").touch()
    return folder / "bin"


def measure(case: Case, work: Path, runs: Path, rotations: int) -> str:
    """Run the case; returns why it could not be, or nothing."""
    programs = environment(case, work)
    how = dict(
        cwd=work, env=os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    )
    if case.command_before:
        subprocess.run(case.command_before, shell=True, check=True, **how)
    kwargs = dict(case.kwargs)
    if "run" in kwargs:
        kwargs["run"] = str((runs / kwargs["run"]).resolve())
    asked = ["measure", "--kwargs", json.dumps(kwargs), "--name", case.name, "--out", f"out/{case.name}"]
    asked += _of_voxels(case) if case.calculator.endswith(".py") else _of_atoms(case, rotations)
    done = subprocess.run(
        [str(programs / "equidyn"), *asked, *case.more], capture_output=True, text=True, **how
    )
    print(done.stdout, done.stderr[-2000:], sep="\n", flush=True)
    return "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def _of_voxels(case: Case) -> list[str]:
    """Options of ``equidyn measure`` for a network on grids."""
    file = ROOT / "benchmarks" / case.calculator
    asked = ["--model", f"{file}:load", "--data", f"{file}:heldout"]
    return [*asked, "--group", "cube", "--rotations", "24"]


def _of_atoms(case: Case, rotations: int) -> list[str]:
    """Options of ``equidyn measure`` for a calculator."""
    structures = "boxed" if case.boxed else "molecules"
    structures = "metals" if case.name == "EMT" else structures
    asked = ["--calculator", case.calculator, "--structures", f"{structures}.extxyz"]
    asked += ["--rotations", str(rotations)]
    if case.labelled:
        asked += ["--forces-key", "REF_forces", "--energy-key", "REF_energy", "--cluster-key", "mol_id"]
    return asked


def lines(case: Case, folder: Path) -> str:
    """The table's lines of one case, from its folder."""
    summary = json.loads((folder / "summary.json").read_text())
    with open(folder / "decomposition.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {k: v for k, v in summary["versions"].items() if k not in ("python", "numpy", "scipy")}
    pins = [one.split("==") for one in (*case.packages, *case.without_dependencies) if "==" in one]
    versions = " ".join(f"{name} {version}" for name, version in (found | dict(pins)).items())
    return "".join(_line(case, row, versions, summary["date"]) for row in rows)


def _line(case: Case, row: dict, versions: str, date: str) -> str:
    def short(text: str, scale: float = 1.0, root: bool = False) -> str:
        value = float(text) if text else float("nan")
        return "–" if value != value else f"{scale * (value**0.5 if root else value):.3g}"

    share = f"{short(row['percent'])} [{short(row['percent_lo'])}, {short(row['percent_hi'])}]"
    share = share if row["percent"] and not row["verdict"].startswith("exact") else "–"
    seconds = float(row["seconds"]) / int(row["n_items"])
    cells = [
        case.name,
        case.what,
        row["quantity"],
        row["verdict"],
        share,
        f"{short(row['rms'])} {row['unit']}",
    ]
    cells += [short(row["relative_equivariance"], 100, root=True), short(row["floor"], root=True)]
    cells += [f"{row['n_items']} × {row['n_rotations']}", f"{seconds:.2g}", versions, date]
    return "| " + " | ".join(cells) + " |\n"


def page(work: Path, failures: dict[str, str]) -> str:
    """docs/gallery.md of all cases that have been measured, now or before."""
    text = f"{ABOUT}| {' | '.join(HEADS)} |\n|{'---|' * len(HEADS)}\n"
    figures, missing = "", ""
    for case in CASES:
        folder = work / "out" / case.name
        if (folder / "summary.json").exists():
            text += lines(case, folder)
            name = case.name.replace(", ", "-").replace(" ", "-")
            (ROOT / "docs/gallery").mkdir(exist_ok=True)
            shutil.copyfile(folder / "equivariance.png", ROOT / f"docs/gallery/{name}.png")
            figures += f"\n![{case.name}](gallery/{name}.png)\n"
        else:
            missing += f"\nNot measured: {case.name}, {failures.get(case.name, 'not tried here')}.\n"
    return text + missing + NOT_RUN + figures


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, default=ROOT / ".gallery", help="environments and outputs")
    parser.add_argument("--run", type=Path, default=ROOT / "results/runs", help="folder of our own runs")
    parser.add_argument("--dataset", type=Path, default=ROOT / "results/data/molecules.h5")
    parser.add_argument("--only", nargs="*", help="names of cases; all by default")
    parser.add_argument("--limit", type=int, default=32, help="held-out molecules")
    parser.add_argument("--rotations", type=int, default=8)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    work = args.work.resolve()
    molecules(args.dataset, work, args.limit)
    metals(work)
    shutil.copyfile(ROOT / "benchmarks/gallery_pet.yaml", work / "pet.yaml")
    failures = {}
    for case in CASES:
        if args.only is None or case.name in args.only:
            started = time.monotonic()
            try:
                reason = measure(case, work, args.run, args.rotations)
            except subprocess.CalledProcessError as error:
                reason = f"{error.cmd} ended with {error.returncode}"
            print(f"{case.name}: {reason or 'measured'}, {time.monotonic() - started:.0f} s", flush=True)
            if reason:
                failures[case.name] = reason
    (ROOT / "docs/gallery.md").write_text(page(work, failures))


if __name__ == "__main__":
    main()
