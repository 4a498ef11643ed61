"""Write the resolved settings of one run or dataset as YAML."""

import json
from pathlib import Path

import yaml

from equidyn.files import write_text


def configure(settings: str, out: Path) -> None:
    """From JSON to YAML, keys sorted."""
    write_text(out, yaml.safe_dump(json.loads(settings), sort_keys=True))
