"""What every step that runs as a command shares: a log header, options, and errors as one paragraph."""

import argparse
import errno
import platform
import sys
from collections.abc import Callable
from pathlib import Path

from equidyn.errors import EquidynError, optional_packages
from equidyn.provenance import commit

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}  # full, read-only
ACCESS = {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
ABSENT = {errno.ENOENT, errno.EISDIR}  # of a user's making where the error names a file


def end_with_one_paragraph(call: Callable[[], None], code: int = 1) -> None:
    """Call; errors of the user's making end with one paragraph and the exit code, all others with their
    traceback.
    """
    try:
        with optional_packages():
            call()
    except EquidynError as error:
        _end(f"error: {error}", code)
    except OSError as error:
        if error.errno in DISK:
            kept = "outputs are written under temporary names, so that none is half-written"
            _end(f"error: {error}; {kept}. Expected a folder to write to with room on its disk", code)
        if error.errno in ACCESS or (error.errno in ABSENT and error.filename is not None):
            _end(f"error: {error}; expected one that is there and that this process may use", code)
        raise


def _end(text: str, code: int) -> None:
    print(text, file=sys.stderr)
    sys.exit(code)


def step(main: Callable[[], None]) -> None:
    """Run a step of the workflow: a log header, then ``end_with_one_paragraph``."""
    print(" ".join(sys.argv))
    print(f"python {platform.python_version()} on {platform.platform()}, commit {commit()}", flush=True)
    end_with_one_paragraph(main)


def parser_of_step(description: str) -> argparse.ArgumentParser:
    """The options of steps that measure a trained run; their names are the parameters of
    ``equidyn.steps``.
    """
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", required=True, type=Path, help="settings of the run (YAML)")
    parser.add_argument("--data", required=True, type=Path, help="dataset file")
    parser.add_argument("--checkpoints", required=True, type=Path, help="folder of step_*.pt")
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--grids", type=Path, help="held-out grids (task voxels)")
    parser.add_argument("--threads", type=int, default=1)
    return parser
