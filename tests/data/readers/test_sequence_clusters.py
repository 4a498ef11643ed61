"""Clusters of protein chains by sequence identity."""

import os

import gemmi
import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from structure_files import several

from equidyn.data import store
from equidyn.data.build import build
from equidyn.data.readers import sequence_clusters
from equidyn.data.readers.sequence_clusters import ALPHABET
from equidyn.errors import DataError


def family(rng, n, kept):
    """A random sequence of n letters and a homologue with that share of them kept."""
    parent = rng.integers(20, size=n)
    child = np.where(rng.random(n) < kept, parent, rng.integers(20, size=n))
    return ["".join(ALPHABET[i] for i in sequence) for sequence in (parent, child)]


def test_clusters_separate_families_and_join_homologues():
    rng = np.random.default_rng(0)
    pairs = [family(rng, int(rng.integers(50, 256)), 0.8) for _ in range(20)]
    cut = pairs[0][0][30:90] if len(pairs[0][0]) > 90 else pairs[0][0][:50]
    labels = sequence_clusters.cluster_by_sequence([s for pair in pairs for s in pair] + [cut])
    assert labels.dtype == np.int64 and labels.tolist() == [i for i in range(20) for _ in range(2)] + [0]
    distant = [family(rng, 150, 0.25) for _ in range(20)]
    assert sequence_clusters.cluster_by_sequence([s for pair in distant for s in pair]).tolist() == list(
        range(40)
    )


def test_clusters_follow_the_identity():
    a, b = family(np.random.default_rng(1), 200, 0.7)
    same = np.mean([x == y for x, y in zip(a, b)])
    assert sequence_clusters.cluster_by_sequence([a, b], same - 0.05).tolist() == [0, 0]
    assert sequence_clusters.cluster_by_sequence([a, b], same + 0.05).tolist() == [0, 1]
    assert sequence_clusters.cluster_by_sequence([]).tolist() == []
    assert sequence_clusters.cluster_by_sequence(["AC", "AC", "ACD"]).tolist()[:2] == [0, 0]
    for bad in (["ACX"], [""], ["acd"]):
        with pytest.raises(DataError, match="sequence 0"):
            sequence_clusters.cluster_by_sequence(bad)
    with pytest.raises(DataError, match="identity 0"):
        sequence_clusters.cluster_by_sequence([a], 0)


@examples(max_examples=30, deadline=None)
@given(st.lists(st.text(ALPHABET, min_size=1, max_size=30), max_size=12), st.sampled_from([0.3, 0.5, 0.9]))
def test_every_cluster_has_a_representative_that_all_its_members_match(sequences, identity):
    label = sequence_clusters._greedy(list(dict.fromkeys(sequences)), identity)
    distinct = list(dict.fromkeys(sequences))
    for i, representative in enumerate(label):
        assert label[representative] == representative and len(distinct[representative]) >= len(distinct[i])
        codes = [
            gemmi.expand_one_letter_sequence(distinct[k], gemmi.ResidueKind.AA) for k in (i, representative)
        ]
        assert gemmi.align_string_sequences(
            *codes, [], gemmi.AlignmentScoring("b")
        ).match_count >= identity * len(distinct[i])


MMSEQS = """#!/bin/sh
[ "$1" = version ] && echo 15-6f452 && exit
[ "$1 $5 $6 $7 $8" = "easy-cluster --min-seq-id 0.4 -c 0.8" ] || exit 3
printf "2\\t2\\n2\\t0\\n1\\t1\\n" > "$3_cluster.tsv"
"""


@pytest.fixture
def mmseqs(tmp_path, monkeypatch):
    """A script that stands in for mmseqs, on PATH."""
    script = tmp_path / "bin/mmseqs"
    script.parent.mkdir()
    script.write_text(MMSEQS)
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    return script


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for mmseqs")
def test_mmseqs_is_used_where_it_is_asked_for(mmseqs):
    sequences = ["ACD", "CDE", "DEF", "ACD"]
    assert sequence_clusters.cluster_by_sequence(sequences, 0.4, "mmseqs").tolist() == [0, 1, 0, 0]
    assert sequence_clusters.cluster_by_sequence(sequences, 0.4).tolist() == [
        0,
        1,
        2,
        0,
    ]  # there, not asked for
    mmseqs.write_text("#!/bin/sh\necho out of memory >&2\nexit 1\n")
    with pytest.raises(DataError, match="easy-cluster.*exit status 1: out of memory"):
        sequence_clusters.cluster_by_sequence(["ACD", "CDE"], 0.4, "mmseqs")


def test_mmseqs_that_is_not_there_is_no_reason_to_take_another(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataError, match="clusterer 'mmseqs', but no mmseqs on PATH"):
        sequence_clusters.cluster_by_sequence(["ACD", "CDE"], 0.4, "mmseqs")


@pytest.mark.skipif(os.name == "nt", reason="a shell script stands in for mmseqs")
def test_the_file_says_which_clusterer_made_its_clusters(mmseqs, tmp_path):
    settings = {"source": "structures", "licence": "x", "min_residues": 10, "max_residues": 60, "seed": 0}
    settings |= {"identity": 0.9, "n_held_out": 3, "files": [str(several(tmp_path / "in"))]}
    build(settings, str(tmp_path / "a.h5"), workers=1)
    assert store.read(tmp_path / "a.h5", "backbones")[1]["clusterer"] == f"greedy, gemmi {gemmi.__version__}"
    assert sequence_clusters.clusterer({"clusterer": "mmseqs"}) == "mmseqs 15-6f452"
