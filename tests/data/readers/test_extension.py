"""A reader from a file outside the package makes a dataset like any other."""

import json

import numpy as np
import pytest
from common import REPOSITORY
from labelled import frames

from equidyn.config import resolve_dataset, validate
from equidyn.data import store
from equidyn.data.build import build
from equidyn.data.readers import extension, label_checks
from equidyn.data.readers.records import Item
from equidyn.errors import ConfigError, DataError

FILE = REPOSITORY / "tests/extension_reader.py"


UNIT = 27.2  # eV; the file has its energies in this unit


@pytest.fixture(scope="module")
def made():
    """Sixteen structures of eight molecules, and a line that is none."""
    lines = [
        dict(
            name=str(atoms.symbols),
            numbers=atoms.numbers.tolist(),
            positions=atoms.positions.tolist(),
            forces=(atoms.arrays["forces"] / UNIT).tolist(),
            energy=atoms.info["energy"] / UNIT,
        )
        for atoms in frames(16)
    ]
    return [*lines, {**lines[0], "numbers": [1]}]


@pytest.fixture
def data(made, tmp_path):
    path = tmp_path / "frames.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in made))
    return path


def config_of(data, **change):
    dataset = dict(source="json_lines", files=[str(data)], licence="x", n_held_out=1, options=dict(unit=UNIT))
    config = dict(name="c", seed=0, extensions=[str(FILE)], datasets=dict(d={**dataset, **change}))
    return {**config, "runs": dict(r=dict(task="forces", dataset="d")), "defaults": DEFAULTS}


def shipped():
    import yaml

    return yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())


DEFAULTS = {
    "forces": {**shipped()["defaults"]["forces"], "measure": dict(n_items=2, n_rotations=2, batch_size=2)}
}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dataset_of_a_reader_outside_the_package(made, data, tmp_path, workers):
    config = config_of(data, n_held_out=2)
    validate(config)
    settings = resolve_dataset(config, "d")
    counts = build(settings, str(tmp_path / "d.h5"), workers=workers)
    assert counts["items"] == 16 and [n for key, n in counts.items() if "shapes disagree" in key] == [1]
    arrays, attributes = store.read(tmp_path / "d.h5", "forces")
    wanted = np.sort([UNIT * line["energy"] for line in made[:16]])  # its option
    assert np.allclose(np.sort(arrays["energy"]), wanted) and attributes["licence"] == "x"
    assert len(set(arrays["cluster"].tolist())) == 8
    assert json.loads(attributes["settings"])["extension"]["file"] == str(FILE)


def test_its_labels_are_checked_in_the_unit_that_it_reads_them_in(data, tmp_path):
    settings = resolve_dataset(config_of(data, options=dict(unit=1.0)), "d")  # eV, which the file is not in
    with pytest.raises(DataError, match=r"read as eV/angstrom, .*; likely: the forces are in hartree/angst"):
        build(settings, str(tmp_path / "d.h5"), workers=1)


def test_items_that_do_not_say_their_unit_are_not_judged():
    with pytest.raises(DataError, match="line 1: an item without force_unit, expected the factor to eV/Å"):
        label_checks.check("f", [Item("f, line 1", "water", {})], {})


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(source="json_line"), "datasets.d.source: 'json_line', expected one of conformers.*json_lines"),
        (dict(colour="red"), "datasets.d: .*colour.*known keys.*files"),
        (dict(files=None), "datasets.d.files"),
    ],
)
def test_bad_settings_of_such_a_dataset_are_named(data, change, message):
    with pytest.raises(ConfigError, match=message):
        validate(config_of(data, **change))


@pytest.mark.parametrize(
    "text, error, message",
    [
        ("READER = {'source': 'a'}", ConfigError, "expected READER = "),
        ("READER = {'source': 'a', 'kind': 'images'}", ConfigError, "expected READER = "),
        ("READER = {'source': 'a', 'kind': 'forces'}", DataError, "reader is None, expected reader = Reader"),
        ("x = 1", ConfigError, "declares no task, model, figure or reader"),
    ],
)
def test_files_without_a_reader_are_refused(tmp_path, text, error, message):
    (tmp_path / "r.py").write_text(text)
    with pytest.raises(error, match=message):
        extension.load(tmp_path / "r.py")


def test_names_of_sources_are_not_taken_twice(data, tmp_path):
    (tmp_path / "r.py").write_text("READER = {'source': 'extxyz', 'kind': 'forces'}")
    with pytest.raises(ConfigError, match="source 'extxyz', expected another name"):
        validate({**config_of(data), "extensions": [str(FILE), str(tmp_path / "r.py")]})
