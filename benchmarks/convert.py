"""Speed and peak memory of the conversion of generated files, for every kind of file and a number of workers.

    python benchmarks/convert.py --source npz spice --gigabytes 2 --workers 1 2

Four molecules of 22 to 25 atoms in 50 geometries each, with GFN2-xTB labels where the source has labels, or
200 helices of 60 to 200 residues (``structures``), are repeated in random order until the file holds
``--gigabytes``, before compression. Prints, per source and number of workers, items/s, and the peak resident
memory of the parent and of its largest child: a worker, or, where the parent itself reads, at most a helper
of some library. Linux only (``/proc``).
"""

import argparse
import bz2
import gzip
import io
import json
import multiprocessing
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

SMILES = ("CC(=O)Nc1ccc(O)cc1C", "COc1ccccc1CCN", "CC(C)Cc1ccccc1O", "O=C(O)CCc1ccccc1F")
GEOMETRIES = 50  # of a molecule
RESIDUES = "ALA ARG ASN ASP CYS GLN GLU GLY HIS ILE LEU LYS MET PHE PRO SER THR TRP TYR VAL".split()
VOXELS = {"elements": ["C", "H", "O", "N", "F"], "grid": 32, "resolution": 0.25, "radius": 0.5}


def geometries(labels: bool = True) -> list[tuple]:
    """(SMILES, numbers [n], positions [50, n, 3] Å, energies [50] eV, forces [50, n, 3] eV/Å) of every
    molecule; zeros without labels.
    """
    from equidyn.data.generate import conformers

    found = []
    for smiles in SMILES:
        frames = [conformers.displaced(smiles, 200, i) for i in range(GEOMETRIES)]
        numbers, positions = frames[0][0], np.stack([x for _, x in frames])
        energies, forces = zip(
            *(conformers.label(numbers, x) if labels else (0.0, np.zeros(x.shape)) for x in positions)
        )
        found.append((smiles, numbers, positions, np.array(energies), np.stack(forces)))
    return found


def symbols(numbers: np.ndarray) -> list[str]:
    from equidyn.data.elements import symbol

    return [symbol(z) for z in numbers.tolist()]


def conformers_of(smiles: str, positions: np.ndarray) -> list:
    """RDKit molecules with explicit hydrogens, one per geometry."""
    from rdkit import Chem

    found = []
    for x in positions:
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        conformer = Chem.Conformer(molecule.GetNumAtoms())
        conformer.SetPositions(x.astype(np.float64))
        molecule.AddConformer(conformer)
        found.append(molecule)
    return found


def fill(write: Callable, pieces: list, size: int) -> None:
    """Pieces in random order, until ``size`` bytes."""
    rng, done = np.random.default_rng(0), 0
    while done < size:
        for i in rng.permutation(len(pieces)):
            done += len(pieces[i])
            write(pieces[i])


def extxyz(path: Path, size: int) -> None:
    texts = []
    for _, numbers, positions, energies, forces in geometries():
        for x, energy, f in zip(positions, energies.tolist(), forces):
            rows = "\n".join(
                f"{s} " + " ".join(f"{value:14.8f}" for value in row)
                for s, row in zip(symbols(numbers), np.hstack([x, f]).tolist())
            )
            texts.append(
                f'{len(numbers)}\nProperties=species:S:1:pos:R:3:forces:R:3 energy={energy!r} pbc="F F '
                f'F"\n{rows}\n'.encode()
            )
    with open(path, "wb") as file:
        fill(file.write, texts, size)


def npz(path: Path, size: int) -> None:
    """One molecule in the layout of rMD17, whose members are not compressed."""
    from equidyn.data.units import KCAL_PER_MOL

    _, numbers, positions, energies, forces = geometries()[0]
    k = size // (48 * len(numbers) + 8)
    order = np.random.default_rng(0).integers(GEOMETRIES, size=k)
    with zipfile.ZipFile(path, "w") as archive:
        charges = io.BytesIO()
        np.save(charges, numbers.astype(np.uint8))
        archive.writestr("nuclear_charges.npy", charges.getvalue())
        for name, values in (
            ("coords", positions.astype(float)),
            ("energies", energies / KCAL_PER_MOL),
            ("forces", forces / KCAL_PER_MOL),
        ):
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array_header_1_0(
                    file, {"descr": "<f8", "fortran_order": False, "shape": (k, *values.shape[1:])}
                )
                for start in range(0, k, 10_000):
                    file.write(values[order[start : start + 10_000]].tobytes())


def spice(path: Path, size: int) -> None:
    """Groups of 50 conformations with all arrays of SPICE 1.1.4, most of which no reader wants: they are most
    of the size.
    """
    import h5py

    from equidyn.data.units import BOHR, HARTREE

    found, number = geometries(), 0
    with h5py.File(path, "w", libver="latest") as file:
        while path.stat().st_size < size:
            smiles, numbers, positions, energies, forces = found[number % len(found)]
            group, n = file.create_group(f"{number:07d}"), len(numbers)
            group["smiles"], group["atomic_numbers"] = [smiles], numbers.astype(np.int16)
            for name, values, unit in (
                ("conformations", positions / BOHR, "bohr"),
                ("dft_total_energy", energies / HARTREE, "hartree"),
                ("dft_total_gradient", -forces / (HARTREE / BOHR), "hartree/bohr"),
            ):
                group.create_dataset(
                    name, data=values.astype(np.float64 if values.ndim == 1 else np.float32)
                ).attrs["units"] = unit
            for name, shape in (
                ("mayer_indices", (n, n)),
                ("wiberg_lowdin_indices", (n, n)),
                ("mbis_quadrupoles", (n, 3, 3)),
                ("mbis_octupoles", (n, 3, 3, 3)),
            ):
                group[name] = np.ones((GEOMETRIES, *shape), np.float32)
            number += 1


def sdf(path: Path, size: int) -> None:
    from rdkit import Chem

    texts = [
        (Chem.MolToMolBlock(m) + "$$$$\n").encode()
        for smiles, _, positions, *_ in geometries(False)
        for m in conformers_of(smiles, positions)
    ]
    with open(path, "wb") as file:
        fill(file.write, texts, size)


def xyz(path: Path, size: int) -> None:
    """An archive of files as QM9's: a charge column, numbers such as 1.2*^-6, lines after the frame."""
    texts = []
    for smiles, numbers, positions, *_ in geometries(False):
        for x in positions.tolist():
            rows = "\n".join(
                "\t".join([s, *(f"{value:.10f}" for value in row), "1.2*^-6"])
                for s, row in zip(symbols(numbers), x)
            )
            texts.append(
                f"{len(numbers)}\ngdb 1\t{'0.1234	' * 15}\n{rows}\n{'1234.5678	' * 60}\n"
                f"{smiles}\t{smiles}\nInChI=1S/\tInChI=1S/\n".encode()
            )
    with bz2.open(path, "wb", 1) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        fill(members(archive, "dsgdb9nsd_{:07d}.xyz"), texts, size)


def members(archive: tarfile.TarFile, name: str) -> Callable[[bytes], None]:
    """A function that adds a numbered member."""
    number = 0

    def add(content: bytes) -> None:
        nonlocal number
        info = tarfile.TarInfo(name.format(number))
        info.size, number = len(content), number + 1
        archive.addfile(info, io.BytesIO(content))

    return add


def geom(path: Path, size: int) -> None:
    """A pickled list of (SMILES, five conformers), in batches of 1000 as pickle writes them, but from pickles
    of its elements.
    """
    bodies = []
    for smiles, _, positions, *_ in geometries(False):
        molecules = conformers_of(smiles, positions)
        for start in range(0, GEOMETRIES, 5):
            written = io.BytesIO()
            pickler = pickle.Pickler(written, 3)
            pickler.fast = True  # no memo, so that the piece can stand anywhere
            pickler.dump((smiles, molecules[start : start + 5]))
            bodies.append(written.getvalue()[2:-1])  # without protocol and end
    batch = []
    with open(path, "wb") as file:

        def add(body: bytes) -> None:
            batch.append(body)
            if len(batch) == 1000:
                file.write(b"(" + b"".join(batch) + b"e")
                batch.clear()

        file.write(b"\x80\x03]")
        fill(add, bodies, size)
        file.write(b"(" + b"".join(batch) + b"e.")


def structures(path: Path, size: int) -> None:
    """An archive of compressed mmCIF files of one helix each: 200 sequences, every file with another place of
    its first residue, so that none is a duplicate.
    """
    rng, texts = np.random.default_rng(0), [helix(i) for i in range(200)]
    number, done = 0, 0
    with tarfile.open(path, "w") as archive:
        add = members(archive, "{:07d}.cif.gz")
        while done < size:
            for i in rng.permutation(len(texts)):
                text = (
                    texts[i]
                    .replace("9999.123", f"{0.01 * (number // 200 % 100):.3f}")
                    .replace("9999.456", f"{0.01 * (number // 20_000):.3f}")
                    .encode()
                )
                done, number = done + len(text), number + 1
                add(gzip.compress(text, 1))


def helix(seed: int) -> str:
    """An mmCIF file of the backbone of a helix of random sequence; its first C-alpha has placeholders for x
    and y, which are about 0.
    """
    import gemmi

    rng, rows = np.random.default_rng(seed), []
    for i, residue in enumerate(rng.choice(RESIDUES, rng.integers(60, 201))):
        angle = np.radians(100 * i)
        alpha = np.array([2.3 * np.cos(angle) - 2.3, 2.3 * np.sin(angle), 1.5 * i])
        for k, (name, shift) in enumerate((("N", -1.2), ("CA", 0.0), ("C", 1.2), ("O", 2.0))):
            x, y, z = alpha + shift * np.array([0.3, 0.3, 0.9]) * (k != 1)
            x, y = (9999.123, 9999.456) if i == 0 and k == 1 else (x, y)
            rows.append(
                f"ATOM  {4 * i + k + 1:5d}  {name:<3} {residue} A{i + 1:4d}    {x:8.3f}{y:8.3f}{z:8.3f}  "
                f"1.00 10.00          {name[0]:>2}\n"
            )
    structure = gemmi.read_pdb_string("".join(rows) + "TER\n")
    structure.setup_entities()
    structure.name = f"h{seed}"
    return structure.make_mmcif_document().as_string()


SOURCES = {  # how a file is made, its name, settings of the dataset
    "extxyz": (extxyz, "f.xyz", {"energy_unit": "eV"}),
    "npz": (npz, "f.npz", {"energy_unit": "kcal/mol"}),
    "spice": (spice, "f.hdf5", {}),
    "sdf": (sdf, "f.sdf", {"voxels": VOXELS}),
    "xyz": (xyz, "f.tar.bz2", {"voxels": VOXELS}),
    "geom": (geom, "f.pickle", {"voxels": VOXELS, "n_conformers": 5}),
    "structures": (structures, "f.tar", {"min_residues": 50, "max_residues": 256, "identity": 0.5}),
}

# VmHWM and not ru_maxrss for the parent: the latter begins with what the process that started it held.
MEASURED = """
import json, resource, sys, time
from pathlib import Path
from equidyn.data.build import build
if __name__ == "__main__":
    settings, out, workers = json.loads(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    start = time.perf_counter()
    counts = build(settings, out, workers=workers)
    seconds = time.perf_counter() - start
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    status = Path("/proc/self/status").read_text().splitlines()
    parent = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))  # KiB, as ru_maxrss
    cpu = sum(use.ru_utime + use.ru_stime for use in (own, others))
    memory = {"parent": parent / 1024, "child": others.ru_maxrss / 1024}
    print(json.dumps({"items": counts["items"], "seconds": seconds, "cpu": cpu, **memory}))
"""


def measured(source: str, gigabytes: float, workers: list[int], folder: Path) -> Iterator[str]:
    """Lines of the report on one source."""
    make, name, extra = SOURCES[source]
    path, script = folder / name, folder / "measured.py"
    script.write_text(MEASURED)
    start = time.perf_counter()
    process = multiprocessing.get_context("spawn").Process(
        target=make, args=(path, int(gigabytes * 1e9))
    )  # its memory would show in the processes that we start
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"{source}: could not be generated")
    yield (
        f"{source}: {gigabytes:g} GB, {path.stat().st_size / 1e9:.2f} GB on disk, generated in "
        f"{time.perf_counter() - start:.0f} s"
    )
    settings = dict(source=source, files=[str(path)], licence="generated", n_held_out=1, seed=0, **extra)
    settings["accept"] = ["copies"]  # geometries are repeated
    for n in workers:
        out = folder / f"{n}.h5"
        done = subprocess.run(
            [sys.executable, script, json.dumps(settings), out, str(n)],
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        found = json.loads(done.stdout.splitlines()[-1])
        items, seconds = found["items"], found["seconds"]
        yield (
            f"{source}, workers {n}: {items} items in {seconds:.0f} s, {items / seconds:.0f} items/s, "
            f"{items / found['cpu']:.0f} per CPU second; "
            f"peak memory: parent {found['parent']:.0f} MB, largest child {found['child']:.0f} MB; "
            f"{out.stat().st_size / 1e9:.2f} GB of HDF5"
        )
        out.unlink()
    path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--source", nargs="+", choices=[*SOURCES, "all"], default=["extxyz"], help="kinds of files"
    )
    parser.add_argument(
        "--gigabytes",
        type=float,
        default=2.0,
        help="of content in the generated file; the file is smaller where it is compressed",
    )
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument(
        "--folder", type=Path, default=None, help="where the files are generated; they are deleted at the end"
    )
    args = parser.parse_args()
    os.environ.setdefault(
        "OMP_NUM_THREADS", "1"
    )  # labels on two threads are slower, and many times so on a busy machine
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        for source in SOURCES if "all" in args.source else args.source:
            for line in measured(source, args.gigabytes, args.workers, Path(folder)):
                print(line, flush=True)


if __name__ == "__main__":
    main()
