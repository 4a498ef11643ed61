import gzip
import io
import os
import tarfile
import zipfile

import gemmi
import numpy as np
import pytest
from common import REPOSITORY
from privileges import open_folder, without_privileges
from structure_files import LONG, SEQUENCE, found, helix, line, mmcif, protein, read

from equidyn.data import conversion
from equidyn.data.readers import registry, sequence_clusters, structures
from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/proteins"


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
        "from equidyn.data.readers import structures\n{drop}\nprint([(r.reason, r.detail) for f in "
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
    later = "later models: 2 of 3, with 2 chains"
    assert [c.name for c in chains] == ["nmr_A"]
    assert table == [("nmr.cif", "", later), ("nmr.pdb", "A", "duplicate: of nmr_A"), ("nmr.pdb", "", later)]
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
