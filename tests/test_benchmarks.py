"""The fuzzer's plain mode, counted in inputs, on generated seeds; the real files that its corpus finds."""

from dataclasses import replace

import pytest
from common import REPOSITORY

from benchmarks import fuzz, fuzz_targets

REAL = REPOSITORY.parent / "shared/data"


@pytest.mark.parametrize("target", list(fuzz_targets.targets()))
def test_nothing_but_the_documented_error_comes_out_of_a_reader(target, tmp_path):
    args = fuzz.arguments(
        ["--plain", "--seconds", "3600", "--inputs", "150", "--limit", "600", "--out", str(tmp_path)]
    )
    counts = fuzz.fuzz(args, target)
    assert not counts["findings"], (tmp_path / f"{fuzz._plain(target)}.log").read_text()[-3000:]
    tried = counts["accepted"] + counts["rejected"] + counts["refused"]
    assert (
        0 < tried <= counts["tried"]
        and counts["accepted"]
        and counts["tried"] > len(fuzz_targets.targets()[target].seeds())
    )


@pytest.mark.skipif(not REAL.is_dir(), reason="real files not at hand")
@pytest.mark.parametrize("target", [name for name, target in fuzz_targets.targets().items() if target.real])
def test_the_corpus_holds_real_files_that_are_read(target, tmp_path):
    found = fuzz_targets.targets()[target]
    for pattern, form in found.real:
        accepted = 0
        for data in fuzz_targets.corpus(replace(found, seeds=list, real=((pattern, form),)), REAL):
            name, pack = found.forms[data[0]]
            (tmp_path / name).write_bytes(pack(data[1:]))
            accepted += found.read(tmp_path / name) > 0
        assert accepted > 1 or (accepted and target == "spice"), pattern
