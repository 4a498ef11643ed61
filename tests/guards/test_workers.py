"""What worker processes begin with."""

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

from equidyn.guards import workers
from equidyn.guards.workers import KERNELS, THREADS

ASKED = """
import ctypes, sys
from pathlib import Path
import numpy
(path,) = Path(numpy.__file__).parents[1].glob("numpy.libs/*openblas*.so")
name = ctypes.CDLL(str(path)).scipy_openblas_get_corename64_
name.restype = ctypes.c_char_p
print(name().decode())
"""


@pytest.mark.parametrize(
    "flags, expected",
    [("fma avx2 bmi2", "Haswell"), ("fma avx avx512_bf16", None), ("avx2", None), (None, None)],
)
def test_kernels_are_chosen_where_every_processor_can_run_them(tmp_path, monkeypatch, flags, expected):
    monkeypatch.delenv(KERNELS, raising=False)
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"model name : A\nflags : {flags}\n")
    found = workers.environment(tmp_path / "cpuinfo")
    assert found.get(KERNELS) == expected and {found[name] for name in THREADS} == {"1"}


def test_a_choice_of_the_users_stays(tmp_path, monkeypatch):
    monkeypatch.setenv(KERNELS, "Sandybridge")
    (tmp_path / "cpuinfo").write_text("flags : fma avx2")
    assert workers.environment(tmp_path / "cpuinfo")[KERNELS] == "Sandybridge"


def test_openblas_listens():
    """The library that numpy ships, in a process that begins with these variables."""
    import numpy

    there = list(Path(numpy.__file__).parents[1].glob("numpy.libs/*openblas*.so"))
    chosen = workers.environment().get(KERNELS)
    if (
        len(there) != 1
        or chosen is None
        or not hasattr(ctypes.CDLL(there[0]), "scipy_openblas_get_corename64_")
    ):
        pytest.skip("numpy without its own OpenBLAS, or a processor without AVX2")
    for name in (chosen, "Sandybridge"):
        command, environment = [sys.executable, "-c", ASKED], {**os.environ, KERNELS: name}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [name]


def test_workers_begin_with_them(monkeypatch):
    for name in (*THREADS, KERNELS):
        monkeypatch.setenv(name, "7")  # and as it was afterwards
    monkeypatch.delenv(KERNELS)
    wanted = workers.environment()
    with workers.pool_of(1) as pool:
        assert {name: pool.submit(os.getenv, name).result() for name in wanted} == wanted
