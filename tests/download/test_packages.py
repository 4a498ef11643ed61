"""Files that are the wheel of a package: pip brings them, and they are checked like any other."""

import hashlib
import zipfile

import pytest
from download_server import entry

from equidyn.download import fetch
from equidyn.errors import DataError

FILE = "toy-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder with the one wheel that pip may find; no network."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / FILE, "w") as file:
        file.writestr("toy/data.txt", "chains")
        file.writestr("toy-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\n")
        file.writestr(
            "toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        file.writestr("toy-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def packaged(**change):
    return entry(**{"file": FILE, "package": "toy==1.0", "urls": [], **change})


def test_the_wheel_of_a_package_arrives_and_is_checked(index, tmp_path):
    content = (index / FILE).read_bytes()
    sha256 = hashlib.sha256(content).hexdigest()
    right = packaged(size=len(content), checksum=f"sha256:{sha256}")
    found = fetch.fetch(right, tmp_path / "d", tmp_path / "lock.json")
    assert found["sha256"] == sha256 and (tmp_path / "d/set/1" / FILE).read_bytes() == content
    assert [path.name for path in (tmp_path / "d/set/1").iterdir()] == [FILE]
    (index / FILE).unlink()
    assert fetch.fetch(right, tmp_path / "d", tmp_path / "lock.json") == found  # there: pip is not asked


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(checksum="sha256:" + "0" * 64), "expected 0000"),
        (dict(package="toy==2.0"), "pip could not download toy==2.0: .* get toy-1.0"),
        (dict(file="other-1.0-py3-none-any.whl"), f"it brought {FILE}"),
    ],
)
def test_another_wheel_is_refused_and_nothing_is_left(index, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        fetch.fetch(packaged(**change), tmp_path / "d", tmp_path / "lock.json")
    assert not list((tmp_path / "d/set/1").iterdir())


def test_offline_names_the_command(tmp_path):
    with pytest.raises(DataError, match="offline: get toy-1.0.* from `pip download --no-deps toy==1.0`"):
        fetch.fetch(packaged(), tmp_path / "d", tmp_path / "lock.json", offline=True)
