"""Pickles of molecules, as GEOM has them, and crafted ones."""

import pickle

import pytest

from equidyn.data.readers import geom
from equidyn.errors import DataError

MOL = b"crdkit.Chem.rdchem\nMol\n"  # GLOBAL


def written(folder, content):
    path = folder / "data.pickle"
    path.write_bytes(content)
    return path


def read(path):
    return list(geom.records(path))


def refused(folder, content, match=None):
    path = written(folder, content)
    with pytest.raises(DataError, match=match) as caught:
        read(path)
    assert str(path) in str(caught.value) and len(str(caught.value)) < 1000
    return str(caught.value)


def one(smiles, *mols):
    """A list of one record, of raw opcodes."""
    return b"\x80\x03]" + b"(" + pickle.dumps(smiles, 3)[2:-1] + b"](" + b"".join(mols) + b"e\x86e."
