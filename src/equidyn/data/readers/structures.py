"""Protein chains from mmCIF and PDB files, folders and archives (gemmi), and their clusters by sequence.

Every chain that is left out, and every file, has a row that says why; no file stops the reading of the
others. Files are parsed one at a time per worker, members of archives in memory: nothing is unpacked to disk.
"""

import gzip
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from equidyn.data.checks import hand
from equidyn.data.checks.catalogue import LATER_MODELS, MIRROR, MIXED_CHAIN, accepted
from equidyn.data.readers import archives, pdb_chains
from equidyn.data.readers.records import Item, Rejected
from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.data.schema import BACKBONES

LONGEST_NAME = np.dtype(BACKBONES["name"].dtype).itemsize  # bytes
# Modified residues whose parent gemmi's table does not give as one of the twenty; files that name the parent
# themselves are believed.
PARENTS = {
    "SEC": "C",
    "PYL": "K",
    "2MR": "R",
    "CSU": "C",
    "OCY": "C",
    "3AH": "H",
    "BB9": "C",
    "TRN": "W",
    "NVA": "V",
    "TYY": "Y",
}
FORMATS, ARCHIVES = (".cif", ".mmcif", ".pdb", ".ent"), (*archives.TARS, ".zip")
STRUCTURE = re.compile(r"\.(pdb|ent|(mm)?cif)(?![a-z])", re.IGNORECASE)  # in the name of what may be one
BREAK, NEAREST = 4.0, 2.0  # Å between consecutive C-alphas: above, a chain break; below, not a chain
LARGEST = (
    2**26
)  # bytes of one file, decompressed; gemmi took 0.66 GB for one of 60 MB, 2.6 GB for one of 250 MB
TOO_LARGE = f"file above {LARGEST >> 20} MiB"

Record = tuple[
    str, str, bytes | None
]  # where, file name, content; None for a file on disk, which ``parse`` reads


class _Unusable(Exception):
    """A file or chain that is left out: reason and detail."""


def records(path: str | Path) -> Iterator[Record | Rejected]:
    """Structure files of a path: a file, a folder (recursively, sorted), an archive, also in a folder.

    What cannot be read is a rejection, in a folder every file whose name holds an ending of structures.
    """
    path = Path(path)
    name = path.name.lower()
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.is_symlink() and not child.is_file():
                yield Rejected(str(child), "unreadable file", "link to a folder or to nothing")
            elif child.is_file() and (STRUCTURE.search(child.name) or child.name.lower().endswith(ARCHIVES)):
                yield from records(child)
    elif name.endswith(ARCHIVES):
        yield from _members(path)
    elif not _format(name):
        yield Rejected(
            str(path),
            "unreadable file",
            f"expected a name that ends in {', '.join(FORMATS)}, with or without .gz, or in "
            f"{', '.join(ARCHIVES)}",
        )
    else:
        yield str(path), path.name, None


def _members(path: Path) -> Iterator[Record | Rejected]:
    try:
        for where, file in archives.members(
            path, tuple(form + packed for form in FORMATS for packed in ("", ".gz"))
        ):
            name = where.removeprefix(f"{path}, ").replace("\\", "/")
            content = file.read(LARGEST + 1)
            if name.startswith("/") or ".." in PurePosixPath(name).parts:
                yield Rejected(where, "unsafe name in archive")
            elif len(content) > LARGEST:
                yield Rejected(where, TOO_LARGE)
            else:
                yield where, name, content
    except Exception as error:  # tarfile, zipfile and zlib raise many types on a damaged archive
        yield Rejected(str(path), "unreadable file", f"{type(error).__name__}: {error}")


def parse(record: Record, settings: dict) -> list[Item | Rejected]:
    """Chains of the first model of a file, or their fragments; the cluster key is the sequence.

    Alternate locations: the highest occupancy of a residue's C-alpha, then the first identifier. Modified
    residues become their parent. Residues without C-alpha are left out. Exact copies of a chain share
    ``copy``, other copies of its sequence do not.

    ``settings``: min_residues and max_residues with a C-alpha that a chain may have; optional max_resolution
    in Å, see ``_resolution``, and fragment, the number of residues that chains are cut into.
    """
    where, name, content = record
    try:
        data = _content(where, name) if content is None else _unpacked(name, content)
        structure, text = _structure(name, data)
        notes = _resolution(structure, settings["max_resolution"]) if "max_resolution" in settings else {}
        parents = {modified.res_id.name: modified.parent_comp_id for modified in structure.mod_residues}
        found = []
        for chain in structure[0]:
            if len(chain.get_polymer()):
                title = text.names.get(chain.name, chain.name)
                place = f"{where}, chain {title}" if title else where
                try:
                    found += _pieces(
                        place,
                        f"{_entry(name)}_{title}",
                        *_trace(chain, structure, parents, text.misplaced, settings),
                        notes,
                        settings,
                    )
                except _Unusable as unusable:
                    found.append(Rejected(place, *unusable.args))
        if later := [chain for model in list(structure)[1:] for chain in model if len(chain.get_polymer())]:
            detail = f"{len(structure) - 1} of {len(structure)}, with {len(later)} chains"
            found.append(Rejected(where, LATER_MODELS, detail))
        if text.beyond:
            found.append(Rejected(where, LATER_MODELS, f"{text.beyond} atoms after END"))
        return found or [Rejected(where, "no protein chain")]
    except _Unusable as unusable:
        return [Rejected(where, *unusable.args)]
    except (
        UnicodeDecodeError,
        RuntimeError,
    ) as error:  # names of chains and residues that are no text are found when they are asked for
        return [Rejected(where, "unreadable file", str(error))]


def _content(path: str, name: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return _unpacked(name, file.read(LARGEST + 1))
    except OSError as error:
        raise _Unusable("unreadable file", error.strerror) from error


def _unpacked(name: str, data: bytes) -> bytes:
    try:
        if name.lower().endswith(".gz") and 0 < len(data) <= LARGEST:
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST + 1)
    except Exception as error:  # gzip and zlib raise many types on a damaged file
        raise _Unusable("unreadable file", str(error)) from error
    if len(data) > LARGEST:
        raise _Unusable(TOO_LARGE)
    if not data.strip():
        raise _Unusable("empty file")
    return data


def _format(name: str) -> str:
    """'cif', 'pdb' or ''."""
    name = name.lower().removesuffix(".gz")
    return {".cif": "cif", ".mmcif": "cif", ".pdb": "pdb", ".ent": "pdb"}.get(PurePosixPath(name).suffix, "")


def _entry(name: str) -> str:
    name = PurePosixPath(name).name
    return PurePosixPath(name[:-3] if name.lower().endswith(".gz") else name).stem


@dataclass(frozen=True)
class _Text:
    """What the text of a PDB file says beside its structure, see ``pdb_chains``."""

    names: dict[str, str] = field(default_factory=dict)  # what identifiers that chains were given stand for
    misplaced: dict[str, str] = field(default_factory=dict)  # coordinates outside their columns, by chain
    beyond: int = 0  # atoms after END


def _structure(name: str, data: bytes) -> tuple[Any, _Text]:
    """A structure, and what else its text says."""
    import gemmi

    data, said = data.removeprefix(archives.BYTE_ORDER_MARK), _Text()
    try:
        if _format(name) == "cif":
            structure = gemmi.read_structure_string(data, format=gemmi.CoorFormat.Mmcif)
        else:
            text, beyond = pdb_chains.up_to_end(data.decode("latin-1"))
            text, names = pdb_chains.sorted_out(text)
            said = _Text(names, pdb_chains.misplaced(text), beyond)
            structure = gemmi.read_structure_string(text.encode("latin-1"), format=gemmi.CoorFormat.Pdb)
        if len(structure) == 0 or structure[0].count_atom_sites() == 0:
            raise ValueError("no atoms")
        structure.setup_entities()
    except Exception as error:  # gemmi raises many types on a damaged file
        raise _Unusable("unreadable file", " ".join(str(error).split())) from error
    return structure, said


def _resolution(structure, limit: float) -> dict[str, int]:
    """Notes of a structure that a limit of resolution in Å admits: also one that says nothing at all about
    itself, such as ATOM records alone.
    """
    stated = dict(structure.info)
    method = stated.get("_exptl.method", "")
    if method and all("NMR" in one.upper() for one in method.split(";")):
        raise _Unusable("method without resolution", method)
    if structure.resolution > limit:
        raise _Unusable("resolution", f"{structure.resolution:.2f} angstrom")
    if structure.resolution > 0:
        return {}
    if structure.raw_remarks or stated.keys() - {"_entry.id", "_cell.Z_PDB"}:
        raise _Unusable("resolution not stated", method)
    return {"resolution unknown": 1}


def _trace(
    chain, structure, parents: dict[str, str], misplaced: dict[str, str], settings: dict
) -> tuple[str, np.ndarray]:
    """Sequence and C-alpha positions float32 [n, 3] in Å of a polymer."""
    import gemmi

    if chain.name in misplaced:
        raise _Unusable("bad coordinates", f"{misplaced[chain.name]!r}, expected three numbers as %8.3f")
    _require_one_polymer(chain)
    kind = chain.get_polymer().check_polymer_type()
    if kind != gemmi.PolymerType.PeptideL:
        raise _Unusable("not a protein", kind.name)
    letters, positions, unknown, residues = [], [], [], []
    for _, group in groupby(_residues(chain, structure), lambda residue: str(residue.seqid)):
        residue, alpha = min(
            ((residue, alpha) for residue in group for alpha in _alphas(residue)),
            key=lambda item: (-item[1].occ, item[1].altloc),
        )
        letters.append(_letter(residue.name, parents))
        positions.append(alpha.pos.tolist())
        residues.append(residue)
        if letters[-1] is None:
            unknown.append(f"{residue.name} {residue.seqid}")
    n, positions = len(letters), np.array(positions, dtype=np.float32)
    if n == 0:
        raise _Unusable("no CA")
    if unknown:
        raise _Unusable(
            "nonstandard residue", f"{', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}"
        )
    _require_trace(positions)
    found = hand.of_trace(positions)
    if not found.plain:
        found = hand.of_chain({name: _named(residues, name) for name in hand.CORNER} | {"CA": positions})
    if found.mirrored and not accepted(settings, "hand"):
        raise _Unusable(MIRROR, f"{found.other} of {found.places} {found.by} are of the other hand")
    if n < settings["min_residues"]:
        raise _Unusable("too short", f"{n} residues")
    if n > settings["max_residues"]:
        raise _Unusable("too long", f"{n} residues")
    return "".join(letters), positions


def _require_one_polymer(chain) -> None:
    """Refuse a chain of two polymers, which mmCIF may give one name: where also numbers and names of their
    residues are the same, gemmi has put both into the same residues.
    """
    import gemmi

    residues = [residue for residue in chain if residue.entity_type == gemmi.EntityType.Polymer]
    polymers = {residue.subchain for residue in residues}
    if len(polymers) > 1:
        raise _Unusable(MIXED_CHAIN, ", ".join(sorted(polymers)))
    for residue in residues:
        alphas = _alphas(residue)
        if len({atom.altloc for atom in alphas}) < len(alphas):
            raise _Unusable(MIXED_CHAIN, f"{len(alphas)} CA in {residue.name} {residue.seqid}")


def _require_trace(positions: np.ndarray) -> None:
    """Refuse positions [n, 3] that are not those of a chain in Å."""
    if not np.isfinite(positions).all():
        raise _Unusable("bad coordinates", "not finite")
    steps = _distances(positions)
    if len(steps) and (nearest := steps.min()) < NEAREST:
        raise _Unusable("bad coordinates", f"consecutive CA {nearest:.2f} angstrom apart")
    if 2 * (breaks := (steps > BREAK).sum()) > len(steps):
        detail = f"{breaks} of {len(steps)} consecutive CA more than {BREAK:g} angstrom apart"
        raise _Unusable("bad coordinates", f"{detail} (median {np.median(steps):.2f})")


def _named(residues: list, name: str) -> np.ndarray:
    """Positions [n, 3] of an atom of every residue; NaN where it has none."""
    atoms = [residue.find_atom(name, "*") for residue in residues]
    return np.array([[np.nan] * 3 if atom is None else atom.pos.tolist() for atom in atoms]).reshape(-1, 3)


def _distances(positions: np.ndarray) -> np.ndarray:
    return np.linalg.norm(np.diff(positions, axis=0), axis=1)


def _pieces(
    where: str, name: str, sequence: str, positions: np.ndarray, notes: dict[str, int], settings: dict
) -> list[Item]:
    """A chain as one item, or cut into fragments of equal length; what follows the last residue of a piece is
    not in it.
    """
    n = len(sequence)
    length = settings.get("fragment", n)
    if n < length:
        raise _Unusable("shorter than the fragment", f"{n} residues")
    residues = np.array([ALPHABET.index(letter) for letter in sequence], np.uint8)
    breaks = np.append(_distances(positions) > BREAK, False).astype(np.uint8)
    notes, left, items = {**notes, "chains": 1}, n % length, []
    if left:
        notes["residues left over by fragments"] = left
    for start in range(0, n - length + 1, length):
        rows = {
            key: values[start : start + length]
            for key, values in (("positions", positions), ("residues", residues), ("breaks", breaks))
        }
        rows["breaks"] = np.append(rows["breaks"][:-1], np.uint8(0))
        title, place = (
            (f"{name}/{start + 1}", f"{where}, residues {start + 1} to {start + length}")
            if "fragment" in settings
            else (name, where)
        )
        items.append(
            Item(
                place,
                sequence,
                rows,
                {"name": _fitting(title)},
                notes=notes if start == 0 else {},
                copy=_digest(sequence, positions, start),
            )
        )
    return items


def _fitting(title: str) -> bytes:
    """A name for the dataset's key; of one that is too long its beginning and a digest of it, so that no two
    become one.
    """
    encoded = title.encode("utf-8", "replace")
    if len(encoded) <= LONGEST_NAME:
        return encoded
    digest = hashlib.sha256(encoded).hexdigest()[:12].encode()
    return encoded[: LONGEST_NAME - 1 - len(digest)].decode("utf-8", "ignore").encode() + b"~" + digest


def _alphas(residue) -> list:
    return [atom for atom in residue if atom.name == "CA" and atom.element.name == "C"]


def _residues(chain, structure) -> Iterator:
    """Residues of the polymer that have a C-alpha.

    PDB files are not believed where they end a chain too early: at a TER before a gap or a modified residue,
    or, without TER, at a residue that gemmi does not know. Amino acids in ATOM records and whatever is bonded
    to the chain go on with it.
    """
    import gemmi

    last = None
    for residue in chain:
        alphas = _alphas(residue)
        if alphas:
            atom = residue.het_flag == "A" and gemmi.find_tabulated_residue(residue.name).is_amino_acid()
            bonded = last is not None and last.dist(alphas[0].pos) < BREAK
            if residue.entity_type == gemmi.EntityType.Polymer or (
                structure.input_format == gemmi.CoorFormat.Pdb and (atom or bonded)
            ):
                last = alphas[0].pos
                yield residue


def _letter(name: str, parents: dict[str, str]) -> str | None:
    """One-letter code of a residue or of its parent: gemmi's table, then PARENTS, then what the file says;
    None if none of them has it.
    """
    import gemmi

    name = pdb_chains.PROTONATED.get(name, name)
    info = gemmi.find_tabulated_residue(name)
    letter = (
        info.one_letter_code.upper()
        if info.kind in (gemmi.ResidueKind.AA, gemmi.ResidueKind.PAA, gemmi.ResidueKind.MAA)
        else ""
    )
    if letter not in ALPHABET or not letter:
        parent = gemmi.find_tabulated_residue(parents.get(name, ""))
        letter = PARENTS.get(name) or (parent.one_letter_code if parent.is_amino_acid() else "")
    return letter if letter and letter in ALPHABET else None


def _digest(sequence: str, positions: np.ndarray, start: int) -> int:
    """Of the piece of a chain that starts there: 64 bits, the same for positions that are equal to 0.01 Å."""
    digest = hashlib.sha256(
        f"{start} {sequence}".encode() + (np.round(positions, 2) + 0.0).tobytes()
    )  # + 0.0: no minus zero
    return int.from_bytes(digest.digest()[:8])
