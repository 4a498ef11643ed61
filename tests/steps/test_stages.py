"""What jobs cost, gathered from benchmark files as Snakemake writes them."""

import csv
import math

import pytest

from equidyn.device import processor
from equidyn.errors import DataError
from equidyn.results.columns import ESTIMATE, STAGES
from equidyn.steps.stages import rows_of, stages

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


NAME = "A processor"  # that several generations have


@pytest.fixture
def folder(tmp_path):
    for rule, job, line in (
        ("train", "a", "10.0\t0:00:10\t500.0\t1\t1\t1\t0\t0\t95\t9.0\n"),
        ("train", "b", "20.0\t0:00:20\t600.0\t1\t1\t1\t0\t0\t95\t19.0\n"),
        ("figure", "forces-percent", "0.1\t0:00:00\t-\t-\t-\t-\tNA\t-\t0\t0\n"),
    ):
        path = tmp_path / "benchmarks" / rule / f"{job}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(HEADER + line)
    (tmp_path / "benchmarks/claims.tsv").write_text(HEADER + "1.0\t0:00:01\t50\t1\t1\t1\t0\t0\t9\t1\n")
    with open(tmp_path / "estimate.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(ESTIMATE))
        writer.writeheader()
        for quantity, device, value in (
            ("training", f"{processor()}, 1 thread", 12 / 3600),
            ("training", f"{NAME}, 1 thread", 7 / 3600),
            ("training", "another, 1 thread", 1.0),
            ("memory, host", "", 2**20),
            ("memory, device", "", 3 * 2**20),
        ):
            line = dict(of="run", name="a", quantity=quantity, device=device, value=value, unit="", basis="")
            writer.writerow(line)
    return tmp_path


def test_jobs_have_rules_and_what_was_estimated_of_them(folder):
    rows = {
        (r["rule"], r["job"]): r for r in rows_of(folder / "benchmarks", folder / "estimate.csv", processor())
    }
    assert set(rows) == {("train", "a"), ("train", "b"), ("figure", "forces-percent"), ("claims", "claims")}
    a = rows["train", "a"]
    assert (a["seconds"], a["cpu_seconds"], a["peak_mib"], a["estimated_mib"]) == (10, 9, 500, 4)
    assert a["estimated_seconds"] == pytest.approx(12)
    assert math.isnan(rows["train", "b"]["estimated_seconds"])
    assert math.isnan(rows["figure", "forces-percent"]["peak_mib"])
    generation = rows_of(folder / "benchmarks", folder / "estimate.csv", f"{NAME} (family 6, model 1)")
    assert [r["estimated_seconds"] for r in generation if r["job"] == "a"] == [pytest.approx(7)]
    other = rows_of(folder / "benchmarks", folder / "estimate.csv", "no such processor")
    assert all(math.isnan(row["estimated_seconds"]) for row in other)


def test_table_and_figure_are_written_or_nothing(folder, tmp_path):
    out, stem = folder / "stages.csv", folder / "figures/stages"
    stages(folder / "benchmarks", folder / "estimate.csv", out, stem)
    with open(out, newline="") as file:
        assert next(csv.reader(file)) == list(STAGES)
    assert {p.suffix for p in stem.parent.iterdir()} == {".svg", ".png", ".pdf"}
    with pytest.raises(DataError, match="no .*tsv, expected those of jobs that have run"):
        stages(folder / "none", folder / "estimate.csv", folder / "other.csv", stem)
    assert not (folder / "other.csv").exists()
