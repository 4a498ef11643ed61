"""What jobs ask a cluster for follows the estimate."""

import csv

import pytest

from equidyn.cost.requests import EXTRA_MINUTES, LONGEST, PROCESS_MB, UNKNOWN, requests
from equidyn.results.columns import ESTIMATE

GIB = 2**30


@pytest.fixture
def estimate(tmp_path):
    rows = [
        ("memory, host", "", 2 * GIB),
        ("memory, device", "", 10 * GIB),
        ("training", "EPYC, 1 thread", 10.0),
        ("training", "Xeon, 1 thread", 20.0),
        ("training", "A100, assumed", 1.0),
        ("decomposition", "Xeon, 1 thread", 2.0),
    ]
    with open(tmp_path / "estimate.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(ESTIMATE))
        writer.writeheader()
        for quantity, device, value in rows:
            line = dict(of="run", name="a", quantity=quantity, device=device, value=value, unit="", basis="")
            writer.writerow(line)
        writer.writerow(
            dict(of="run", name="b", quantity="memory, host", device="", value="", unit="", basis="")
        )
    return tmp_path / "estimate.csv"


def test_time_is_the_slowest_devices_of_its_kind_and_memory_grows_on_a_cpu(estimate):
    cpu, gpu = (requests(estimate, "a", "training", device) for device in ("cpu", "cuda"))
    assert cpu["runtime"] == EXTRA_MINUTES + 60 * 3 * 20 and gpu["runtime"] == EXTRA_MINUTES + 60 * 3
    assert gpu["mem_mb"] == PROCESS_MB["cuda"] + 3 * 1024 and cpu["mem_mb"] == PROCESS_MB["cpu"] + 18 * 1024
    assert requests(estimate, "a", "decomposition", "auto")["runtime"] == EXTRA_MINUTES + 60 * 3 * 2


def test_attempts_ask_for_more_time_and_processes_for_more_memory(estimate):
    one = requests(estimate, "a", "training", "cuda")
    assert requests(estimate, "a", "training", "cuda", 4, 3) == {
        "mem_mb": 4 * one["mem_mb"],
        "runtime": 3 * one["runtime"],
    }
    assert requests(estimate, "a", "training", "cuda", 1, 10**6)["runtime"] == LONGEST


def test_what_is_not_known_is_asked_for_as_before(estimate, tmp_path):
    assert requests(tmp_path / "none.csv", "a", "training", "cpu") == UNKNOWN
    assert requests(estimate, "b", "training", "cpu") == UNKNOWN
    assert requests(estimate, "absent", "training", "cpu") == UNKNOWN
    assert requests(estimate, "a", "decomposition", "cuda")["runtime"] == UNKNOWN["runtime"]


def test_a_new_estimate_counts_at_once(estimate):
    before = requests(estimate, "a", "training", "cpu")
    text = estimate.read_text().replace("20.0", "40.0").replace("2.0", "2000.0")
    estimate.unlink()
    estimate.write_text(text)
    assert requests(estimate, "a", "training", "cpu")["runtime"] > before["runtime"]
    assert requests(estimate, "a", "decomposition", "cpu")["runtime"] == LONGEST
