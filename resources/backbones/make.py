"""Make chains.npz from the wheel of cgdms 1.0: C-alpha traces of the experimental chains that it ships.

    pip download --no-deps --dest WHEELS cgdms==1.0
    python resources/backbones/make.py WHEELS/cgdms-1.0-py3-none-any.whl resources/backbones/chains.npz

The same wheel gives the same bytes, see ``equidyn.data.readers.chains_wheel``.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np

from equidyn.data.generate.experimental_chains import SCALE
from equidyn.data.readers import chains_wheel
from equidyn.errors import DataError
from equidyn.files import atomic_write

SHA256 = "8a7a9ea86df276acc7063b1c162cfbb20a8dd380cef345294f85817558798ca0"  # of the wheel


def convert(wheel: Path, out: Path) -> dict:
    """Write the file of chains; returns counts: in the wheel, kept, residues, dropped by reason.

    Raises
    ------
    DataError
        see ``chains_wheel.arrays``
    """
    arrays, counts = chains_wheel.arrays(wheel, SCALE)
    with atomic_write(out) as temporary, open(temporary, "wb") as opened:
        np.savez(opened, **arrays)  # not compressed: a zlib of another version would write other bytes
    return counts


def main() -> None:
    """Check the wheel, make the file, print counts and its digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheel", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    found = hashlib.sha256(arguments.wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(f"{arguments.wheel}: sha256 {found}, expected {SHA256}")
    counts = convert(arguments.wheel, arguments.out)
    content = arguments.out.read_bytes()
    print(json.dumps({**counts, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}))


if __name__ == "__main__":
    main()
