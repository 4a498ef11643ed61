"""What stands under figures is what the tables, settings and summaries say."""

from test_verdicts import row

from equidyn.results.captions import conditions


def test_conditions_of_a_task():
    rows = [row(9, 5, 0.4, "a"), row(9, 5, 0.4, "b") | dict(pose_deviation=60.0, n_items=20)]
    settings = {"a": {"training": {"lr": 2e-3, "steps": 2400}}, "b": {"training": {"lr": 1e-3, "steps": 900}}}
    assert conditions(rows, "forces", settings, {"a": {"parameters": 105_000}}).startswith(
        "10-20 held-out items × 10 Haar rotations, not augmented, training poses isotropic except for b, "
        "learning rate 0.001-0.002, 900-2400 steps, 1.05e+05 parameters"
    )


def test_augmented_runs_need_no_poses_and_a_task_from_outside_has_no_points_of_the_paper():
    rows = [row(9, 5, 0.4) | dict(task="centres", augment=1.0, pose_deviation=float("nan"))]
    assert conditions(rows, "centres", {}, {}) == "10 held-out items × 10 Haar rotations, augmented"
    mixed = [row(9, 5, 0.4, "a"), row(9, 5, 0.4, "b") | dict(augment=1.0)]
    assert "1 of 2 runs augmented, training poses isotropic" in conditions(mixed, "forces", {}, {})


def test_poses_that_no_file_states_are_not_called_isotropic():
    rows = [row(9, 5, 0.4) | dict(pose_deviation=float("nan"))]
    assert conditions(rows, "forces", {}, {}).endswith("not augmented, training poses not known")
