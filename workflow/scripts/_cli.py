"""What every step shares: a log header, and errors of the user's making as one paragraph instead of a traceback."""

import errno
import platform
import sys

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}  # full, read-only, no folder


def run(main) -> None:
    """Call main(); documented errors end with one paragraph and exit code 1."""
    from equidyn.config import ConfigError
    from equidyn.data.schema import DataError
    from equidyn.provenance import commit

    print(f"{' '.join(sys.argv)}\npython {platform.python_version()} on {platform.platform()}, commit {commit()}", flush=True)
    try:
        main()
    except OSError as error:
        if error.errno not in DISK:
            raise
        sys.exit(f"error: {error}; outputs are written under temporary names, so that none is half-written. Expected a folder to write to with room on its disk")
    except (ConfigError, DataError, KeyError, ValueError, RuntimeError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        if type(error) is RuntimeError or (type(error) in (KeyError, ValueError) and "expected" not in str(text)):
            raise  # not one of ours: the traceback is wanted
        sys.exit(f"error: {text}")
