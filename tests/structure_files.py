"""Small structure files: helices of few residues as PDB and mmCIF."""

from collections import namedtuple

import gemmi
import numpy as np

from equidyn.data.readers import structures
from equidyn.data.readers.records import Rejected

SEQUENCE = "MKTAYIAKQRQISFVKSHFSRQLEERLGLI"
LONG = gemmi.expand_one_letter_sequence(SEQUENCE, gemmi.ResidueKind.AA)


def helix(n):
    """C-alphas of an ideal helix, 3.8 angstrom apart."""
    turn = np.radians(100) * np.arange(n)
    return np.stack([2.3 * np.cos(turn), 2.3 * np.sin(turn), 1.5 * np.arange(n)], axis=1)


def line(
    residue, number, x, atom="CA", chain="A", code=" ", alt=" ", occupancy=1.0, record="ATOM  ", element="C"
):
    return (
        f"{record}{number % 9999:5d}  {atom:<3}{alt}{residue:>3} {chain}{number:4d}{code}   "
        f"{x[0]:8.3f}{x[1]:8.3f}{x[2]:8.3f}{occupancy:6.2f}{10:6.2f}          {element:>2}\n"
    )


def protein(names=LONG, first=1, shift=0.0, chain="A", **atom):
    """PDB text of one chain with N, CA and C atoms."""
    rows = []
    for i, (name, x) in enumerate(zip(names, helix(len(names)) + shift)):
        rows += [
            line(name, first + i, x + d, a, chain, element=a[0], **atom)
            for a, d in (("N", [-1.0, 0.5, -0.8]), ("CA", [0, 0, 0]), ("C", [1.0, 0.5, 0.8]))
        ]
    return "".join(rows) + "TER\n"


def mmcif(text, resolution=None):
    structure = gemmi.read_pdb_string(text)
    structure.setup_entities()
    structure.name = "test"
    document = structure.make_mmcif_document()
    if resolution:
        document.sole_block().set_pair("_refine.pdbx_refine_id", "'X-RAY DIFFRACTION'")  # gemmi asks for it
        document.sole_block().set_pair("_refine.ls_d_res_high", str(resolution))
    return document.as_string()


def several(folder, n=12, seed=0):
    """Files of chains of random sequence; every third is a dimer of two equal sequences, the last one is a
    copy of the first.
    """
    rng = np.random.default_rng(seed)
    folder.mkdir()
    for i in range(n):
        names = [LONG[k] for k in rng.integers(len(LONG), size=24 + i)]
        text = protein(names) + (protein(names, shift=9.0, chain="B") if i % 3 == 0 else "")
        (folder / f"{i:02d}.pdb").write_text(text)
    (folder / "zz.pdb").write_bytes((folder / "01.pdb").read_bytes())
    (folder / "broken.pdb").write_text("no structure")
    return folder


Chain = namedtuple("Chain", "name sequence positions residues breaks")


def found(path, **limits):
    """Chains and the (file, chain, reason) table of a path; copies as they are rejected when all is read."""
    chains, table, seen = [], [], {}
    for record in structures.records(path):
        for result in (
            [record]
            if isinstance(record, Rejected)
            else structures.parse(record, {"min_residues": 10, "max_residues": 40, **limits})
        ):
            file, _, chain = result.where.removeprefix(f"{path}/").partition(", chain ")
            if isinstance(result, Rejected):
                table.append(
                    (file, chain, f"{result.reason}: {result.detail}" if result.detail else result.reason)
                )
                continue
            name = result.values["name"].decode()
            if result.copy in seen:
                table.append((file, chain, f"duplicate: of {seen[result.copy]}"))
            else:
                seen[result.copy] = name
                chains.append(Chain(name, result.cluster, **result.rows))
    return chains, table


def read(tmp_path, files, **limits):
    """``found`` of files given as name -> text or bytes."""
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return found(tmp_path, **limits)
