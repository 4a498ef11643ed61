"""Molecules out of a wheel like that of molsets."""

import gzip
import zipfile

import pytest

from equidyn.data.build import build
from equidyn.data.readers import molecules_wheel
from equidyn.errors import ConfigError, DataError

SMILES = ["CCO", "OCC", "c1ccccc1", "CCN", "C[N+](C)(C)C", "not a molecule", "CCCCCCCCCC", "CC(=O)O", "CS"]


def wheel(path, lines, member=molecules_wheel.MEMBER):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(member, gzip.compress("\n".join(lines).encode()))
    return path


@pytest.fixture
def small(tmp_path):
    return wheel(tmp_path / "molsets.whl", ["SMILES", *SMILES])


def test_molecules_are_distinct_usable_and_small_enough(small):
    kept, left = molecules_wheel.drawn(small, 5, 12, 0)
    assert sorted(smiles for _, smiles in kept) == ["CC(=O)O", "CCN", "CCO", "CS", "c1ccccc1"]
    reasons = dict(left)
    for number, text in ((5, "neutral"), (6, "does not parse"), (7, "too many atoms")):
        assert text in reasons.get(f"MOSES {number}", text)  # some were not looked at
    assert len({name for name, _ in kept}) == 5


def test_the_draw_depends_on_the_seed_and_more_molecules_keep_the_first(small):
    three, _ = molecules_wheel.drawn(small, 3, 12, 0)
    assert molecules_wheel.drawn(small, 4, 12, 0)[0][:3] == three
    assert any(molecules_wheel.drawn(small, 3, 12, seed)[0] != three for seed in range(1, 6))


@pytest.mark.parametrize(
    "spoil, said",
    [
        (lambda p: wheel(p, ["SMILES", *SMILES], "other.csv.gz"), "no moses/dataset/data/train.csv.gz"),
        (lambda p: wheel(p, ["name", "CCO"]), "expected a column SMILES"),
        (lambda p: wheel(p, ["SMILES", "CCO"]), "1 molecules of at most 12 atoms in .*, expected 5"),
        (lambda p: p.write_bytes(b"no wheel"), "expected the wheel of molsets 0.3.1"),
        (lambda p: p.unlink(), "expected the wheel of molsets 0.3.1"),
    ],
)
def test_what_is_no_such_wheel_is_refused(small, spoil, said):
    spoil(small)
    with pytest.raises(DataError, match=said):
        molecules_wheel.drawn(small, 5, 12, 0)


def test_a_dataset_of_them_names_where_they_come_from(small, tmp_path):
    settings = dict(source="conformers", download=["molsets"], files=[str(small)], n_molecules=4, seed=0)
    settings |= dict(n_conformers=8, temperature=200, max_atoms=12, n_held_out=1, labels=False)
    counts = build(settings, str(tmp_path / "d.h5"))
    assert counts["items"] == 8 and counts["clusters"] == 4
    from equidyn.data import store

    assert "MOSES" in store.read(tmp_path / "d.h5", "molecules")[1]["source"]
    assert "MOSES" in (tmp_path / "d" / "split.csv").read_text()


def test_a_config_has_a_list_or_a_download():
    from equidyn.config.validate import _check_files

    for found, given in (
        ("neither molecules nor", {}),
        ("both molecules and", dict(molecules="m", download=["x"])),
    ):
        with pytest.raises(ConfigError, match=f"{found} download, expected exactly one"):
            _check_files("config, datasets.d", dict(source="conformers", **given))
    _check_files("d", dict(source="conformers", download=["molsets"]))
