"""What every checkpoint is measured with, and against."""

import copy

import pytest
import torch
from common import TRAINING

from equidyn import tasks
from equidyn.models import registry
from equidyn.results.columns import DECOMPOSITION
from equidyn.steps.measured import Measured
from equidyn.steps.measurement import Measurement, about_training
from equidyn.steps.run import Run
from equidyn.symmetry.limits import EXACT
from equidyn.symmetry.measure import measure

SETTINGS = dict(training=TRAINING, measure=dict(n_items=8, n_rotations=3, batch_size=3))


@pytest.fixture(scope="module")
def measurement(dataset):
    task = tasks.build("forces", dataset, SETTINGS, "cpu", None)
    model = registry.build("escaip", "tiny", 0).eval()
    return Measurement("r", task, model, 3, about=about_training(SETTINGS, dataset))


@pytest.fixture(scope="module")
def saved(measurement):
    other = copy.deepcopy(measurement.model.state_dict())
    for value in other.values():
        if value.is_floating_point():
            value.mul_(0.5)
    return dict(step=7, live=copy.deepcopy(measurement.model.state_dict()), ema=other)


def test_ema_is_measured_at_every_checkpoint_and_training_items_at_the_last(measurement):
    early = [(p.weights, p.items, p.rotations.name) for p in measurement.plans(last=False)]
    assert early == [("live", "held-out", "haar"), ("ema", "held-out", "haar")]
    last = [(p.weights, p.items, p.rotations.name) for p in measurement.plans(last=True)]
    assert set(last) - set(early) >= {("live", "training", "haar"), ("live", "held-out", "cube")}


def test_rows_are_those_of_the_plain_measurement(measurement, saved):
    """Kept batches, rotations and baselines change nothing, whatever was measured before."""
    task, found = measurement.task, {}
    for plan in measurement.plans(last=True) + measurement.plans(last=True):
        for row in measurement.rows(saved, plan):
            assert set(row) == set(DECOMPOSITION)
            found.setdefault((row["weights"], row["items"], row["rotations"], row["loss"]), []).append(row)
    for rows in found.values():
        first, again = ({k: v for k, v in row.items() if k != "seconds"} for row in rows)
        assert first == again
    for weights in ("live", "ema"):
        measurement.model.load_state_dict(saved[weights])
        symmetry = task.actions, task.output, measurement.main.drawn
        plain = measure(measurement.model, task.predict, task.held_out(measurement.model), *symmetry)
        row = found[weights, "held-out", "haar", "mse"][0]
        assert (row["total"], row["equivariance"]) == (plain.total, plain.equivariance)
    live, seen = (found["live", items, "haar", "mse"][0] for items in ("held-out", "training"))
    assert live["total"] != seen["total"] and (live["step"], live["augment"]) == (7, TRAINING["augment"])


def test_measured_training_items_are_training_items_one_per_cluster(measurement, dataset):
    task = measurement.task
    seen = torch.cat([batch.clusters for batch in task.seen(measurement.model)])
    held_out = torch.cat([batch.clusters for batch in task.held_out(measurement.model)])
    assert len(set(seen.tolist())) == len(seen) <= len(held_out)
    assert not set(seen.tolist()) & set(held_out.tolist())
    assert set(task.seen_items.tolist()) <= set(task.train.tolist())


def test_the_baseline_is_the_best_one_on_the_same_items(measurement, saved):
    rows = [row for plan in measurement.plans(last=True) for row in measurement.rows(saved, plan)]
    for row in rows:
        assert row["baseline_loss"] <= row["zero_loss"]
        assert row["baseline_ratio"] == pytest.approx(row["total"] / row["baseline_loss"])
        assert row["loss"] == "mse" or row["baseline"] == "zero"


def test_without_training_items_to_measure_there_are_no_rows_of_them(dataset, saved, monkeypatch):
    """A voxel run whose training molecules all reach out of the box has none."""
    task = tasks.build("forces", dataset, SETTINGS, "cpu", None)
    monkeypatch.setattr(task, "seen", lambda model, condition="": [])
    measurement = Measurement("r", task, registry.build("escaip", "tiny", 0).eval(), 3)
    last = measurement.plans(last=True)
    assert any(plan.items == "training" for plan in last)
    assert [row for plan in last if plan.items == "training" for row in measurement.rows(saved, plan)] == []


@pytest.mark.parametrize("architecture, honest", [("painn", True), ("rawdir", False)])
def test_the_floor_of_an_equivariant_network_is_rounding_and_not_itself(dataset, architecture, honest):
    """One that only claims to be equivariant lies above ten floors, though it is its own control."""
    task = tasks.build("forces", dataset, SETTINGS, "cpu", None)
    model = registry.build(architecture, "tiny", 0).eval()
    model.equivariant = True
    model.equivariant_control = lambda: copy.deepcopy(model)
    measurement = Measurement("r", task, model, 3)
    state = dict(step=0, live=copy.deepcopy(model.state_dict()))
    row = next(iter(measurement.rows(state, measurement.plans(last=False)[0])))
    assert row["loss"] == "mse" and row["floor"] > 0
    assert (row["equivariance"] <= EXACT * row["floor"]) == honest


def test_rounding_is_no_change_of_sign(dataset):
    """The cube's first rotations change signs, which rounds nothing: the floor of all 24 is not zero."""
    task = tasks.build("forces", dataset, SETTINGS, "cpu", None)
    model = registry.build("escaip", "tiny", 0, tied=True).eval()
    measurement = Measurement("r", task, model, 3, about=about_training(SETTINGS, dataset))
    saved = dict(step=0, live=copy.deepcopy(model.state_dict()), ema=model.state_dict())
    (cube,) = (plan for plan in measurement.plans(last=True) if plan.rotations.name == "cube")
    row = next(measurement.rows(saved, cube))
    assert 0 < row["floor"] and row["equivariance"] <= EXACT * row["floor"]


def test_averaged_weights_that_are_the_live_ones_are_measured_once(dataset, tmp_path):
    task = tasks.build("forces", dataset, SETTINGS, "cpu", None)
    settings = dict(run="r", task="forces", training=TRAINING, measure=SETTINGS["measure"])
    model = registry.build("escaip", "tiny", 0).eval()
    measured = Measured(Run(settings, task, model), dataset, tmp_path)
    state = copy.deepcopy(model.state_dict())
    rows = measured._measure(dict(step=0, live=state, ema=copy.deepcopy(state)), last=True)
    other = {name: value * 0.5 if value.is_floating_point() else value for name, value in state.items()}
    apart = measured._measure(dict(step=0, live=state, ema=other), last=True)

    def of(found, weights):
        return [
            {**r, "weights": "", "seconds": 0}
            for r in found
            if r["weights"] == weights and r["rotations"] == "haar"
        ]

    assert of(rows, "ema") == of(rows, "live") == of(apart, "live") != of(apart, "ema")
    assert [(r["weights"], r["items"], r["loss"]) for r in rows] == [
        (r["weights"], r["items"], r["loss"]) for r in apart
    ]
