"""Write the resolved settings of one run or dataset as YAML."""

import json
from pathlib import Path

import yaml

from equidyn.files import atomic_write


def configure(settings: str, out: Path) -> None:
    """From JSON to YAML, keys sorted."""
    with atomic_write(out) as temporary:
        temporary.write_text(yaml.safe_dump(json.loads(settings), sort_keys=True))
