"""Protein chains from mmCIF and PDB files, folders and archives (gemmi), and their clusters by sequence.

Every chain that is left out, and every file, has a row that says why; no file stops the reading of the others. Files are read one
at a time and archives member by member in memory: nothing is unpacked to disk.
"""

import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path, PurePosixPath

import numpy as np
from tqdm import tqdm

from equidyn.data.schema import DataError

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"
# Modified residues whose parent gemmi's table does not give as one of the twenty; files that name the parent themselves are believed.
PARENTS = {"SEC": "C", "PYL": "K", "2MR": "R", "CSU": "C", "OCY": "C", "3AH": "H", "BB9": "C", "TRN": "W", "NVA": "V", "TYY": "Y"}
FORMATS, ARCHIVES = (".cif", ".mmcif", ".pdb", ".ent"), (".tar", ".tar.gz", ".tgz", ".zip")
BREAK, NEAREST = 4.0, 2.0  # Å between consecutive C-alphas: above, a chain break; below, not a chain
LARGEST = 2**30  # bytes of one file, decompressed


@dataclass(frozen=True, eq=False)
class Chain:
    """One protein chain; row i of the arrays is residue i that has a C-alpha, in file order."""

    name: str  # entry_chain
    positions: np.ndarray  # float32 [n, 3], C-alphas in Å
    residues: np.ndarray  # uint8 [n], index into ALPHABET
    breaks: np.ndarray  # uint8 [n], 1 where the next C-alpha is more than BREAK away
    sequence: str


@dataclass(frozen=True)
class Rejection:
    """A file (chain is empty) or a chain that was left out; ``reason`` is a fixed phrase, with details after a colon."""

    file: str  # members of archives as archive/member
    chain: str
    reason: str


def read_structures(paths: list[str], min_residues: int = 50, max_residues: int = 256, max_resolution: float | None = None) -> tuple[list[Chain], list[Rejection]]:
    """Chains of the first models of structure files, folders (recursively, sorted) or archives of them.

    Alternate locations: the highest occupancy of a residue's C-alpha, then the first identifier. Modified residues become their parent.
    Residues without C-alpha are left out. Exact copies of a chain are kept once, other copies of its sequence are kept.

    Parameters
    ----------
    min_residues, max_residues : residues with a C-alpha that a chain may have
    max_resolution : Å; structures that state none are kept

    Raises
    ------
    DataError
        a path that does not exist
    """
    gone = [str(path) for path in paths if not Path(path).exists()]
    if gone:
        raise DataError(f"{', '.join(gone)}: no such file or folder")
    chains, rejections, seen = [], [], {}
    for name, data in tqdm((item for path in paths for item in _files(Path(path))), desc="structures", mininterval=2):
        try:
            if isinstance(data, str):
                raise DataError(data)
            structure = _structure(name, data)
            if max_resolution is not None and structure.resolution > max_resolution:
                raise DataError(f"resolution: {structure.resolution:.2f} angstrom")
            found = list(_chains(structure, _entry(name), min_residues, max_residues))
            if not found:
                raise DataError("no protein chain")
        except DataError as error:
            rejections.append(Rejection(name, "", str(error)))
            continue
        except (UnicodeDecodeError, RuntimeError) as error:  # names of chains and residues that are no text are found when they are asked for
            rejections.append(Rejection(name, "", f"unreadable file: {error}"))
            continue
        for chain, result in found:
            if isinstance(result, str):
                rejections.append(Rejection(name, chain, result))
                continue
            key = hashlib.sha256(result.sequence.encode() + (np.round(result.positions, 2) + 0.0).tobytes()).digest()  # + 0.0: no minus zero
            if key in seen:
                rejections.append(Rejection(name, chain, f"duplicate: of {seen[key]}"))
            else:
                seen[key] = result.name
                chains.append(result)
    return chains, rejections


def _files(path: Path) -> Iterator[tuple[str, bytes | str]]:
    """(name, content) of every structure file under a path; a string in place of the content is a reason."""
    name = path.name.lower()
    if path.is_dir():
        for child in sorted(path.rglob("*")):
            if child.is_file() and (_format(child.name) or child.name.lower().endswith(ARCHIVES)):
                yield from _files(child)
    elif name.endswith(ARCHIVES):
        try:
            for member, size, content in _zip(path) if name.endswith(".zip") else _tar(path):
                where = f"{path}/{member}"
                if not _format(member):
                    continue
                if member.startswith(("/", "\\")) or ".." in PurePosixPath(member.replace("\\", "/")).parts:
                    yield where, "unsafe name in archive"
                else:
                    yield where, content() if size <= LARGEST else f"unreadable file: {size} bytes"
        except Exception as error:  # tarfile, zipfile and zlib raise many types on a damaged archive
            yield str(path), f"unreadable file: {type(error).__name__}: {error}"
    elif not _format(path.name):
        yield str(path), f"unreadable file: expected a name that ends in {', '.join(FORMATS)}, with or without .gz, or in {', '.join(ARCHIVES)}"
    else:
        try:
            yield str(path), path.read_bytes()
        except OSError as error:
            yield str(path), f"unreadable file: {error.strerror}"


def _tar(path):
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():  # links and devices are passed over
                yield member.name, member.size, lambda member=member: archive.extractfile(member).read()


def _zip(path):
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            if not member.is_dir():
                yield member.filename, member.file_size, lambda member=member: archive.read(member)


def _format(name: str) -> str:
    """'cif', 'pdb' or ''."""
    name = name.lower().removesuffix(".gz")
    return {".cif": "cif", ".mmcif": "cif", ".pdb": "pdb", ".ent": "pdb"}.get(PurePosixPath(name).suffix, "")


def _entry(name: str) -> str:
    name = PurePosixPath(name.replace("\\", "/")).name
    return PurePosixPath(name[:-3] if name.lower().endswith(".gz") else name).stem


def _structure(name: str, data: bytes):
    import gemmi

    try:
        if name.lower().endswith(".gz"):
            data = gzip.GzipFile(fileobj=io.BytesIO(data)).read(LARGEST + 1) if data else b""
        if len(data) > LARGEST:
            raise ValueError(f"above {LARGEST} bytes")
        if not data.strip():
            raise DataError("empty file")
        structure = gemmi.read_structure_string(data, format=gemmi.CoorFormat.Mmcif if _format(name) == "cif" else gemmi.CoorFormat.Pdb)
        if len(structure) == 0 or structure[0].count_atom_sites() == 0:
            raise ValueError("no atoms")
        structure.setup_entities()
    except DataError:
        raise
    except Exception as error:  # gemmi, gzip and zlib raise many types on a damaged file
        raise DataError(f"unreadable file: {' '.join(str(error).split())}") from error
    return structure


def _chains(structure, entry: str, min_residues: int, max_residues: int) -> Iterator[tuple[str, Chain | str]]:
    """(chain name, chain or reason) of every polymer chain of the first model."""
    import gemmi

    parents = {modified.res_id.name: modified.parent_comp_id for modified in structure.mod_residues}
    for chain in structure[0]:
        polymer = chain.get_polymer()
        if len(polymer) == 0:
            continue
        kind = polymer.check_polymer_type()
        if kind != gemmi.PolymerType.PeptideL:
            yield chain.name, f"not a protein: {kind.name}"
            continue
        letters, positions, unknown = [], [], []
        for _, group in groupby(_residues(chain, structure), lambda residue: str(residue.seqid)):
            residue, alpha = min(((residue, alpha) for residue in group for alpha in _alphas(residue)), key=lambda item: (-item[1].occ, item[1].altloc))
            letters.append(_letter(residue.name, parents))
            positions.append(alpha.pos.tolist())
            if letters[-1] is None:
                unknown.append(f"{residue.name} {residue.seqid}")
        n, positions = len(letters), np.array(positions, dtype=np.float32)
        distances = np.linalg.norm(np.diff(positions, axis=0), axis=1) if n > 1 else np.zeros(0)
        if n == 0:
            yield chain.name, "no CA"
        elif unknown:
            yield chain.name, f"nonstandard residue: {', '.join(unknown[:3])}{', ...' if len(unknown) > 3 else ''}"
        elif not np.isfinite(positions).all():
            yield chain.name, "bad coordinates: not finite"
        elif n > 1 and distances.min() < NEAREST:
            yield chain.name, f"bad coordinates: consecutive CA {distances.min():.2f} angstrom apart"
        elif n < min_residues:
            yield chain.name, f"too short: {n} residues"
        elif n > max_residues:
            yield chain.name, f"too long: {n} residues"
        else:
            residues = np.array([ALPHABET.index(letter) for letter in letters], dtype=np.uint8)
            yield chain.name, Chain(f"{entry}_{chain.name}", positions, residues, np.append(distances > BREAK, False).astype(np.uint8), "".join(letters))


def _alphas(residue) -> list:
    return [atom for atom in residue if atom.name == "CA" and atom.element.name == "C"]


def _residues(chain, structure) -> Iterator:
    """Residues of the polymer that have a C-alpha.

    PDB files are not believed where they end a chain too early: at a TER before a gap or a modified residue, or, without TER, at a
    residue that gemmi does not know. Amino acids in ATOM records and whatever is bonded to the chain go on with it.
    """
    import gemmi

    last = None
    for residue in chain:
        alphas = _alphas(residue)
        if alphas:
            atom = residue.het_flag == "A" and gemmi.find_tabulated_residue(residue.name).is_amino_acid()
            bonded = last is not None and last.dist(alphas[0].pos) < BREAK
            if residue.entity_type == gemmi.EntityType.Polymer or (structure.input_format == gemmi.CoorFormat.Pdb and (atom or bonded)):
                last = alphas[0].pos
                yield residue


def _letter(name: str, parents: dict[str, str]) -> str | None:
    """One-letter code of a residue or of its parent: gemmi's table, then PARENTS, then what the file says; None if none of them has it."""
    import gemmi

    info = gemmi.find_tabulated_residue(name)
    letter = info.one_letter_code.upper() if info.kind in (gemmi.ResidueKind.AA, gemmi.ResidueKind.PAA, gemmi.ResidueKind.MAA) else ""
    if letter not in ALPHABET or not letter:
        parent = gemmi.find_tabulated_residue(parents.get(name, ""))
        letter = PARENTS.get(name) or (parent.one_letter_code if parent.is_amino_acid() else "")
    return letter if letter and letter in ALPHABET else None


def cluster_by_sequence(sequences: list[str], identity: float = 0.5) -> np.ndarray:
    """Cluster [n] (int64, numbered in order of appearance) of each sequence.

    ``mmseqs easy-cluster --min-seq-id identity -c 0.8`` where mmseqs is on PATH. Otherwise greedy: longest first, a sequence joins the
    first representative with which matches / length of the shorter reaches ``identity``, or becomes one. Matches are those of gemmi's
    global BLOSUM62 alignment (gaps 10 + 1). Only representatives are aligned that share half the distinct 3-letter words that
    matches at random places would leave, identity³ of the shorter sequence's; the one that shares most comes first.

    Raises
    ------
    DataError
        a letter outside ``ALPHABET``, an identity outside 0 to 1, or if mmseqs fails
    """
    if not 0 < identity <= 1:
        raise DataError(f"sequence clusters: identity {identity}, expected above 0 and at most 1")
    for i, sequence in enumerate(sequences):
        if not sequence or set(sequence) - set(ALPHABET):
            raise DataError(f"sequence clusters: sequence {i} is {sequence[:20]!r}…, expected letters of {ALPHABET}")
    distinct = list(dict.fromkeys(sequences))
    label = (_mmseqs if shutil.which("mmseqs") else _greedy)(distinct, identity) if distinct else []
    label = dict(zip(distinct, label))
    number = {}
    return np.array([number.setdefault(label[sequence], len(number)) for sequence in sequences], dtype=np.int64)


def _mmseqs(sequences: list[str], identity: float) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder, "sequences.fasta")
        fasta.write_text("".join(f">{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
        command = ["mmseqs", "easy-cluster", str(fasta), f"{folder}/out", f"{folder}/tmp", "--min-seq-id", str(identity), "-c", "0.8", "-v", "1"]
        result = subprocess.run(command, capture_output=True, text=True)
        table = Path(folder, "out_cluster.tsv")
        if result.returncode or not table.is_file():
            raise DataError(f"{' '.join(command)}: exit status {result.returncode}: {(result.stderr or result.stdout).strip()[-500:]}")
        rows = [line.split("\t") for line in table.read_text().splitlines()]
    label = {int(member): int(representative) for representative, member in rows}
    return [label.get(i, i) for i in range(len(sequences))]


def _greedy(sequences: list[str], identity: float) -> list[int]:
    import gemmi

    scoring, kind = gemmi.AlignmentScoring("b"), gemmi.ResidueKind.AA
    codes = [gemmi.expand_one_letter_sequence(sequence, kind) for sequence in sequences]  # the matrix goes by three-letter codes
    label, holders = [0] * len(sequences), defaultdict(list)  # word -> representatives that have it
    for i in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])):
        words = {sequences[i][k : k + 3] for k in range(len(sequences[i]) - 2)}
        shared = Counter(representative for word in sorted(words) for representative in holders[word])
        for representative, count in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
            if count < identity**3 * len(words) / 2:
                continue
            if gemmi.align_string_sequences(codes[i], codes[representative], [], scoring).match_count >= identity * len(codes[i]):
                label[i] = representative
                break
        else:
            label[i] = i
            for word in words:
                holders[word].append(i)
    return label
