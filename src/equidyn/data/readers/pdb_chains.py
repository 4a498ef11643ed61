"""The text of a PDB file as its reader should see it: chains that share an identifier, or have none, get
one each; atom names are in their columns; residue names of four letters are those of their parents. And
what that reader would not say: atoms behind its end, coordinates outside their columns.

Column numbers below count from 0.
"""

import re
from dataclasses import dataclass, field

import numpy as np

from equidyn.data.readers.sequence_clusters import ALPHABET

SPAN = 4.0  # Å per step along a chain, at most
MISSING = 50  # residues that a chain may lack at a TER and go on
IDENTIFIERS = [
    a + b for a in "abcdefghijklmnopqrstuvwxyz" for b in "0123456789"
]  # for chains without their own
AMINO_ACIDS = {
    "ALA", "CYS", "ASP", "GLU", "PHE", "GLY", "HIS", "ILE", "LYS", "LEU",
    "MET", "ASN", "PRO", "GLN", "ARG", "SER", "THR", "VAL", "TRP", "TYR",
}  # fmt: skip
NUMBER = re.compile(r" *[-+]?(\d+\.\d*|\.\d+) *")  # a coordinate, whatever its decimals: none is cut
# Names that force fields give to protonation states: AMBER, CHARMM, GROMOS, OPLS.
PROTONATED = {
    "HIE": "HIS", "HID": "HIS", "HIP": "HIS", "HSD": "HIS", "HSE": "HIS", "HSP": "HIS", "HIN": "HIS",
    "HDP": "HIS", "HDE": "HIS", "HIZ": "HIS", "CYX": "CYS", "CYM": "CYS", "CYN": "CYS", "ASH": "ASP",
    "AS4": "ASP", "GLH": "GLU", "GL4": "GLU", "LYN": "LYS", "LSN": "LYS", "LYP": "LYS", "ARN": "ARG",
    "TYM": "TYR",
}  # fmt: skip
FOUR_LETTERS = {
    "HISA": "HIS", "HISB": "HIS", "HISD": "HIS", "HISE": "HIS", "HISH": "HIS", "HIS1": "HIS", "HIS2": "HIS",
    "HSDP": "HIS", "CYSH": "CYS", "CYS1": "CYS", "CYS2": "CYS", "ASPH": "ASP", "ASPP": "ASP", "GLUH": "GLU",
    "GLUP": "GLU", "LYSH": "LYS", "ARGN": "ARG",
} | {end + name: name for end in "NC" for name in AMINO_ACIDS} | {
    end + name: parent for end in "NC" for name, parent in PROTONATED.items()
}  # fmt: skip
ATOMS = "ATOM  ", "HETATM"
assert len(AMINO_ACIDS) == len(ALPHABET)


@dataclass
class _Residue:
    """A residue of a model: its lines, and what tells whether a chain begins with it."""

    chain: str
    number: int
    key: str  # number, insertion code and name, as in the file
    alternate: bool
    after_ter: bool
    atom: bool  # of an ATOM record
    lines: list[int] = field(default_factory=list)
    alpha: np.ndarray | None = None


def up_to_end(text: str) -> tuple[str, int]:
    """The text up to its first END, behind which readers do not look, and how many atoms are behind it."""
    lines = text.splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if line[:4].rstrip().upper() == "END"), len(lines))
    return "".join(lines[:end]), sum(line.startswith(ATOMS) for line in lines[end:])


def misplaced(text: str) -> dict[str, str]:
    """By identifier of a chain of the first model: the coordinates, as they stand there, of its first atom
    whose are no three numbers, each in its own eight columns. A reader would make others of them.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("ENDMDL"):
            break
        counts = line.startswith("ATOM  ") or (line.startswith("HETATM") and line[12:16] == " CA ")
        if counts and not _whole_numbers(line):
            found.setdefault(line[20:22].strip(), line[30:54].rstrip())
    return found


def _whole_numbers(line: str) -> bool:
    """Whether each of the three coordinates of an atom stands in its own eight columns."""
    return all(NUMBER.fullmatch(line[k : k + 8]) for k in (30, 38, 46))


def sorted_out(text: str) -> tuple[str, dict[str, str]]:
    """The text, and what the identifiers that were given to chains stand for: ``A (2)``, the second A.

    A chain begins where residues do not go on from the last ones of the same identifier: the numbers
    restart, no chain can span the way, or so many residues would be missing after a TER. A TER after
    which they go on does not end a chain that has an identifier.
    """
    lines = text.splitlines()
    atoms = [i for i, line in enumerate(lines) if line.startswith(ATOMS)]
    long_names = any(lines[i][20:21].isspace() for i in atoms)  # else that column is part of the identifier
    for i in atoms:
        lines[i] = _in_columns(lines[i], long_names)
    names: dict[str, str] = {}
    free = iter(IDENTIFIERS)
    for model in _models(lines):
        last: dict[str, _Residue] = {}
        given: dict[str, str] = {}
        count: dict[str, int] = {}
        for residue in model:
            before = last.get(residue.chain)
            if before is not None and residue.atom and _begins(before, residue):
                count[residue.chain] = count.get(residue.chain, 1) + 1
                identifier = next(free, None)
                if identifier is not None:
                    given[residue.chain] = identifier
                    names[identifier] = f"{residue.chain.strip() or 'blank'} ({count[residue.chain]})"
            if residue.atom or before is None:
                last[residue.chain] = residue
            if residue.chain in given:
                for i in residue.lines:
                    lines[i] = lines[i][:20] + given[residue.chain] + lines[i][22:]
    return "\n".join(lines) + "\n", names


def _in_columns(line: str, long_names: bool) -> str:
    """A line whose atom name begins in the column of its element, and whose residue name has three
    letters.
    """
    if long_names and line[20:21].strip() and (parent := FOUR_LETTERS.get(line[17:21])):
        line = f"{line[:17]}{parent} {line[21:]}"
    name, element = line[12:16], line[76:78].strip()
    residue = line[17:20]
    left = name[:1] in "CNOSH" and name[3:] == " " and not element
    if left and (residue in AMINO_ACIDS or residue in PROTONATED):
        line = f"{line[:12]} {name[:3]}{line[16:]}"
    return line


def _models(lines: list[str]) -> list[list[_Residue]]:
    models: list[list[_Residue]] = [[]]
    ended = False
    for i, line in enumerate(lines):
        if line.startswith("MODEL ") and models[-1]:
            models.append([])
        ended = ended or line.startswith("TER")
        if not line.startswith(ATOMS):
            continue
        try:
            number = int(line[22:26])
        except ValueError:  # hybrid-36 or damage: the reader says so
            continue
        key, model = line[17:27], models[-1]
        if not model or model[-1].key != key:
            atom = line.startswith("ATOM")
            alternate = bool(line[16:17].strip())
            model.append(_Residue(line[20:22], number, key, alternate, ended, atom))
            ended = ended and not atom
        model[-1].lines.append(i)
        if line[12:16] == " CA ":
            model[-1].alpha = _position(line)
    return models


def _position(line: str) -> np.ndarray | None:
    try:
        return np.array([float(line[k : k + 8]) for k in (30, 38, 46)])
    except ValueError:
        return None


def _begins(before: _Residue, residue: _Residue) -> bool:
    """Whether another chain begins with a residue; ``before`` is the last one of the same identifier."""
    if before.alpha is None or residue.alpha is None or residue.alternate:
        return False
    distance, steps = float(np.linalg.norm(residue.alpha - before.alpha)), residue.number - before.number
    if distance < SPAN:
        return False
    if steps < 0 or (steps == 0 and residue.key[:3] != before.key[:3] and residue.after_ter):
        return True
    told = not residue.chain.strip() or steps > MISSING
    return residue.after_ter and (told or distance > SPAN * max(steps, 1))
