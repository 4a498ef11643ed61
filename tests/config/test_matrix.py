"""A matrix written out: names, references, what else differs, and what is refused."""

import json
import re

import pytest
import yaml
from common import REPOSITORY

from equidyn.config import expand, resolve_run, validate
from equidyn.errors import ConfigError

CONFIG = yaml.safe_load((REPOSITORY / "config/config.yaml").read_text())
BASE = {"task": "forces", "dataset": "molecules", "training": {"steps": 70}}


def matrix(**groups):
    return {
        **CONFIG,
        "matrix": {
            "forces-size": {
                "base": BASE,
                "axes": {"model.size": ["tiny", "small"], "seed": [1]},
                "reference": "forces",
            },
            **groups,
        },
    }


def test_a_matrix_expands_into_the_product_of_its_axes():
    before = matrix()
    config, points = expand(before)
    validate(before)
    assert (
        before == matrix()
        and "matrix" not in config
        and set(config["runs"]) == {*CONFIG["runs"], "forces-size-tiny-1", "forces-size-small-1"}
    )
    run = resolve_run(config, "forces-size-small-1")
    assert (
        run["model"] == {"architecture": "escaip", "size": "small"}
        and run["seed"] == 1
        and run["training"]["steps"] == 70
        and "group" not in run
    )
    assert points["forces-size-small-1"] == {
        "group": "forces-size",
        "axes": {"model.size": "small", "seed": 1},
        "reference": "forces",
        "reference_axes": {"model.size": "mini", "seed": 0},
        "besides": {"training.steps": [70, CONFIG["defaults"]["forces"]["training"]["steps"]]},
    }
    assert expand(CONFIG) == (CONFIG, {})
    alone = {
        key: value
        for key, value in matrix(g={"base": BASE, "axes": {"training.n_train": [100, 50]}}).items()
        if key != "runs"
    }
    alone["matrix"] = {"g": alone["matrix"]["g"]}
    validate(alone)
    assert {name: p["reference"] for name, p in expand(alone)[1].items()} == {
        "g-100": "g-100",
        "g-50": "g-100",
    }


def test_names_are_readable_and_valid():
    values = [1e-3, 2.0e-5, 0.1, 1, 2.0, True, "60M-tri", "a_b c"]
    names = list(expand(matrix(g={"base": BASE, "axes": {"model.size": values}}))[1])[2:]
    assert names == ["g-0.001", "g-0.00002", "g-0.1", "g-1", "g-2", "g-true", "g-60M-tri", "g-a-b-c"]
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", name) for name in names)


def test_a_further_value_or_axis_leaves_the_settings_of_the_other_runs_alone():
    def settings(config):
        return {name: json.dumps(resolve_run(config, name), sort_keys=True) for name in config["runs"]}

    more = matrix(lr={"base": BASE, "axes": {"training.lr": [1e-3]}})
    more["matrix"]["forces-size"]["axes"]["model.size"] = ["micro", "tiny", "small"]
    few, many = settings(expand(matrix())[0]), settings(expand(more)[0])
    assert few.items() <= many.items() and set(many) - set(few) == {"forces-size-micro-1", "lr-0.001"}


@pytest.mark.parametrize(
    "group, message",
    [
        ({"base": BASE, "axes": {"seed": []}}, "matrix.g.axes.seed: no values"),
        ({"base": BASE, "axes": {}}, "matrix.g.axes"),
        ({"base": BASE, "axes": {"seed": [1, 1]}}, "'g-1'.*already in matrix.g"),
        ({"base": BASE, "axes": {"training.lr": [1, 1.0]}}, "'g-1'.*already in matrix.g"),
        ({"base": BASE, "axes": {"seed": [[1]]}}, "matrix.g.axes.seed.0"),
        ({"base": BASE, "axes": {"training.lrr": [1]}}, "runs.g-1.training.*lrr"),
        ({"base": {**BASE, "seeed": 1}, "axes": {"seed": [1]}}, "runs.g-1.*seeed"),
        ({"base": {**BASE, "dataset": "qm9"}, "axes": {"seed": [1]}}, "runs.g-1.dataset.*qm9"),
        ({"base": BASE, "axes": {"seed": [1]}, "reference": "force"}, "matrix.g.reference: 'force'"),
        ({"base": BASE, "axes": {"seed": [1]}, "reference": "flow"}, "task is 'forces', expected 'flow'"),
        (
            {"base": {**BASE, "task": "froces"}, "axes": {"seed": [1]}, "reference": "forces"},
            "'froces', expected",
        ),
        ({"base": {**BASE, "dynamics": {"grid": 4}}, "axes": {"seed": [1]}}, "dynamics"),
        (
            {"base": BASE, "axes": {"seed": [1]}, "reference": "forces"},
            r"matrix.g: replicates of 'forces' with training.steps 70 \(there \d+\)",
        ),
    ],
)
def test_bad_matrices_are_named(group, message):
    with pytest.raises(ConfigError, match=message):
        validate(matrix(g=group))


def replicates(seeds, **more):
    """Of the run ``forces`` by its own settings."""
    return {"base": {**CONFIG["runs"]["forces"], **more}, "axes": {"seed": seeds}, "reference": "forces"}


def test_a_training_that_is_there_already_is_no_other_seed():
    """It would count as a replicate of itself."""
    expand(matrix(g=replicates([1, 2])))
    with pytest.raises(ConfigError, match="g-0 is trained as forces is .seed 0.*count twice"):
        expand(matrix(g=replicates([0, 1])))
    with pytest.raises(ConfigError, match="h-1 is trained as g-1 is"):
        expand(matrix(g=replicates([1]), h=replicates([1])))


@pytest.mark.parametrize("measure", [3, None])
def test_a_measure_that_is_none_is_refused_by_its_key(measure):
    with pytest.raises(ConfigError, match="runs.g-1.measure"):
        validate(matrix(g=replicates([1], measure=measure)))


def test_points_are_measured_as_their_reference_is():
    other = {"n_items": 3, "n_rotations": 2}
    with pytest.raises(ConfigError, match="matrix.g: g-1 is measured by .*expected .*reference 'forces'"):
        expand(matrix(g=replicates([1], measure=other)))
    expand(matrix(g=replicates([1], measure={"batch_size": 3})))


def test_clashes_with_runs_and_other_groups():
    with pytest.raises(ConfigError, match="'forces-control' .* already in runs"):
        expand({**CONFIG, "matrix": {"forces": {"base": BASE, "axes": {"model.size": ["control"]}}}})
    with pytest.raises(ConfigError, match="'forces-size-tiny-1' .* already in matrix.forces-size"):
        expand(matrix(**{"forces-size-tiny": {"base": BASE, "axes": {"seed": [1]}}}))
