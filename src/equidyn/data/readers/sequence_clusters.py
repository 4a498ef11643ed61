"""Clusters of protein chains by sequence identity."""

import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from equidyn.defaults import CLUSTERER
from equidyn.errors import DataError

ALPHABET = "ACDEFGHIKLMNPQRSTVWY"


def clusters(sequences: list[str], settings: dict) -> np.ndarray:
    """``cluster_by_sequence`` with the settings' identity and clusterer."""
    return cluster_by_sequence(sequences, settings["identity"], settings.get("clusterer", CLUSTERER))


def clusterer(settings: dict) -> str:
    """Name and version of what makes the clusters of these settings, for the attributes of a dataset file."""
    if settings.get("clusterer", CLUSTERER) == "mmseqs":
        found = subprocess.run([_mmseqs_path(), "version"], capture_output=True, text=True)
        return f"mmseqs {found.stdout.strip()}"
    import gemmi

    return f"greedy, gemmi {gemmi.__version__}"


def cluster_by_sequence(sequences: list[str], identity: float = 0.5, clusterer: str = "greedy") -> np.ndarray:
    """Cluster [n] (int64, numbered in order of appearance) of each sequence.

    ``mmseqs``: ``mmseqs easy-cluster --min-seq-id identity -c 0.8``. ``greedy``: longest first, a sequence
    joins the first representative with which matches / length of the shorter reaches ``identity``, or becomes
    one. Matches are those of gemmi's global BLOSUM62 alignment (gaps 10 + 1). Only representatives are
    aligned that share half the distinct 3-letter words that matches at random places would leave, identity³
    of the shorter sequence's; the one that shares most comes first.

    Raises
    ------
    DataError
        a letter outside ``ALPHABET``, an identity outside 0 to 1, or if mmseqs is not there or fails
    """
    if not 0 < identity <= 1:
        raise DataError(f"sequence clusters: identity {identity}, expected above 0 and at most 1")
    for i, sequence in enumerate(sequences):
        if not sequence or set(sequence) - set(ALPHABET):
            raise DataError(
                f"sequence clusters: sequence {i} is {sequence[:20]!r}…, expected letters of {ALPHABET}"
            )
    distinct = list(dict.fromkeys(sequences))
    make = {"mmseqs": _mmseqs, "greedy": _greedy}[clusterer]
    label = make(distinct, identity) if distinct else []
    label = dict(zip(distinct, label))
    number = {}
    return np.array(
        [number.setdefault(label[sequence], len(number)) for sequence in sequences], dtype=np.int64
    )


def _mmseqs_path() -> str:
    path = shutil.which("mmseqs")
    if path is None:
        raise DataError(
            "sequence clusters: clusterer 'mmseqs', but no mmseqs on PATH; expected it installed, or 'greedy'"
        )
    return path


def _mmseqs(sequences: list[str], identity: float) -> list[int]:
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder, "sequences.fasta")
        fasta.write_text("".join(f">{i}\n{sequence}\n" for i, sequence in enumerate(sequences)))
        command = [_mmseqs_path(), "easy-cluster", str(fasta), f"{folder}/out", f"{folder}/tmp"]
        command += ["--min-seq-id", str(identity), "-c", "0.8", "-v", "1"]
        result = subprocess.run(command, capture_output=True, text=True)
        table = Path(folder, "out_cluster.tsv")
        if result.returncode or not table.is_file():
            said = (result.stderr or result.stdout).strip()[-500:]
            raise DataError(f"{' '.join(command)}: exit status {result.returncode}: {said}")
        rows = [line.split("\t") for line in table.read_text().splitlines()]
    label = {int(member): int(representative) for representative, member in rows}
    return [label.get(i, i) for i in range(len(sequences))]


def _greedy(sequences: list[str], identity: float) -> list[int]:
    import gemmi

    scoring, kind = gemmi.AlignmentScoring("b"), gemmi.ResidueKind.AA
    codes = [
        gemmi.expand_one_letter_sequence(sequence, kind) for sequence in sequences
    ]  # the matrix goes by three-letter codes
    label, holders = [0] * len(sequences), defaultdict(list)  # word -> representatives that have it
    for i in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])):
        words = {sequences[i][k : k + 3] for k in range(len(sequences[i]) - 2)}
        shared = Counter(representative for word in sorted(words) for representative in holders[word])
        for representative, count in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
            if count < identity**3 * len(words) / 2:
                continue
            if gemmi.align_string_sequences(
                codes[i], codes[representative], [], scoring
            ).match_count >= identity * len(codes[i]):
                label[i] = representative
                break
        else:
            label[i] = i
            for word in words:
                holders[word].append(i)
    return label
