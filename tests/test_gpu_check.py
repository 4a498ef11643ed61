"""The check of full-size models, tried on the CPU with tiny ones."""

import json
import sys

import pytest
import torch

from benchmarks import gpu_check


def test_tiny_models_make_one_json_and_one_table(tmp_path, monkeypatch):
    monkeypatch.setattr(
        sys,
        "argv",
        [
            "gpu_check.py",
            "--device",
            "cpu",
            "--tiny",
            "--steps",
            "2",
            "--out",
            str(tmp_path / "out/check.json"),
        ],
    )
    gpu_check.main()
    found = json.loads((tmp_path / "out/check.json").read_text())
    assert {"date", "commit", "hardware", "torch", "matmul_tflops"} < set(found)
    assert [row["architecture"] for row in found["models"]] == ["escaip", "proteina", "voxmol"]
    assert all(
        row["steps_per_second"] > 0 and row["tflops"] > 0 and row["decomposition_over_forwards"] > 0
        for row in found["models"]
    )
    assert (tmp_path / "out/check.md").read_text().count("\n|") == 2 + len(found["models"])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["gpu_check.py", "--out", str(tmp_path / "check.json")])
    with pytest.raises(SystemExit, match="no CUDA device"):
        gpu_check.main()
    assert not list(tmp_path.iterdir())
