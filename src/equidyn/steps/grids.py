"""Make the frozen held-out grids of a dataset."""

import json
from pathlib import Path

from equidyn.data.grids import build


def grids(data: Path, out: Path, code: str = "") -> None:
    """Write the grids and print counts; ``code`` is a digest that is stored in the file."""
    print(json.dumps(build(str(data), str(out), code)))
