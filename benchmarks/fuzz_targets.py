"""What `fuzz.py` tries: every reader of files, the forms of its files, small valid ones as seeds, and pieces
of real ones.
"""

import bz2
import gzip
import io
import json
import lzma
import math
import pickle
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LARGEST = 700_000  # bytes of a real binary file in the corpus
CUT = 16_384  # bytes of a real text, decompressed
FILES, MEMBERS = 12, 6  # of a pattern of real files, of an archive among them


@dataclass(frozen=True)
class Target:
    """A reader: ``read(path)`` returns the number of items it found; ``forms`` are (file name, content ->
    bytes of the file).
    """

    read: Callable[[Path], int]
    forms: list[tuple[str, Callable[[bytes], bytes]]]
    seeds: Callable[[], list[tuple[int, bytes]]]  # (form, content)
    real: tuple[
        tuple[str, int], ...
    ] = ()  # patterns of real files, and the form that their content, decompressed, takes
    confined: Callable[[Path], int] | None = (
        # as a conversion reads it, where that is in workers with limits: must survive what ``read`` does not
        None
    )


def same(content: bytes) -> bytes:
    return content


def tarred(name: str) -> Callable[[bytes], bytes]:
    def pack(content: bytes) -> bytes:
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
        return packed.getvalue()

    return pack


def zipped(*names: str) -> Callable[[bytes], bytes]:
    """The content as members of these names, split where SEPARATOR stands."""

    def pack(content: bytes) -> bytes:
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, part in zip(names, content.split(SEPARATOR)):
                archive.writestr(name, part)
        return packed.getvalue()

    return pack


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1)


def described(content: bytes) -> bytes:
    """A sealed HDF5 file with the attributes and arrays that JSON describes; the content itself where that
    cannot be.
    """
    import numpy as np

    from equidyn.guards import content_digest

    try:
        said = json.loads(content)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "d.h5")
            with content_digest.create(path) as file:
                file.attrs.update(said["attributes"])
                for name, (dtype, shape, values) in said["arrays"].items():
                    assert (
                        np.dtype(dtype).itemsize * math.prod(shape) < 1 << 20
                    )  # of this test's making, not of the file's
                    file[name] = np.resize(np.array(values).astype(dtype), shape)
            return path.read_bytes()
    except Exception:  # json, numpy and h5py raise many types
        return content


CONTAINERS = {
    ".gz": lambda data: gzipped(data) + gzipped(data),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zip": zipped("a", "b"),
    ".pickle": pickle.dumps,
    ".hdf5": lambda data: _hdf5(lambda file: file.update({"a": data})),
}
SEPARATOR = b"\n--next--\n"


def targets() -> dict[str, Target]:
    """All of them, by name; imports what they read with."""
    import yaml

    from equidyn import config, errors
    from equidyn.data import conversion, splits, store
    from equidyn.data.generate import molecule_lists
    from equidyn.data.readers import geom, registry, sequence_clusters
    from equidyn.data.schema import KINDS
    from equidyn.download.lockfile import read_lock
    from equidyn.download.table import read_table
    from equidyn.errors import DataError
    from equidyn.guards import completeness

    def streamed(source, **settings):
        return lambda path: len(
            conversion.read(registry.READERS[source], path, {"source": source, **settings})[0]
        )

    def spice(path):  # the real sample is charged, so that the filters would leave nothing of it to read
        every, neutral = streamed("spice"), streamed("spice", elements=["H", "C", "N", "O"], neutral=True)
        return every(path) + neutral(path)

    def converted(path):
        with tempfile.TemporaryDirectory() as folder:
            return sum(
                shard.found
                for shard in conversion.shards(
                    registry.READERS["spice"],
                    [conversion.Input((str(path),))],
                    {"source": "spice"},
                    Path(folder),
                )
            )

    def chains(path):
        found, _ = conversion.read(
            registry.READERS["structures"], path, {"min_residues": 2, "max_residues": 300}
        )  # a limit of resolution would reject most seeds
        sequence_clusters.clusters([item.cluster for item in found], {"identity": 0.5})
        return len(found)

    def whole(path):
        try:
            return int(
                not (
                    completeness.wrong_beginning(path, path.name) or completeness.missing_end(path, path.name)
                )
            )
        except OSError as error:  # documented
            raise DataError(str(error)) from error

    def dataset(path):
        return len(store.read(path, path.stem)[0]["offsets"]) - 1

    def validated(path):
        try:
            loaded = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except Exception as error:  # Snakemake reads the file, not we
            raise errors.ConfigError("not YAML") from error
        config.validate(loaded)
        return len(config.expand(loaded)[0]["runs"])

    def text(name):
        return [
            (name, same),
            (f"{name}.gz", gzipped),
            ("a.tar.gz", tarred(name)),
            ("a.zip", zipped(name)),
            (f"{name}.gz", same),
            ("a.tar", same),
            ("a.zip", same),
        ]

    voxels = {
        "max_atoms": 60,
        "voxels": {
            "elements": ["C", "H", "O", "N", "F", "S", "Cl", "Br"],
            "grid": 16,
            "resolution": 0.5,
            "radius": 0.5,
        },
    }
    npy = ("nuclear_charges.npy", "coords.npy", "energies.npy", "forces.npy")
    return {
        "extxyz": Target(
            streamed("extxyz", energy_unit="eV"), text("f.xyz"), _extxyz, (("forces/3bpa_*.xyz", 0),)
        ),
        "npz": Target(
            streamed("npz", energy_unit="kcal/mol"),
            [("f.npz", zipped(*npy)), ("f.npz", same)],
            _npz,
            (("forces/rmd17_*.npz", 1),),
        ),
        "spice": Target(spice, [("f.hdf5", same)], _spice, (("forces/SPICE*.hdf5", 0),), converted),
        "sdf": Target(
            streamed("sdf", **voxels),
            text("m.sdf"),
            _sdf,
            (("molecules/*.sdf", 0), ("molecules/*.sdf.gz", 0)),
        ),
        "xyz": Target(
            streamed("xyz", **voxels),
            text("m.xyz"),
            _xyz,
            (("molecules/*.xyz", 0), ("molecules/*.tar.gz", 0)),
        ),
        "geom": Target(lambda path: sum(1 for _ in geom.records(path)), [("m.pickle", same)], _geom),
        "structures": Target(
            chains,
            [*text("p.cif"), ("p.pdb", same), ("p.pdb.gz", gzipped)],
            _structures,
            (("proteins/*.cif.gz", 0), ("proteins/*.pdb.gz", 7), ("proteins/*.pdb.gz", 8)),
        ),
        "smiles list": Target(
            lambda path: len(molecule_lists.read_molecules(path, [])),
            [("m.csv", same), ("m.smi", same), ("m.csv.gz", gzipped), ("m.csv.gz", same)],
            _smiles,
            (("smiles/*.csv", 0), ("smiles/*.csv.gz", 2), ("smiles/*.smi", 1)),
        ),
        "dataset": Target(
            dataset, [(f"{kind}.h5", pack) for pack in (same, described) for kind in KINDS], _datasets
        ),
        "container": Target(whole, [(f"d{ending}", same) for ending in CONTAINERS], _containers),
        "datasets.yaml": Target(lambda path: len(read_table(path)), [("t.yaml", same)], _table),
        "lock file": Target(lambda path: len(read_lock(path)), [("l.json", same)], _lock),
        "split list": Target(
            lambda path: len(splits.read_list(str(path))[0]), [("s.csv", same)], _split_list
        ),
        "config": Target(validated, [("c.yaml", same)], _config),
    }


# Seeds: small valid files, generated.


def _waters(n: int = 6):
    """Positions [n, 3, 3] Å, energies [n] eV and forces [n, 3, 3] eV/Å of water, GFN2-xTB."""
    import numpy as np

    from equidyn.data.generate import conformers

    rng, numbers = np.random.default_rng(0), np.array([8, 1, 1])
    positions = np.array([[0, 0, 0.12], [0, 0.76, -0.48], [0, -0.76, -0.48]]) + 0.03 * rng.normal(
        size=(n, 3, 3)
    )
    labels = [conformers.label(numbers, x) for x in positions]
    return numbers, positions, np.array([e for e, _ in labels]), np.array([f for _, f in labels])


def _in_all_forms(content: bytes, pack_at: int, packed: list[bytes]) -> list[tuple[int, bytes]]:
    return [(i, content) for i in range(pack_at)] + [(pack_at + i, data) for i, data in enumerate(packed)]


def _as_text(name: str, *contents: str) -> list[tuple[int, bytes]]:
    """Seeds of the seven forms of ``text``."""
    found = []
    for content in contents:
        data, tar = content.encode(), io.BytesIO(gzip.decompress(tarred(name)(content.encode())))
        found += _in_all_forms(data, 4, [gzipped(data), tar.getvalue(), zipped(name)(data)])
    return found


def _extxyz():
    numbers, positions, energies, forces = _waters()
    frames = []
    for x, e, f in zip(positions, energies, forces):
        rows = "\n".join(
            " ".join(["OH"[int(z == 1)], *(f"{v:.6f}" for v in (*a, *b))]) for z, a, b in zip(numbers, x, f)
        )
        frames.append(
            f'3\nProperties=species:S:1:pos:R:3:forces:R:3 energy={e:.6f} smiles=O pbc="F F F"\n{rows}\n'
        )
    return _as_text(
        "f.xyz",
        "".join(frames),
        frames[0]
        + frames[1]
        .replace(" smiles=O", "")
        .replace("species:S:1", "Z:I:1")
        .replace("O ", "8 ")
        .replace("H ", "1 "),
    )


def _npz():
    import numpy as np

    from equidyn.data.units import KCAL_PER_MOL

    numbers, positions, energies, forces = _waters()
    parts = []
    for array in (numbers.astype(np.uint8), positions, energies / KCAL_PER_MOL, forces / KCAL_PER_MOL):
        file = io.BytesIO()
        np.save(file, array)
        parts.append(file.getvalue())
    whole = io.BytesIO()
    np.savez_compressed(
        whole,
        nuclear_charges=numbers,
        coords=positions,
        energies=energies / KCAL_PER_MOL,
        forces=forces / KCAL_PER_MOL,
    )
    return [(0, SEPARATOR.join(parts)), (1, whole.getvalue())]


def _hdf5(fill: Callable) -> bytes:
    import h5py

    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(Path(folder, "s.h5"), "w") as file:
            fill(file)
        return Path(folder, "s.h5").read_bytes()


def _spice():
    import numpy as np

    from equidyn.data.units import BOHR, HARTREE

    numbers, positions, energies, forces = _waters()

    def fill(file, **packing):
        group = file.create_group("water")
        group["smiles"], group["atomic_numbers"] = ["[H:2][O:1][H:3]"], numbers.astype(np.int16)
        values = (
            (positions / BOHR, "bohr"),
            (energies / HARTREE, "hartree"),
            (-forces / (HARTREE / BOHR), "hartree/bohr"),
        )
        for name, (value, unit) in zip(("conformations", "dft_total_energy", "dft_total_gradient"), values):
            group.create_dataset(name, data=value.astype(np.float32), **packing).attrs["units"] = unit

    return [(0, _hdf5(fill)), (0, _hdf5(lambda file: fill(file, compression="gzip")))]


def _molecules(n: int = 2):
    from rdkit import Chem
    from rdkit.Chem import AllChem

    found = []
    for smiles in ("CCO", "C1CC1C#N", "c1ccncc1Cl"):
        molecule = Chem.AddHs(Chem.MolFromSmiles(smiles))
        AllChem.EmbedMultipleConfs(molecule, n, randomSeed=1)
        found.append((smiles, [Chem.Mol(molecule, confId=c.GetId()) for c in molecule.GetConformers()]))
    return found


def _sdf():
    from rdkit import Chem

    first = [conformers[0] for _, conformers in _molecules()]
    v2000 = "".join(Chem.MolToMolBlock(molecule) + "> <name>\nx\n\n$$$$\n" for molecule in first)
    return _as_text("m.sdf", v2000, Chem.MolToMolBlock(first[0], forceV3000=True) + "$$$$\n")


def _xyz():
    from rdkit import Chem

    plain = "".join(Chem.MolToXYZBlock(conformers[0]) for _, conformers in _molecules())
    qm9 = (
        "3\ngdb 3\t799.6\t437.9\t282.9\n"
        "O\t-0.0343\t0.9775\t7.6*^-3\t-0.58\n"
        "H\t0.0647\t0.0205\t0.0015\t0.29\n"
        "H\t0.8717\t1.3007\t0.0006\t0.29\n"
        "1671.4\t3803.6\nO\tO\nInChI\n"
    )
    return _as_text("m.xyz", plain, qm9)


def _geom():
    found = _molecules()
    return [(0, pickle.dumps(found, protocol)) for protocol in (0, 2, 4)] + [
        (0, pickle.dumps(found[:1] + [("O", [])], 5))
    ]


def _structures():
    import gemmi

    rows, turn = [], math.radians(100)
    spiral = [(2.3 * math.cos(turn * i), 2.3 * math.sin(turn * i), 1.5 * i) for i in range(12)]
    for i, (x, y, z) in enumerate(spiral):
        for k, name in enumerate(("N", "CA", "C")):
            place = f"{x + k - 1:8.3f}{y + 0.5 * k:8.3f}{z:8.3f}"
            rows.append(
                f"ATOM  {3 * i + k:5d}  {name:<3} {('ALA', 'GLY', 'LYS')[i % 3]} A{i + 1:4d}    {place}  "
                f"1.00 10.00          {name[0]:>2}\n"
            )
    pdb = "".join(rows) + "TER\n"
    structure = gemmi.read_pdb_string(pdb)
    structure.setup_entities()
    structure.name = "test"
    cif = structure.make_mmcif_document().as_string()
    short = structure.make_mmcif_document(gemmi.MmcifOutputGroups(False, atoms=True)).as_string()
    return _as_text("p.cif", cif, short) + [(7, pdb.encode()), (8, pdb.encode())]


def _smiles():
    table = b"name,smiles\nethanol,CCO\nring,c1ccncc1Cl\nion,[NH4+]\nnone,C(C\n"
    lines = b"CCO ethanol\n[H]C([H])([H])[H]\tmethane\nC/C=C/[C@H](F)Cl\n"
    return [(0, table), (1, lines), (2, table), (3, gzipped(table))]


def _datasets():
    import numpy as np

    from equidyn.data import store
    from equidyn.data.schema import KINDS

    found = []
    for form, kind in enumerate(KINDS):
        lengths = {"row": 7, "item": 3, "boundary": 4}
        arrays = {
            name: np.zeros((lengths[key.per], *key.trailing), key.dtype) for name, key in KINDS[kind].items()
        }
        arrays["offsets"][:] = (0, 2, 4, 7)
        texts = dict(source="x", licence="x", split="molecule", code="x", settings="{}", poses="as-made")
        attributes = dict(kind=kind, split_seed=0, **texts)
        with tempfile.TemporaryDirectory() as folder:
            store.write(Path(folder, "d.h5"), arrays, attributes)
            found.append((form, Path(folder, "d.h5").read_bytes()))
            _, attributes = store.read(Path(folder, "d.h5"), kind)
        attributes = {k: v.decode() if isinstance(v, bytes) else v for k, v in attributes.items()}
        said = {
            name: [array.dtype.str, array.shape, array.astype("U") if array.dtype.kind == "S" else array]
            for name, array in arrays.items()
        }
        found.append(
            (
                form + len(KINDS),
                json.dumps(
                    dict(attributes=attributes, arrays=said), default=lambda value: value.tolist()
                ).encode(),
            )
        )
    return found


def _containers():
    return [(form, pack(b"one" + SEPARATOR + b"two" * 100)) for form, pack in enumerate(CONTAINERS.values())]


def _table():
    rows = (REPOSITORY / "resources/datasets.yaml").read_bytes().split(b"\n- name")
    return [(0, b"- name" + row) for row in rows[1:]]


def _split_list():
    return [
        (0, b'item,split,cluster,where\n0,train,C,"a.xyz, frame 1"\n1,held_out,CC,"a.xyz, frame 2"\n'),
        (0, b"where,split\r\nx,train\r\n"),
    ]


def _lock():
    row = {"sha256": "0" * 64, "size": 5, "date": "2026-01-01", "from": "http://127.0.0.1/x"}
    return [(0, json.dumps({"x/1/f.xyz": row}).encode()), (0, b"{}")]


def _config():
    return [(0, path.read_bytes()) for path in sorted((REPOSITORY / "config").glob("*.yaml"))]


def corpus(target: Target, real: Path | None) -> list[bytes]:
    """The seeds and real files of a target as inputs."""
    found = [bytes([form]) + content for form, content in target.seeds()]
    for pattern, form in target.real if real else ():
        suffix = Path(target.forms[form][0].removesuffix(".gz")).suffix
        for path in sorted(real.glob(pattern))[:FILES]:
            found += [
                bytes([form]) + piece for data in _contents(path, suffix) for piece in _pieces(data, suffix)
            ]
    return found


def _contents(path: Path, suffix: str) -> list[bytes]:
    """What a real file holds, decompressed; of a tar archive, some members whose names end so, from all of
    its length.
    """
    if path.name.endswith((".tar", ".tar.gz")):
        with tarfile.open(path) as archive:
            members = [member for member in archive if member.isfile() and member.name.endswith(suffix)]
            return [
                archive.extractfile(member).read() for member in members[:: -(-len(members) // MEMBERS) or 1]
            ]
    with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
        return [file.read()]


def _pieces(data: bytes, suffix: str) -> list[bytes]:
    """Short inputs that can be read, from the content of a real file: all or nothing of a binary one, else
    its first lines; of mmCIF some categories and atoms.
    """
    if suffix in (".npz", ".hdf5"):
        return [data] if len(data) <= LARGEST else []
    if suffix == ".cif":
        atoms = data.rfind(b"loop_", 0, data.find(b"_atom_site.group_PDB"))
        return [_first(data, b"\n#", CUT // 4) + b"\n" + _first(data[atoms:], b"\n", CUT)]
    return [_first(data, b"\n", CUT)]


def _first(data: bytes, end: bytes, size: int) -> bytes:
    """Up to ``size`` bytes, to the last ``end`` within them."""
    return data if len(data) <= size else data[: data.rfind(end, 0, size) + len(end)]
