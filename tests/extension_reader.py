"""A reader from outside the package, for the tests: labelled structures as JSON, one a line."""

import json

import numpy as np

from equidyn.data.readers import label_checks
from equidyn.data.readers.labels import Molecule, labelled
from equidyn.data.readers.records import Reader, Rejected

READER = {"source": "json_lines", "kind": "forces"}


def records(path):
    """(where, line) of every line."""
    with open(path) as file:
        for number, line in enumerate(file, 1):
            yield f"{path}, line {number}", line


def parse(record, settings):
    """The structure of a line, or why there is none; ``labelled`` checks units and labels like those of any
    other file.
    """
    where, line = record
    found = json.loads(line)
    numbers, positions, forces = (np.array(found[key]) for key in ("numbers", "positions", "forces"))
    if len(numbers) != len(positions):
        return [Rejected(where, "shapes disagree")]
    unit = settings.get("options", {}).get("unit", 1.0)  # in eV
    molecule = Molecule(found["name"])
    return labelled(
        [where], molecule, numbers, positions[None], np.array([found["energy"]]), forces[None], unit
    )


reader = Reader("forces", records, parse, check=label_checks.check)
