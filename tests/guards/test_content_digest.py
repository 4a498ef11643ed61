"""sealed.py: whatever happens to a sealed file, HDF5 does not see it; one that is whole, any HDF5
tool reads.
"""

import shutil
import subprocess

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from equidyn.errors import DataError
from equidyn.guards import content_digest


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("sealed") / "a.h5"
    with content_digest.create(path) as file:
        file["values"], file.attrs["name"] = np.arange(100), "x"
    return path


def read(path):
    with content_digest.open_checked(path, "dataset") as file:
        return file["values"][()].tolist(), file.attrs["name"]


def test_what_was_written_is_read_by_us_and_by_others(whole):
    assert read(whole) == (list(range(100)), "x")
    with h5py.File(whole) as file:
        assert file["values"][()].tolist() == list(range(100)) and file.userblock_size == content_digest.BLOCK


@given(data=st.data())
def test_every_changed_byte_and_every_cut_is_refused_before_hdf5_sees_it(whole, data):
    content = bytearray(whole.read_bytes())
    if data.draw(st.booleans(), "cut"):
        del content[data.draw(st.integers(0, len(content) - 1), "at") :]
    else:
        content[data.draw(st.integers(0, len(content) - 1), "at")] ^= data.draw(st.integers(1, 255), "bits")
    damaged = whole.with_name("damaged.h5")
    damaged.write_bytes(content)
    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(DataError, match=r"damaged.h5: (its content has|begins with) [^\n]*make it again"),
    ):
        patch.setattr(h5py, "File", lambda *args: pytest.fail("opened by HDF5"))
        read(damaged)


@pytest.mark.parametrize("block", [0, 1024])
def test_files_of_others_and_of_older_versions(tmp_path, block):
    with h5py.File(tmp_path / "b.h5", "w", userblock_size=block) as file:
        file["values"] = np.arange(3)
    content = (tmp_path / "b.h5").read_bytes()
    with pytest.raises(
        DataError,
        match="b.h5: begins with .*, expected a digest: .* of a version whose files had none; make it again: "
        "`snakemake .*b.h5 --forcerun dataset`",
    ):
        read(tmp_path / "b.h5")
    with pytest.raises(DataError, match="no HDF5 file begins at byte 512"):
        content_digest.write_digest(tmp_path / "b.h5")
    assert (tmp_path / "b.h5").read_bytes() == content


def test_a_change_that_is_meant_is_sealed_again(whole, tmp_path):
    path = tmp_path / "c.h5"
    shutil.copy(whole, path)
    before = content_digest.stored_digest(path)
    with h5py.File(path, "r+") as file:
        file["values"][0] = 7
    with pytest.raises(DataError, match=f"expected '{before}': damaged, cut, or changed"):
        read(path)
    content_digest.write_digest(path)
    assert read(path)[0][0] == 7 and content_digest.stored_digest(path) != before


@pytest.mark.skipif(not (shutil.which("tail") and shutil.which("sha256sum")), reason="no such programs")
def test_the_digest_is_what_sha256sum_says(whole):
    assert subprocess.check_output(f"tail -c +513 {whole} | sha256sum", shell=True, text=True).split()[
        0
    ] == content_digest.stored_digest(whole)


def test_nothing_is_sealed_where_writing_failed(tmp_path):
    with pytest.raises(KeyError), content_digest.create(tmp_path / "d.h5") as file:
        file["missing"]
    with pytest.raises(DataError, match="begins with"):
        read(tmp_path / "d.h5")
