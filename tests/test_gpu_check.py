"""The check of ways of running full-size models, tried on the CPU with tiny ones."""

import json
import sys

import gpu_results
import pytest
import torch

from benchmarks import gpu_check
from equidyn.cost.throughput import measured_on_gpu
from equidyn.models import registry


def test_every_way_is_a_line_and_one_that_fails_is_one_too(dataset, tmp_path, monkeypatch):
    results, out = gpu_results.make(tmp_path / "gpu", dataset), tmp_path / "out/check.json"
    asked = ["gpu_check.py", str(results), "--device", "cpu", "--steps", "2", "--out", str(out)]
    ways = ["float32", "eager bf16", "graphs tf32", "compiled-graphs bf16"]
    monkeypatch.setattr(sys, "argv", [*asked, "--only", *ways])
    original = gpu_check.Check.trainer

    def failing(self, *way):
        if way[0] == "compiled-graphs":  # needs a compiler, and a minute
            raise RuntimeError("no | compiler")
        return original(self, *way)

    monkeypatch.setattr(gpu_check.Check, "trainer", failing)
    monkeypatch.setattr("equidyn.steps.run_in_time.TIMED", 3)
    monkeypatch.setattr("equidyn.steps.run_in_time.UNTIMED", 2)
    gpu_check.main()
    found = json.loads(out.read_text())
    assert {"date", "commit", "hardware", "torch", "matmul_tflops"} < set(found)
    assert [row["run"] for row in found["models"]] == sorted(gpu_results.RUNS)
    for row in found["models"]:
        done = [line for line in row["ways"] if "error" not in line]
        failed = [line for line in row["ways"] if "error" in line]
        assert {line["error"] for line in failed} == {"no | compiler"}
        assert row["rows_over_forwards"] > 0 and row["decomposition_over_forwards"] > 0
        assert all(line["steps_per_second"] > 0 and line["tflops"] > 0 for line in done)
        formats = {line["memory_format"] for line in done}
        assert len(formats) == (2 if row["architecture"] == "voxmol" else 1)
        for line in done:  # bfloat16 is coarse, all else is rounding
            near = pytest.approx(1, abs=0.2 if line["precision"] == "bf16" else 1e-4)
            assert line["loss_ratio"] == near and line["gradient_ratio"] == near
    failed = sum("error" in line for row in found["models"] for line in row["ways"])
    assert out.with_suffix(".md").read_text().count("failed: no / compiler") == failed > 0
    assert len(list(out.parent.glob("profile-*.txt"))) >= len(found["models"])
    assert len(measured_on_gpu(out)) == len(found["models"])


def test_ways_are_chosen_by_words():
    voxels, forces = registry.build("voxmol", "tiny"), registry.build("escaip", "tiny")
    assert gpu_check.ways_of(voxels, []) == gpu_check.WAYS
    assert {way[2] for way in gpu_check.ways_of(forces, [])} == {gpu_check.CONTIGUOUS}
    chosen = gpu_check.ways_of(voxels, ["graphs bf16 channels-last", "eager float32 contiguous"])
    assert chosen == [("eager", "float32", "contiguous"), ("graphs", "bf16", "channels-last")]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path, monkeypatch):
    asked = ["gpu_check.py", str(tmp_path), "--out", str(tmp_path / "out/check.json")]
    monkeypatch.setattr(sys, "argv", asked)
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu_check.main()
    assert not list(tmp_path.iterdir())
