import csv
import gzip
import hashlib
import io
import os
import re
import tarfile
import zipfile
from collections import Counter, namedtuple
from dataclasses import replace

import gemmi
import numpy as np
import pytest
from conftest import REPOSITORY
from hypothesis import given, settings
from hypothesis import strategies as st
from test_hardening import open_folder, without_privileges

from equidyn.data import build, conversion, splits, store
from equidyn.data.readers import registry, sequence_clusters, structures
from equidyn.data.readers.records import Rejected
from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/proteins"
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


def test_a_good_chain_in_every_format(tmp_path):
    text = protein()
    files = {
        "a.pdb": text,
        "b.ent.gz": gzip.compress(text.encode()),
        "c.cif": mmcif(text),
        "sub/D.MMCIF.GZ": gzip.compress(mmcif(text).encode()),
        "notes.txt": "no structure",
    }
    chains, table = read(tmp_path, files)
    assert table == [
        ("b.ent.gz", "A", "duplicate: of a_A"),
        ("c.cif", "A", "duplicate: of a_A"),
        ("sub/D.MMCIF.GZ", "A", "duplicate: of a_A"),
    ]
    (chain,) = chains
    assert chain.name == "a_A" and chain.sequence == SEQUENCE and not chain.breaks.any()
    assert chain.positions.dtype == np.float32 and np.abs(chain.positions - helix(30)).max() < 6e-4
    assert (
        chain.residues.dtype == chain.breaks.dtype == np.uint8
        and "".join(ALPHABET[i] for i in chain.residues) == SEQUENCE
    )


def test_bad_files(tmp_path):
    whole, packed = mmcif(protein()), gzip.compress(protein().encode())
    files = {
        "cut.cif": whole[: whole.index("_atom_site.") + 3000],
        "cut.pdb.gz": packed[: len(packed) // 2],
        "empty.cif": "",
        "empty.pdb.gz": gzip.compress(b"\n"),
        "nothing.pdb.gz": b"",
        "not_zipped.pdb.gz": "ATOM",
        "noise.pdb": bytes(range(256)) * 40,
        "noise.cif": "ATOM      1  CA  ALA A   1\n",
        "page.pdb": "<html>404</html>\n",
        "water.pdb": line("HOH", 1, [0, 0, 0], "O", record="HETATM", element="O"),
        "good.pdb": protein(),
    }  # fmt: skip
    chains, table = read(tmp_path, files)
    assert [c.name for c in chains] == ["good_A"]
    assert [(name, chain, reason.split(":")[0]) for name, chain, reason in table] == [
        ("cut.cif", "", "unreadable file"),
        ("cut.pdb.gz", "", "unreadable file"),
        ("empty.cif", "", "empty file"),
        ("empty.pdb.gz", "", "empty file"),
        ("noise.cif", "", "unreadable file"),
        ("noise.pdb", "", "unreadable file"),
        ("not_zipped.pdb.gz", "", "unreadable file"),
        ("nothing.pdb.gz", "", "empty file"),
        ("page.pdb", "", "unreadable file"),
        ("water.pdb", "", "no protein chain"),
    ]


@pytest.mark.skipif(os.name == "nt", reason="permissions of POSIX")
def test_a_file_that_may_not_be_read():
    code = (
        "from equidyn.data import structures\n{drop}\nprint([(r.reason, r.detail) for f in "
        "structures.records(sys.argv[1]) for r in structures.parse(f, {{}})])"
    )
    with open_folder() as folder:
        (folder / "a.pdb").write_text(protein())
        (folder / "a.pdb").chmod(0)
        assert without_privileges(code, folder) == "[('unreadable file', 'Permission denied')]"


def test_named_files_and_paths(tmp_path):
    (tmp_path / "a.xyz").write_text("3\n")
    ((file, chain, reason),) = found(tmp_path / "a.xyz")[1]
    assert (file, chain) == (str(tmp_path / "a.xyz"), "") and reason.startswith(
        "unreadable file: expected a name that ends in .cif"
    )
    for name, message in (("gone.pdb", "no such file"), (".", "no record in it")):
        with pytest.raises(DataError, match=f"{tmp_path / name}: {message}"):
            conversion.read(registry.READERS["structures"], tmp_path / name)


def test_lengths_are_counted_in_residues_with_ca(tmp_path):
    files = {
        "a.pdb": protein(LONG[:9]),
        "b.pdb": protein(LONG[:10]),
        "c.pdb": protein(LONG + LONG[:10]),
        "d.pdb": protein(LONG + LONG[:11]),
    }
    chains, table = read(tmp_path, files)
    assert [(c.name, len(c.sequence)) for c in chains] == [("b_A", 10), ("c_A", 40)]
    assert table == [("a.pdb", "A", "too short: 9 residues"), ("d.pdb", "A", "too long: 41 residues")]


def test_nucleic_acids_and_waters_beside_a_protein(tmp_path):
    dna = (
        "".join(
            line(f"D{'ACGT'[i % 4]}", i + 1, x, atom, "B", element=atom[0])
            for i, x in enumerate(5 + 2 * helix(12))
            for atom in ("P", "C1'", "O3'")
        )
        + "TER\n"
    )
    water = "".join(
        line("HOH", 100 + i, [20, i * 3, 0], "O", "A", record="HETATM", element="O") for i in range(20)
    )
    ligand = line("CA", 90, [9, 9, 9], "CA", "A", record="HETATM", element="CA") + line(
        "ATP", 91, [15, 9, 9], "CA", "A", record="HETATM"
    )
    chains, table = read(
        tmp_path,
        {
            "both.pdb": protein() + dna + ligand + water,
            "dna.pdb": dna,
            "both.cif": mmcif(protein(shift=1.0) + dna + ligand + water),
        },
    )
    assert [(c.name, c.sequence) for c in chains] == [("both_A", SEQUENCE)] * 2
    assert table == [
        ("both.cif", "B", "not a protein: Dna"),
        ("both.pdb", "B", "not a protein: Dna"),
        ("dna.pdb", "B", "not a protein: Dna"),
    ]


def test_ca_only_and_no_ca(tmp_path):
    only = "".join(line(name, i + 1, x) for i, (name, x) in enumerate(zip(LONG, helix(30)))) + "TER\n"
    none = "".join(row for row in protein(chain="B").splitlines(True) if " CA " not in row)
    chains, table = read(tmp_path, {"only.pdb": only, "none.pdb": none})
    assert [(c.name, c.sequence) for c in chains] == [("only_A", SEQUENCE)] and table == [
        ("none.pdb", "B", "no CA")
    ]


def test_first_model_only(tmp_path):
    models = "".join(f"MODEL     {i:4d}\n{protein(shift=i * 10.0)}ENDMDL\n" for i in (1, 2, 3)) + "END\n"
    chains, table = read(tmp_path, {"nmr.pdb": models, "nmr.cif": mmcif(models)})
    assert [c.name for c in chains] == ["nmr_A"] and table == [("nmr.pdb", "A", "duplicate: of nmr_A")]
    assert np.abs(chains[0].positions - helix(30) - 10).max() < 6e-4


def test_insertion_codes_and_negative_numbers_keep_file_order(tmp_path):
    numbers = [
        (-2, " "),
        (-1, " "),
        (0, " "),
        (1, " "),
        (1, "A"),
        (1, "B"),
        (2, " "),
        (3, "B"),
        (3, "A"),
        (3, " "),
        (10, " "),
        (5, " "),
    ]
    text = (
        "".join(line(name, number, x, code=code) for name, x, (number, code) in zip(LONG, helix(12), numbers))
        + "TER\n"
    )
    for name, content in (("i.pdb", text), ("i.cif", mmcif(text))):
        chains, table = read(tmp_path / name, {name: content})
        assert table == [] and chains[0].sequence == SEQUENCE[:12] and not chains[0].breaks.any()
        assert np.abs(chains[0].positions - helix(12)).max() < 6e-4


def test_alternate_locations(tmp_path):
    x = helix(12)
    rows = [line(name, i + 1, p) for i, (name, p) in enumerate(zip(LONG, x))]
    rows[3] = line(LONG[3], 4, x[3] - 0.5, alt="A", occupancy=0.4) + line(
        LONG[3], 4, x[3], alt="B", occupancy=0.6
    )  # highest occupancy
    rows[5] = line(LONG[5], 6, x[5] - 0.5, alt="B", occupancy=0.5) + line(
        LONG[5], 6, x[5], alt="A", occupancy=0.5
    )  # a tie: A
    rows[7] = line("GLY", 8, x[7] - 0.5, alt="A", occupancy=0.3) + line(
        LONG[7], 8, x[7], alt="B", occupancy=0.7
    )  # another residue
    chains, table = read(tmp_path, {"alt.pdb": "".join(rows) + "TER\n"})
    assert (
        table == [] and chains[0].sequence == SEQUENCE[:12] and np.abs(chains[0].positions - x).max() < 6e-4
    )


def test_modified_and_unknown_residues(tmp_path):
    modified = {0: "MSE", 3: "SEP", 5: "TPO", 7: "PTR", 9: "CSO", 11: "HYP", 13: "SEC", 15: "2MR", 17: "MLY"}
    names = [modified.get(i, name) for i, name in enumerate(LONG)]
    named = "MODRES 9XYZ QQQ A    6  LYS  a residue that the file explains\n"
    files = {
        "m.pdb": protein(names),
        "named.pdb": named + protein([*LONG[:5], "QQQ", *LONG[6:]], shift=1.0),
        "unknown.pdb": protein([*LONG[:5], "QQQ", *LONG[6:]]),
        "unk.pdb": protein([*LONG[:5], "UNK", "UNK", "ASX", "UNK", *LONG[9:]]),
        "mirrored.pdb": protein([*LONG[:5], "DAL", *LONG[6:]]),
    }  # fmt: skip
    chains, table = read(tmp_path, files)
    expected = list(SEQUENCE)
    for i, letter in zip(modified, "MSTYCPCRK"):
        expected[i] = letter
    assert {c.name: c.sequence for c in chains} == {
        "m_A": "".join(expected),
        "named_A": SEQUENCE[:5] + "K" + SEQUENCE[6:],
    }
    assert table == [
        ("mirrored.pdb", "A", "nonstandard residue: DAL 6"),
        ("unk.pdb", "A", "nonstandard residue: UNK 6, UNK 7, ASX 8, ..."),
        ("unknown.pdb", "A", "nonstandard residue: QQQ 6"),
    ]


def test_chains_go_on_behind_an_early_end(tmp_path):
    rows = protein().replace("TER\n", "").splitlines(True)
    residues = ["".join(rows[3 * i : 3 * i + 3]) for i in range(30)]
    modified, unknown = (
        residues[19].replace("ATOM  ", "HETATM").replace(LONG[19], name) for name in ("MSE", "UNK")
    )
    ligand = "".join(
        line("GLU", 101, [40, 40, 40 + i], atom, record="HETATM", element=atom[0])
        for i, atom in enumerate(("N", "CA", "C"))
    )
    files = {
        "gap.pdb": "".join([*residues[:10], "TER\n", *residues[13:]]),
        "het.pdb": "".join([*residues[:19], "TER\n", modified, *residues[20:]]),
        "ligand.pdb": "".join(residues[:12]) + ligand,
        "unknown.pdb": "".join([*residues[:19], unknown, *residues[20:]]),
    }  # fmt: skip
    chains, table = read(tmp_path, files)
    assert {c.name: c.sequence for c in chains} == {
        "gap_A": SEQUENCE[:10] + SEQUENCE[13:],
        "het_A": SEQUENCE[:19] + "M" + SEQUENCE[20:],
        "ligand_A": SEQUENCE[:12],
    }
    assert [np.flatnonzero(c.breaks).tolist() for c in chains] == [[9], [], []] and table == [
        ("unknown.pdb", "A", "nonstandard residue: UNK 20")
    ]


def test_residues_without_ca_leave_a_break(tmp_path):
    rows = protein().splitlines(True)
    text = "".join(row for i, row in enumerate(rows) if i != 3 * 12 + 1)
    chains, table = read(tmp_path, {"gap.pdb": text})
    assert (
        table == []
        and chains[0].sequence == SEQUENCE[:12] + SEQUENCE[13:]
        and np.flatnonzero(chains[0].breaks).tolist() == [11]
    )


def test_bad_coordinates(tmp_path):
    near, text = [line(n, i + 1, x) for i, (n, x) in enumerate(zip(LONG, helix(12)))], mmcif(protein())
    near[6] = line(LONG[6], 7, helix(12)[5] + 0.3)
    row = next(row for row in text.splitlines(True) if row.startswith("ATOM 2 "))
    lost = text.replace(row, row.replace(" 2.3 0 0 ", " ? 0 0 "))
    assert lost != text
    assert read(tmp_path, {"near.pdb": "".join(near) + "TER\n", "lost.cif": lost}) == (
        [],
        [
            ("lost.cif", "A", "bad coordinates: not finite"),
            ("near.pdb", "A", "bad coordinates: consecutive CA 0.52 angstrom apart"),
        ],
    )


def test_resolution_and_where_it_is_not_stated(tmp_path):
    remark = "REMARK   2\nREMARK   2 RESOLUTION.    {:.2f} ANGSTROMS.\n"
    files = {
        "fine.pdb": remark.format(2.0) + protein(),
        "coarse.pdb": remark.format(3.5) + protein(shift=1.0),
        "silent.pdb": protein(shift=2.0),
    }
    files["coarse.cif"] = mmcif(protein(shift=3.0), 4.0)
    chains, table = read(tmp_path, files, max_resolution=3.0)
    assert [c.name for c in chains] == ["fine_A", "silent_A"]
    assert table == [
        ("coarse.cif", "", "resolution: 4.00 angstrom"),
        ("coarse.pdb", "", "resolution: 3.50 angstrom"),
    ]
    assert len(read(tmp_path, {})[0]) == 4


def described(text, **stated):
    document = gemmi.cif.read_string(mmcif(text))
    for key, value in stated.items():
        document.sole_block().set_pair(f"_{key}", gemmi.cif.quote(value))
    return document.as_string()


def test_a_limit_of_resolution_admits_none_that_could_have_stated_it(tmp_path):
    """Only a file that says nothing about itself passes, and is counted."""
    title, nmr = {"struct.title": "a model of a protein"}, {"exptl.method": "SOLUTION NMR"}
    both = (
        "EXPDTA    X-RAY DIFFRACTION; SOLUTION NMR\nREMARK   2\nREMARK   2 RESOLUTION.    2.00 ANGSTROMS.\n"
    )
    files = {
        "atoms.cif": mmcif(protein(shift=1.0)),
        "atoms.pdb": protein(shift=2.0),
        "both.pdb": both + protein(shift=3.0),
        "claims.cif": described(protein(shift=4.0), **nmr).replace(
            "_exptl", "_refine.pdbx_refine_id 'SOLUTION NMR'\n_refine.ls_d_res_high 1.0\n_exptl", 1
        ),
        "model.cif": described(protein(shift=5.0), **title),
        "nmr.cif": described(protein(shift=6.0), **nmr, **title),
        "nmr.pdb": "EXPDTA    SOLID-STATE NMR\n" + protein(shift=7.0),
        "remark.pdb": "REMARK   1 MADE BY HAND\n" + protein(shift=8.0),
        "xray.cif": described(protein(shift=9.0), **{"exptl.method": "X-RAY DIFFRACTION"}),
    }
    chains, table = read(tmp_path, files, max_resolution=3.0)
    assert [c.name for c in chains] == ["atoms_A", "atoms_A", "both_A"]
    assert table == [
        ("claims.cif", "", "method without resolution: SOLUTION NMR"),
        ("model.cif", "", "resolution not stated"),
        ("nmr.cif", "", "method without resolution: SOLUTION NMR"),
        ("nmr.pdb", "", "method without resolution: SOLID-STATE NMR"),
        ("remark.pdb", "", "resolution not stated"),
        ("xray.cif", "", "resolution not stated: X-RAY DIFFRACTION"),
    ]
    assert len(read(tmp_path, {})[0]) == 9  # without a limit all are kept
    items, _ = conversion.read(
        registry.READERS["structures"],
        tmp_path,
        {"min_residues": 10, "max_residues": 40, "max_resolution": 3.0},
    )
    assert [item.notes for item in items] == [
        {"resolution unknown": 1, "chains": 1},
        {"resolution unknown": 1, "chains": 1},
        {"chains": 1},
    ]


@pytest.mark.skipif(not REAL.is_dir(), reason="no real protein files on this machine")
def test_a_limit_of_resolution_on_real_files():
    limits = dict(min_residues=50, max_residues=256)
    assert len(found(REAL / "1ssu.cif.gz", **limits)[0]) == 1
    assert found(REAL / "1ssu.cif.gz", **limits, max_resolution=5.0) == (
        [],
        [(str(REAL / "1ssu.cif.gz"), "", "method without resolution: SOLUTION NMR")],
    )
    assert (
        found(REAL / "3zee.cif.gz", **limits, max_resolution=5.0)[1][0][2] == "resolution: 6.10 angstrom"
    )  # electron microscopy
    assert len(found(REAL / "1aki.cif.gz", **limits, max_resolution=1.5)[0]) == 1


def test_duplicates_are_dropped_and_other_copies_kept(tmp_path):
    dimer = protein() + protein(shift=8.0, chain="B")
    mutant = protein([*LONG[:4], "TRP", *LONG[5:]])
    chains, table = read(
        tmp_path, {"1.pdb": dimer, "2.pdb": protein(chain="Z"), "3.pdb": mutant, "4.pdb": protein(shift=0.02)}
    )
    assert [c.name for c in chains] == ["1_A", "1_B", "3_A", "4_A"] and table == [
        ("2.pdb", "Z", "duplicate: of 1_A")
    ]
    assert sequence_clusters.cluster_by_sequence([c.sequence for c in chains]).tolist() == [0, 0, 0, 0]


def test_archives_are_read_in_memory_and_unsafe_names_refused(tmp_path):
    data, inside = protein().encode(), tmp_path / "in"
    inside.mkdir()
    members = {
        "ok/a.pdb": data,
        "../escaped.pdb": data,
        "/absolute.pdb.gz": gzip.compress(data),
        "readme.txt": b"hello",
    }
    members["b.cif.gz"] = gzip.compress(mmcif(protein(shift=1.0)).encode())
    with tarfile.open(inside / "t.tar.gz", "w:gz") as archive:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
        link = tarfile.TarInfo("link.pdb")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    with zipfile.ZipFile(inside / "z.zip", "w") as archive:
        for name, content in {
            "c.pdb": protein(shift=2.0).encode(),
            "x/../../d.pdb": data,
            "e.pdb": b"",
        }.items():
            archive.writestr(name, content)
    before = sorted(tmp_path.rglob("*"))
    chains, table = read(inside, {})
    assert sorted(tmp_path.rglob("*")) == before and [c.name for c in chains] == ["a_A", "b_A", "c_A"]
    assert table == [
        ("t.tar.gz, ../escaped.pdb", "", "unsafe name in archive"),
        ("t.tar.gz, /absolute.pdb.gz", "", "unsafe name in archive"),
        ("z.zip, e.pdb", "", "empty file"),
        ("z.zip, x/../../d.pdb", "", "unsafe name in archive"),
    ]


def test_damaged_archives(tmp_path):
    with tarfile.open(tmp_path / "whole", "w") as tar, zipfile.ZipFile(tmp_path / "packed", "w") as packed:
        for i in range(3):
            (tmp_path / f"{i}.txt").write_text(protein(shift=i))
            tar.add(tmp_path / f"{i}.txt", f"{i}.pdb")
            packed.write(tmp_path / f"{i}.txt", f"{i}.pdb")
    size = len(protein()) // 512 * 512 + 1024  # of one member
    files = {
        "cut.tar": (tmp_path / "whole").read_bytes()[: 2 * size - 700],
        "cut.zip": (tmp_path / "packed").read_bytes()[:-200],
        "none.tar.gz": b"not an archive",
    }
    chains, table = read(tmp_path, files)
    assert [c.name for c in chains] == ["0_A"]
    assert [(name, chain, reason.split(":")[0]) for name, chain, reason in table] == [
        (name, "", "unreadable file") for name in files
    ]


def test_a_file_or_member_above_the_limit_is_refused_unread(tmp_path, monkeypatch):
    monkeypatch.setattr(structures, "LARGEST", 30_000)
    big = protein() + "REMARK   1 and so on\n" * 5000
    with tarfile.open(tmp_path / "t.tar.xz", "w:xz") as archive:
        for name, content in {"big.pdb": big, "ok.pdb": protein()}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content.encode()))
    chains, table = read(tmp_path, {"big.pdb": big, "bomb.cif.gz": gzip.compress(b" " * 10_000_000)})
    assert [c.name for c in chains] == ["ok_A"] and table == [
        (name, "", structures.TOO_LARGE) for name in ("big.pdb", "bomb.cif.gz", "t.tar.xz, big.pdb")
    ]
    assert "file above 64 MiB" == structures.TOO_LARGE


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


SETTINGS = dict(
    source="structures", licence="x", min_residues=10, max_residues=60, identity=0.9, n_held_out=3, seed=0
)


def test_workers_chunks_fragments_and_copies(tmp_path, monkeypatch, no_mmseqs):
    """Whatever reads them, chains of a sequence share a cluster, and a copy is rejected by name."""
    config = {**SETTINGS, "files": [str(several(tmp_path / "in")), str(several(tmp_path / "more", 3, 1))]}
    one = build.build(config, str(tmp_path / "a.h5"), workers=1)
    monkeypatch.setitem(registry.READERS, "structures", replace(registry.READERS["structures"], chunk=2))
    two = build.build(config, str(tmp_path / "b.h5"), workers=2)
    (a, _), (b, _) = (store.read(tmp_path / f"{name}.h5", "backbones") for name in "ab")
    assert one == two and all(np.array_equal(a[key], b[key]) for key in a)
    for name in ("rejected.csv", "split.csv", "split.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert (
        one["items"] == 12 + 4 + 3 + 1 == one["chains"]
        and one["clusters"] == 15
        and one["rejected: duplicate"] == 2
        and one["rejected: unreadable file"] == 2
    )
    rows = list(csv.DictReader(open(tmp_path / "a/rejected.csv")))
    assert {(r["record"], r["reason"]) for r in rows} >= {
        (f"{tmp_path}/in/zz.pdb, chain A", f"duplicate (of {tmp_path}/in/01.pdb, chain A)")
    }
    assert a["name"][:3].tolist() == [b"00_A", b"00_B", b"01_A"] and a["cluster"][:3].tolist() == [0, 0, 1]
    pieces = build.build({**config, "fragment": 10}, str(tmp_path / "f.h5"), workers=1)
    lengths = np.diff(a["offsets"])
    assert (
        pieces["items"] == (lengths // 10).sum()
        and pieces["residues left over by fragments"] == (lengths % 10).sum()
        and pieces["chains"] == 20
    )
    f, _ = store.read(tmp_path / "f.h5", "backbones")
    assert (
        f["name"][:3].tolist() == [b"00_A/1", b"00_A/11", b"00_B/1"]
        and set(np.diff(f["offsets"])) == {10}
        and pieces["rejected: duplicate"] == 4
    )


def test_copies_on_both_sides_of_a_published_split_are_a_leak(tmp_path, no_mmseqs):
    several(tmp_path / "in")
    held_out = tmp_path / "test"
    held_out.mkdir()
    for name in ("00", "01", "zz"):
        (held_out / f"{name}.pdb").write_bytes((tmp_path / f"in/{name}.pdb").read_bytes())
    config = {
        **SETTINGS,
        "files": [str(tmp_path / "in")],
        "held_out_files": [str(held_out / f"{name}.pdb") for name in ("00", "01", "zz")],
    }
    counts = build.build(
        {key: value for key, value in config.items() if key != "n_held_out"},
        str(tmp_path / "d.h5"),
        workers=1,
    )
    assert (
        counts["held out"] == 3
        and counts["rejected: duplicate"] == 2
        and counts[f"rejected: {splits.LEAKED}"] == 3
        and counts["items"] == 16 - 3 + 3
    )


def test_a_listed_split_of_structures_keeps_the_copy_that_it_names(tmp_path, no_mmseqs):
    """zz is a copy of 01, which comes first."""
    several(tmp_path / "in")
    config = {**SETTINGS, "files": [str(tmp_path / "in")]}
    before = build.build(config, str(tmp_path / "a.h5"), workers=1)
    text = (tmp_path / "a/split.csv").read_text()
    listed = {**config, "split_list": {"file": str(tmp_path / "list.csv")}}
    del listed["n_held_out"]

    (tmp_path / "list.csv").write_text(text.replace(",01_A", ",zz_A"))
    after = build.build(listed, str(tmp_path / "b.h5"), workers=1)
    names = [
        set(row["where"] for row in csv.DictReader(open(tmp_path / name / "split.csv"))) for name in "ab"
    ]
    assert (
        after["items"] == before["items"]
        and names[0] - names[1] == {"01_A"}
        and names[1] - names[0] == {"zz_A"}
    )
    _, attributes = store.read(tmp_path / "b.h5", "backbones")
    assert attributes["split_list_sha256"] == hashlib.sha256((tmp_path / "list.csv").read_bytes()).hexdigest()

    side, other = ("train", "held_out") if re.search(r",train,[^,]*,01_A", text) else ("held_out", "train")
    (tmp_path / "list.csv").write_text(f"{text}99,{other},0,zz_A\n")
    with pytest.raises(DataError, match="1 clusters are in both splits"):
        build.build({**listed, "leaks": "refuse"}, str(tmp_path / "b.h5"), workers=1)

    (tmp_path / "more").mkdir()
    (tmp_path / "more/01.pdb").write_bytes((tmp_path / "in/02.pdb").read_bytes())
    (tmp_path / "in/02.pdb").unlink()
    (tmp_path / "list.csv").write_text(f"split,where\n{side},01_A\n{other},00_A\n")
    with pytest.raises(DataError, match="list.csv: 1 of 2 items are names of several items, e.g. 01_A"):
        build.build(
            {**listed, "files": [str(tmp_path / "in"), str(tmp_path / "more")]},
            str(tmp_path / "b.h5"),
            workers=1,
        )


def test_a_folder_that_changed_is_read_again(tmp_path):
    folder = several(tmp_path / "in", 3)
    digests = [conversion.inputs_digest(SETTINGS, [conversion.Input((str(folder),))], "") for _ in range(2)]
    (folder / "00.pdb").write_text(protein())
    digests.append(conversion.inputs_digest(SETTINGS, [conversion.Input((str(folder),))], ""))
    (folder / "new.pdb").write_text(protein())
    digests.append(conversion.inputs_digest(SETTINGS, [conversion.Input((str(folder),))], ""))
    assert digests[0] == digests[1] and len(set(digests)) == 3


def family(rng, n, kept):
    """A random sequence of n letters and a homologue with that share of them kept."""
    parent = rng.integers(20, size=n)
    child = np.where(rng.random(n) < kept, parent, rng.integers(20, size=n))
    return ["".join(ALPHABET[i] for i in sequence) for sequence in (parent, child)]


@pytest.fixture
def no_mmseqs(monkeypatch):
    monkeypatch.setattr(structures.shutil, "which", lambda name: None)


def test_clusters_separate_families_and_join_homologues(no_mmseqs):
    rng = np.random.default_rng(0)
    pairs = [family(rng, int(rng.integers(50, 256)), 0.8) for _ in range(20)]
    cut = pairs[0][0][30:90] if len(pairs[0][0]) > 90 else pairs[0][0][:50]
    labels = sequence_clusters.cluster_by_sequence([s for pair in pairs for s in pair] + [cut])
    assert labels.dtype == np.int64 and labels.tolist() == [i for i in range(20) for _ in range(2)] + [0]
    distant = [family(rng, 150, 0.25) for _ in range(20)]
    assert sequence_clusters.cluster_by_sequence([s for pair in distant for s in pair]).tolist() == list(
        range(40)
    )


def test_clusters_follow_the_identity(no_mmseqs):
    a, b = family(np.random.default_rng(1), 200, 0.7)
    same = np.mean([x == y for x, y in zip(a, b)])
    assert sequence_clusters.cluster_by_sequence([a, b], same - 0.05).tolist() == [0, 0]
    assert sequence_clusters.cluster_by_sequence([a, b], same + 0.05).tolist() == [0, 1]
    assert sequence_clusters.cluster_by_sequence([]).tolist() == []
    assert sequence_clusters.cluster_by_sequence(["AC", "AC", "ACD"]).tolist()[:2] == [0, 0]
    for bad in (["ACX"], [""], ["acd"]):
        with pytest.raises(DataError, match="sequence 0"):
            sequence_clusters.cluster_by_sequence(bad)
    with pytest.raises(DataError, match="identity 0"):
        sequence_clusters.cluster_by_sequence([a], 0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(ALPHABET, min_size=1, max_size=30), max_size=12), st.sampled_from([0.3, 0.5, 0.9]))
def test_every_cluster_has_a_representative_that_all_its_members_match(sequences, identity):
    label = sequence_clusters._greedy(list(dict.fromkeys(sequences)), identity)
    distinct = list(dict.fromkeys(sequences))
    for i, representative in enumerate(label):
        assert label[representative] == representative and len(distinct[representative]) >= len(distinct[i])
        codes = [
            gemmi.expand_one_letter_sequence(distinct[k], gemmi.ResidueKind.AA) for k in (i, representative)
        ]
        assert gemmi.align_string_sequences(
            *codes, [], gemmi.AlignmentScoring("b")
        ).match_count >= identity * len(distinct[i])


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for mmseqs")
def test_mmseqs_is_used_where_it_is(tmp_path, monkeypatch):
    script = tmp_path / "mmseqs"
    script.write_text(
        '#!/bin/sh\n[ "$1 $5 $6 $7 $8" = "easy-cluster --min-seq-id 0.4 -c 0.8" ] || exit 3\nprintf '
        '"2\\t2\\n2\\t0\\n1\\t1\\n" > "$3_cluster.tsv"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert sequence_clusters.cluster_by_sequence(["ACD", "CDE", "DEF", "ACD"], 0.4).tolist() == [0, 1, 0, 0]
    script.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    with pytest.raises(DataError, match="easy-cluster.*exit status 1: out of memory"):
        sequence_clusters.cluster_by_sequence(["ACD", "CDE"])


@pytest.mark.skipif(not REAL.is_dir(), reason="no real protein files on this machine")
def test_real_files(no_mmseqs):
    chains, table = found(REAL, min_residues=50, max_residues=256)
    counts = Counter(reason.split(":")[0] for _, _, reason in table)
    assert len(chains) == 347 and counts == {"too short": 6, "too long": 3, "not a protein": 1}
    with open(REAL / "index.csv", newline="") as file:
        expected = {
            f"{row['file'].split('.')[0]}_{row['chain'].strip()}": int(row["residues_with_N_CA_C"])
            for row in csv.DictReader(file)
        }
    lengths = {c.name: len(c.sequence) for c in chains}
    # The index stops at a TER in the middle of six chains, counts residues without N or C not at all, and
    # disordered ones of 1en2 twice.
    assert set(lengths) <= set(expected) and sum(lengths[name] != expected[name] for name in lengths) == 9
    assert (
        lengths["1FLE_r_u_A"] == 240
        and expected["1FLE_r_u_A"] == 136
        and (lengths["1en2_A"], expected["1en2_A"]) == (86, 91)
    )
    bonds = np.concatenate(
        [np.linalg.norm(np.diff(c.positions, axis=0), axis=1)[c.breaks[:-1] == 0] for c in chains]
    )
    assert (
        2.6 < bonds.min()
        and bonds.max() <= 4.0
        and abs(np.median(bonds) - 3.80) < 0.01
        and (bonds < 3.6).mean() < 0.01
    )
    labels = sequence_clusters.cluster_by_sequence([c.sequence for c in chains])
    by_sequence = {}
    assert (
        all(by_sequence.setdefault(c.sequence, label) == label for c, label in zip(chains, labels))
        and 180 < labels.max() + 1 < 260
    )


def test_long_names_are_shortened_and_stay_different(tmp_path, no_mmseqs):
    """Names are keys of 40 bytes; cut alone, these would be one."""
    folder = several(tmp_path / "p")
    for path in sorted(folder.glob("*.pdb")):
        path.rename(folder / f"{'ä' * 22}-model-of-a-long-campaign-{path.name}")
    build.build({**SETTINGS, "files": [str(folder)]}, str(tmp_path / "a.h5"), workers=1)
    rows = list(csv.DictReader(open(tmp_path / "a/split.csv")))
    names, _ = store.read(tmp_path / "a.h5", "backbones")
    assert len({row["where"] for row in rows}) == len(rows) > 10 and all(
        len(row["where"].encode()) <= 40 for row in rows
    )
    assert [name.decode() for name in names["name"]] == [row["where"] for row in rows]
    listed = {**SETTINGS, "files": [str(folder)], "split_list": {"file": str(tmp_path / "a/split.csv")}}
    del listed["n_held_out"]
    build.build(listed, str(tmp_path / "b.h5"), workers=1)
    assert (tmp_path / "a/split.json").read_bytes() == (tmp_path / "b/split.json").read_bytes()
