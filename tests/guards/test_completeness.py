"""Files whose checksum nobody knows: what is cut or damaged is told from what is whole, in bounded memory."""

import gzip
import os
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest

from equidyn.guards import completeness


def test_what_has_no_end_of_its_own_passes(tmp_path):
    for name in ("a.xyz", "a.csv", "a"):
        (tmp_path / name).write_bytes(b"3\n\nC 0 0")
        assert (
            completeness.wrong_beginning(tmp_path / name, name)
            is completeness.missing_end(tmp_path / name, name)
            is None
        )


def test_the_name_that_a_file_is_to_get_counts(tmp_path):
    part = tmp_path / "a.gz.part"
    part.write_bytes(gzip.compress(b"x" * 1000)[:-1])
    assert "incomplete or damaged .gz" in completeness.missing_end(part, "a.gz")


def test_damage_in_the_middle(tmp_path):
    content = bytearray(gzip.compress(os.urandom(1000)))
    content[500] ^= 1
    (tmp_path / "a.gz").write_bytes(content)
    assert "CRC" in completeness.missing_end(tmp_path / "a.gz", "a.gz")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("inner", b"y" * 1000)
    content = bytearray((tmp_path / "a.zip").read_bytes())
    content[500] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    assert "'inner' fails its checksum" in completeness.missing_end(tmp_path / "a.zip", "a.zip")


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
def test_end_of_hdf5(tmp_path, libver):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file["x"] = np.arange(1000)
    assert completeness.missing_end(path, path.name) is None
    size = path.stat().st_size
    with open(path, "ab") as file:
        file.write(b"more")
    assert (
        f"of {size + 4} bytes: its superblock says that it ends after {size} bytes"
        in completeness.missing_end(path, path.name)
    )
    os.truncate(path, size - 1)
    assert f"ends after {size} bytes" in completeness.missing_end(path, path.name)


def test_an_error_of_the_disk_is_none_of_the_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        completeness.missing_end(tmp_path / "gone", "a.gz")


@pytest.mark.parametrize("name", ["a.gz", "a.zip"])
def test_memory_is_bounded(tmp_path, name):
    """128 MiB in a small file."""
    zeros = bytes(1 << 20)
    if name == "a.gz":
        with gzip.open(tmp_path / name, "wb") as file:
            for _ in range(128):
                file.write(zeros)
    else:
        with (
            zipfile.ZipFile(tmp_path / name, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("a", "w") as file,
        ):
            for _ in range(128):
                file.write(zeros)
    tracemalloc.start()
    assert completeness.missing_end(tmp_path / name, name) is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20
