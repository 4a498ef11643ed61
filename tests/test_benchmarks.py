"""The fuzzer's plain mode, counted in inputs, on generated seeds; the real files that its corpus finds."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from common import REPOSITORY
from small_tasks import file_of, small_forces

from benchmarks import fuzz, fuzz_targets, linear_head
from equidyn.models import registry
from equidyn.steps.run import Run

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


def test_measure_without_arguments_prints_its_usage():
    command = [sys.executable, str(REPOSITORY / "benchmarks/measure.py")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and done.stderr.startswith("usage: measure.py") and "dataset" in done.stderr


def test_measure_prints_ratios(dataset, monkeypatch, capsys):
    from benchmarks import measure

    monkeypatch.setattr(measure, "SETTINGS", dict(training={}, measure=dict(n_items=4, batch_size=4)))
    monkeypatch.setattr(sys, "argv", ["measure.py", str(dataset)])
    measure.main()
    assert (
        len(re.findall(r"mini, 4 items x (?:10|40) rotations: .* x plain forwards", capsys.readouterr().out))
        == 4
    )


def test_bench_prints_ratios(monkeypatch):
    from benchmarks import bench

    monkeypatch.setattr(bench, "LEAST", 0.0)
    tiny = [
        bench.Case(c.architecture, "tiny", c.task, 2, c.rows and 20, c.edge and 8) for c in bench.MEASURED
    ]
    monkeypatch.setattr(bench, "MEASURED", tiny)
    monkeypatch.setattr(bench, "TRAINED", tiny)
    page = bench.report(None)
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ") and "tiny" in line]
    assert len(rows) == 2 * len(tiny) + 1 and all(float(row[2]) > 0 for row in rows)


def test_the_best_linear_head_is_predicted_from_poses_alone(tmp_path, monkeypatch):
    task, architecture, _ = small_forces(tmp_path)
    run = Run({}, task, registry.build(architecture, "tiny", 0).eval())
    monkeypatch.setattr(linear_head, "load_last", lambda run_folder, data: (run, 0))
    found = linear_head.predicted(tmp_path / "forces", file_of("forces"))
    assert tuple(found) == linear_head.COLUMNS and found["n_train"] == task.n_train
    assert 0 < found["percent"] < 100 and found["lo"] < found["percent"] < found["hi"]
    assert 0 < found["total_over_zero"] < 10
