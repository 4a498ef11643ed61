"""The text of PDB files: nothing of it is lost, or read as another number, in silence."""

import pytest
from structure_files import LONG, SEQUENCE, helix, line, mmcif, protein, read


def test_what_follows_an_end_is_listed(tmp_path):
    """Files one after the other, frames without ENDMDL: readers stop at the first END."""
    one, other = protein(), protein(shift=10.0, chain="B")
    files = {
        "both.pdb": one + "END\n" + other + "END\n",
        "frames.pdb": "MODEL        1\n" + one + "END   \nMODEL        2\n" + other + "END\n",
        "whole.pdb": one + "END\n\n",
    }
    chains, table = read(tmp_path, files)
    assert [c.name for c in chains] == ["both_A"] and [row for row in table if "duplicate" not in row[2]] == [
        ("both.pdb", "", "later models: 90 atoms after END"),
        ("frames.pdb", "", "later models: 90 atoms after END"),
    ]


def test_a_byte_order_mark_costs_no_residue(tmp_path):
    only = "".join(line(name, i + 1, x) for i, (name, x) in enumerate(zip(LONG, helix(30))))
    for name, text in (("m.pdb", only), ("m.cif", mmcif(protein()))):
        chains, table = read(tmp_path / name, {name: b"\xef\xbb\xbf" + text.encode()})
        assert [c.sequence for c in chains] == [SEQUENCE] and table == []


STARS, BLANK, SHIFTED = "*" * 8, " " * 8, "    1.000"


@pytest.mark.parametrize("field", [STARS, BLANK, SHIFTED, "     nan", "1.23e+00"])
def test_coordinates_outside_their_columns_are_refused(tmp_path, field):
    """A lenient reader makes numbers of them; the other chain, and side chains of waters, are none of it."""
    rows = protein().splitlines(True)
    rows[31] = rows[31][:30] + field + rows[31][30 + len(field) :]
    water = line("HOH", 90, [0, 0, 0], "O", record="HETATM", element="O")
    water = water[:30] + STARS + water[38:]
    text = "".join(rows) + protein(shift=9.0, chain="B") + water.replace(" A  90", " B  90")
    chains, table = read(tmp_path, {"m.pdb": text})
    ((_, chain, reason),) = table
    assert [c.name for c in chains] == ["m_B"] and chain == "A" and reason.startswith("bad coordinates: '")
    assert field.strip() in reason and "expected three numbers as %8.3f" in reason


def test_residue_numbers_of_five_digits_shift_no_coordinate(tmp_path):
    rows = [line(name, 9990 + i, x) for i, (name, x) in enumerate(zip(LONG, helix(30)))]
    assert len(rows[-1]) == len(rows[0]) + 1
    chains, ((_, _, reason),) = read(tmp_path, {"m.pdb": "".join(rows)})
    assert chains == [] and reason.startswith("bad coordinates")


@pytest.mark.parametrize("form", ["8.4f", "<8.3f", "8.2f"])
def test_numbers_of_other_decimals_in_their_columns_are_read(tmp_path, form):
    text = protein(shift=20.0)
    rows = [
        row[:30] + "".join(f"{float(row[k : k + 8]):{form}}" for k in (30, 38, 46)) + row[54:]
        for row in text.splitlines(True)
        if row.startswith("ATOM")
    ]
    chains, table = read(tmp_path, {"m.pdb": "".join(rows)})
    assert [c.name for c in chains] == ["m_A"] and table == []


def test_a_chain_that_is_mostly_breaks_is_refused(tmp_path):
    """As one in bohr is: C-alphas 7.2 apart."""
    rows = [line(name, i + 1, x / 0.529177) for i, (name, x) in enumerate(zip(LONG, helix(30)))]
    reason = "bad coordinates: 29 of 29 consecutive CA more than 4 angstrom apart (median 7.24)"
    assert read(tmp_path, {"bohr.pdb": "".join(rows)}) == ([], [("bohr.pdb", "A", reason)])
