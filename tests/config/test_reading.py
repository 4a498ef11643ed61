"""Config files in which no key stands twice."""

import pytest
import yaml
from common import REPOSITORY

from equidyn.config import read
from equidyn.errors import ConfigError


def test_a_key_that_stands_twice_is_refused(tmp_path):
    path = tmp_path / "mine.yaml"
    for text, key, lines in (
        ("name: x\nseed: 1\nseed: 2\n", "seed", (3, 2)),
        ("datasets:\n  a: {source: chains}\n  b: {}\n  a: {source: xyz}\n", "a", (4, 2)),
        ('{"name": "x",\n "name": "y"}', "name", (2, 1)),
    ):
        path.write_text(text)
        message = f"mine.yaml, line {lines[0]}: key '{key}', which line {lines[1]} has too, expected once"
        with pytest.raises(ConfigError, match=message):
            read(path)
    path.write_text("a: &a {k: 1, l: 2}\nb: &b {<<: *a, k: 3}\nc: {<<: *b, l: 4}\n")
    assert read(path) == {"a": {"k": 1, "l": 2}, "b": {"k": 3, "l": 2}, "c": {"k": 3, "l": 4}}
    path.write_text("a: &a {k: 1}\nb: {<<: *a, <<: *a}\n")
    assert read(path)["b"] == {"k": 1}
    path.write_text('{"name":\t"x"}')
    assert read(path) == {"name": "x"}
    path.write_text('{"name":\t"x",\t"name": "y"}')
    with pytest.raises(ConfigError, match=r"mine.yaml: keys \['name'\] more than once"):
        read(path)
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(ConfigError, match="mine.yaml: .*expected UTF-8"):
        read(path)
    path.write_text("a: [1\n")
    with pytest.raises(ConfigError, match="mine.yaml: expected YAML or JSON"):
        read(path)
    path = REPOSITORY / "config/config.yaml"
    assert read(path) == yaml.safe_load(path.read_text())
