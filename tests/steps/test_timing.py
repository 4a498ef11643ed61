"""Runs are timed in turn, by what they do in training and measuring."""

import csv

import pytest
import yaml
from common import TRAINING

from equidyn.results.columns import TIMING
from equidyn.steps import timing

NAMES = ("one", "two")


@pytest.fixture(scope="module")
def table(dataset, tmp_path_factory):
    folder = tmp_path_factory.mktemp("timed")
    models = ({"architecture": "painn", "size": "tiny"}, {"architecture": "rawdir", "size": "tiny"})
    for name, model in zip(NAMES, models):
        settings = dict(run=name, seed=0, device="cpu", task="forces", dataset="d", model=model)
        training = {**TRAINING, "steps": 3}
        settings |= dict(training=training, measure=dict(n_items=4, n_rotations=2, batch_size=2))
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    configs = [folder / f"{name}.yaml" for name in NAMES]
    timing.timing(configs, [dataset] * 2, [""] * 2, folder / "timing.csv")
    with open(folder / "timing.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_run_has_a_turn_in_every_round(table):
    assert list(table[0]) == list(TIMING)
    assert [(r["run"], int(r["round"])) for r in table] == [
        (n, k) for n in NAMES for k in range(timing.ROUNDS)
    ]


def test_times_and_operations_are_those_of_steps_and_items(table):
    for row in table:
        assert float(row["step_seconds"]) > float(row["item_seconds"]) > 0
        assert float(row["train_flops"]) > 3 * float(row["item_flops"]) > 0
    parameters = {row["run"]: int(row["parameters"]) for row in table}
    assert len(set(parameters.values())) == 2
