"""Write the resolved settings of one run or dataset as YAML."""

import argparse
import json
import os
from pathlib import Path

import yaml

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--settings", required=True, help="settings as JSON")
parser.add_argument("--out", required=True, type=Path)
args = parser.parse_args()
temporary = args.out.with_suffix(".part")
temporary.write_text(yaml.safe_dump(json.loads(args.settings), sort_keys=True))
os.replace(temporary, args.out)
