"""Worker processes: what they compute with, limits of CPU time and memory, and none outlives its parent."""

import multiprocessing
import os
import resource
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from multiprocessing.connection import wait
from pathlib import Path

CPU_SECONDS, MEMORY = 600, 2 << 30  # of a worker for one chunk, beyond what it has used before
THREADS = "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "GOTO_NUM_THREADS", "MKL_NUM_THREADS"
KERNELS = "OPENBLAS_CORETYPE"


def environment(cpuinfo: Path = Path("/proc/cpuinfo")) -> dict[str, str]:
    """Variables that workers begin with.

    One thread for each numerical library: Snakemake sets a job's, and with two in each of two workers labels
    took three times as long. And the same kernels of OpenBLAS on every processor with AVX2: it chooses them
    by the processor's name, their roundings differ, and that turns the vibrations of symmetric molecules
    within their degenerate spaces: 7 of the default's 3,600 structures then lie more than 0.01 Å elsewhere
    (docs/log.md, 2026-11-27). A choice of the user's stays.
    """
    found = dict.fromkeys(THREADS, "1")
    with suppress(OSError):  # not Linux
        if {"avx2", "fma"} <= set(cpuinfo.read_text().split()):
            found[KERNELS] = os.environ.get(KERNELS, "Haswell")
    return found


def pool_of(workers: int) -> ProcessPoolExecutor:
    os.environ.update(environment())  # inherited by the workers
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _leave_with_parent)


def _leave_with_parent() -> None:
    """A worker of a killed parent would wait for work forever."""
    parent = multiprocessing.parent_process().sentinel
    threading.Thread(target=lambda: (wait([parent]), os._exit(1)), daemon=True).start()


def bounded(seconds: int, function: Callable, *arguments) -> object:
    """Runs in a worker, which the kernel ends after so many more seconds of CPU time, and refuses ``MEMORY``
    more bytes: a C library that loops ends no other way.
    """
    used = resource.getrusage(resource.RUSAGE_SELF)
    limits = {resource.RLIMIT_CPU: int(used.ru_utime + used.ru_stime) + seconds}
    with suppress(OSError):  # no /proc
        limits[resource.RLIMIT_AS] = (
            int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize() + MEMORY
        )
    for kind, soft in limits.items():
        with suppress(OSError, ValueError):  # a lower hard limit, or a system without
            resource.setrlimit(kind, (soft, resource.getrlimit(kind)[1]))
    return function(*arguments)
