"""A stub of the few conda calls that Snakemake makes.

An "environment" is a folder whose python is the one running the tests.
"""

import json
import os
import sys
from pathlib import Path

arguments = sys.argv[1:]
prefix = os.environ["STUB_CONDA_PREFIX"]
if arguments[:2] == ["info", "--json"]:
    print(json.dumps({"conda_prefix": prefix, "platform": "linux-64"}))
elif arguments[:1] == ["--version"]:
    print("conda 24.9.0")
elif arguments[:2] == ["config", "--get"]:
    print(json.dumps({"get": {"channel_priority": "strict"}, "channel_priority": "strict"}))
elif arguments[:2] == ["env", "create"]:
    target = Path(arguments[arguments.index("--prefix") + 1])
    (target / "bin").mkdir(parents=True, exist_ok=True)
    (target / "stub-environment").write_text(
        Path(next(a for a in arguments if a.endswith(".yaml") or a.endswith(".yml"))).read_text()
    )
    python = target / "bin/python"
    python.write_text(f'#!/bin/sh\nexec {os.environ["STUB_CONDA_PYTHON"]} "$@"\n')
    python.chmod(0o755)
sys.exit(0)
