"""Code that runs as a user who may not write anywhere."""

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from common import REPOSITORY

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY / "src"), "OMP_NUM_THREADS": "1"}


@contextlib.contextmanager
def open_folder():
    """A temporary folder that every user may enter, which pytest's are not."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def without_privileges(code, folder):
    """What ``code`` prints for a folder, in a process that permissions bind; ``{drop}`` in it is where the
    superuser becomes nobody, after its imports.
    """
    drop = "os.geteuid() or os.setuid(65534)"
    command = [sys.executable, "-c", "import os, sys\n" + code.format(drop=drop), str(folder)]
    return subprocess.run(
        command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT, check=True
    ).stdout.strip()
