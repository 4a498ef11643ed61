"""The pickles of GEOM-drugs: read without an unpickler, and nothing but lists of molecules is understood."""

import io
import pickle
import pickletools

import numpy as np
import pytest
from common import REPOSITORY
from pickle_files import read, refused, written
from rdkit import Chem
from rdkit.Chem import AllChem

from equidyn.data.checks.catalogue import BEYOND
from equidyn.data.readers import geom
from equidyn.data.readers.molecules import constitution_of
from equidyn.data.readers.records import Item, Rejected
from equidyn.data.readers.registry import READERS
from equidyn.errors import DataError

REAL = REPOSITORY.parent / "shared/data/molecules"


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("rewritten", [lambda data: data, pickletools.optimize], ids=["plain", "optimized"])
def test_what_pickle_writes_is_read_back(tmp_path, molecules, protocol, rewritten):
    found = read(written(tmp_path, rewritten(pickle.dumps(molecules, protocol))))
    assert [(r[1], r[2]) for r in found] == [(i, smiles) for i, (smiles, _) in enumerate(molecules, 1)]
    assert [r[3] for r in found] == [[m.ToBinary() for m in mols] for _, mols in molecules]


def test_pythons_own_pickler_lists_over_one_batch_and_shared_objects(tmp_path, molecules):
    buffer = io.BytesIO()
    shared = molecules[0][1][0]
    many = [
        (smiles, [*mols, shared, shared]) for smiles, mols in molecules
    ]  # a molecule twice in a record is written once
    many += [
        (smiles, [Chem.Mol(m) for m in mols]) for _ in range(900) for smiles, mols in molecules
    ]  # strings recur in later batches
    pickle._Pickler(buffer, 4).dump(many)
    found = read(written(tmp_path, buffer.getvalue()))
    assert [(r[2], r[3]) for r in found] == [(smiles, [m.ToBinary() for m in mols]) for smiles, mols in many]


def test_records_are_plain_data_that_workers_can_be_sent(tmp_path, valid):
    for record in geom.records(written(tmp_path, valid)):
        assert pickle.loads(pickle.dumps(record)) == record
        path, number, smiles, conformers = record
        assert (
            type(path) is str
            and type(number) is int
            and type(smiles) is str
            and {type(c) for c in conformers} == {bytes}
        )


def test_items_are_the_molecules(tmp_path, molecules, valid):
    for (smiles, mols), record in zip(molecules, read(written(tmp_path, valid)), strict=True):
        items = geom.parse(record, {})
        assert len(items) == len(mols) and {item.cluster for item in items} == {constitution_of(smiles)}
        for k, (item, molecule) in enumerate(zip(items, mols), 1):
            expected = molecule.GetConformer().GetPositions()
            assert (
                item.rows["numbers"].dtype == np.uint8
                and item.rows["positions"].dtype == np.float32
                and not item.bare
            )
            assert item.rows["numbers"].tolist() == [atom.GetAtomicNum() for atom in molecule.GetAtoms()]
            assert np.abs(item.rows["positions"] - (expected - expected.mean(0))).max() < 1e-5
            assert item.where == f"{record[0]}, molecule {record[1]}, conformer {k}"


def test_real_molecules_round_trip(tmp_path):
    path = REAL / "cdk2.sdf"
    if not path.exists():
        pytest.skip("real data absent")
    real = [m for m in Chem.SDMolSupplier(str(path), removeHs=False) if m is not None]
    data = [(Chem.MolToSmiles(Chem.RemoveHs(m)), [m]) for m in real]
    items = [
        item for record in read(written(tmp_path, pickle.dumps(data))) for item in geom.parse(record, {})
    ]
    assert len(items) == len(real) > 40 and all(isinstance(item, Item) for item in items)
    for item, molecule, (smiles, _) in zip(items, real, data):
        positions = molecule.GetConformer().GetPositions()
        assert np.abs(
            item.rows["positions"] - (positions - positions.mean(0))
        ).max() < 1e-4 and item.cluster == constitution_of(smiles)


def test_settings_cut_conformers_and_atoms(molecules):
    smiles, mols = molecules[0]
    record = ("f", 1, smiles, [mols[0].ToBinary()] * 8)
    for settings, n in (({}, geom.N_CONFORMERS), ({"n_conformers": 7}, 7), ({"n_conformers": 8}, 8)):
        *kept, last = geom.parse(record, settings)
        assert len(kept) == min(n, 7) and isinstance(last, Item if n == 8 else Rejected)
        assert n == 8 or (last.reason, last.detail) == (BEYOND, f"{8 - n} of 8")
    record = ("f", 1, smiles, [mols[0].ToBinary()] * 5)
    n, admit = mols[0].GetNumAtoms(), READERS["geom"].admit
    assert {type(admit(item, {"max_atoms": n})) for item in geom.parse(record, {})} == {Item}
    assert {admit(item, {"max_atoms": n - 1}).reason for item in geom.parse(record, {})} == {"too many atoms"}


def test_molecules_of_a_newer_rdkit_are_called_so(molecules):
    data = molecules[0][1][0].ToBinary()
    newer = data[:4] + (99).to_bytes(4, "little") + data[8:]
    (found,) = geom.parse(("f", 1, "CCO", [newer]), {})
    assert found.reason == "does not parse (RDKit)" and "newer RDKit: format 99." in found.detail
    (found,) = geom.parse(("f", 1, "CCO", [data[:40]]), {})
    assert found.reason == "does not parse (RDKit)" and not found.detail


def test_what_is_no_conformer_is_rejected_with_a_shared_reason(tmp_path, molecules):
    flat = Chem.MolFromSmiles("CCO")
    AllChem.Compute2DCoords(flat)
    dummy = Chem.AddHs(Chem.MolFromSmiles("[*]C"))
    AllChem.EmbedMolecule(dummy, randomSeed=1)
    whole = molecules[0][1][0].ToBinary()
    cases = {
        b"": "does not parse (RDKit)",
        whole[:-30]: "does not parse (RDKit)",
        b"no molecule at all": "does not parse (RDKit)",
        Chem.Mol().ToBinary(): "no atoms",
        Chem.MolFromSmiles("CCO").ToBinary(): "no 3D coordinates",
        flat.ToBinary(): "no 3D coordinates",
        dummy.ToBinary(): "dummy atom or unknown element",
    }
    for data, reason in cases.items():
        assert [r.reason for r in geom.parse(("f", 1, "CCO", [data]), {})] == [reason]
    assert geom.parse(("f", 3, "CCO", []), {}) == [Rejected("f, molecule 3", "no conformers")]
    (record,) = read(written(tmp_path, pickle.dumps([("CCO", [None, molecules[0][1][0]])])))
    assert [type(x) for x in geom.parse(record, {})] == [Rejected, Item]


def test_without_a_smiles_that_parses_the_molecule_gives_the_cluster(molecules):
    smiles, mols = molecules[1]
    for given_smiles in (None, "", "no smiles"):
        (item,) = geom.parse(("f", 1, given_smiles, [mols[0].ToBinary()]), {})
        assert Chem.MolFromSmiles(item.cluster).GetNumAtoms() == Chem.MolFromSmiles(smiles).GetNumAtoms()
    (bare,) = geom.parse(("f", 1, smiles, [Chem.RemoveHs(mols[0]).ToBinary()]), {})
    assert bare.bare


@pytest.mark.parametrize(
    "content",
    [
        {},
        ("C", []),
        "text",
        None,
        [["C"]],
        [("C", [], [])],
        [(b"C", [])],
        [([], "C")],
        [("C", [1.5])],
        [("C", ["C"])],
        [("C", None)],
        [[[[[]]]]],
    ],
    ids=repr,
)
def test_other_structures_are_refused(tmp_path, content):
    refused(tmp_path, pickle.dumps(content, 4), "expected")


def test_truncated_files_are_refused_after_their_whole_batches(tmp_path, valid, molecules):
    for stop in [*range(60), *range(60, len(valid), 7)]:
        refused(tmp_path, valid[:stop])
    refused(tmp_path, valid + b".", "after the end")
    path = written(tmp_path, pickle.dumps([(s, [Chem.Mol(m[0])]) for s, m in molecules * 500], 4)[:-200])
    found = []
    with pytest.raises(DataError, match="after molecule 1000"):
        found.extend(geom.records(path))  # whole batches come before the error
    assert read(written(tmp_path, pickle.dumps([]))) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00",
        b"<!DOCTYPE html><html></html>",
        b"\x1f\x8b\x08\x00rest",
        b"\x89HDF\r\n\x1a\n",
        b"hello world\n",
        b"PK\x03\x04",
        b"\xff" * 100,
    ],
)
def test_other_files_are_refused(tmp_path, content):
    refused(tmp_path, content)
    with pytest.raises(DataError, match="no such file"):
        read(tmp_path / "absent.pickle")
