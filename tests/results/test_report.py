"""Sentences of the report are made from tables alone, and say what the tables say."""

import pytest
from test_verdicts import against, row

from equidyn.results import readings as report


def flow(condition, *points, trivial=1.0):
    return [
        {
            **row(step, percent, ratio, run="flow"),
            "task": "flow",
            "condition": condition,
            "trivial_loss": trivial,
        }
        for step, percent, ratio in points
    ]


def voxels(run, *points):
    return [
        {**row(step, percent, ratio, run=run), "task": "voxels", "rotations": "cube"}
        for step, percent, ratio in points
    ]


def test_a_low_percentage_next_to_the_zero_predictor_is_called_by_its_name():
    low, real = report.readings(
        voxels("near", (1, 80, 3), (10, 1.7, 0.898)) + voxels("far", (1, 2.5, 0.99), (10, 8, 0.38)),
        "voxels",
        [],
        [],
    )[:2]
    assert (
        "near: 1.7 %" in low and "0.898 ×" in low and "predicting next to nothing" in low and "holds" in low
    )
    assert (
        "far: 8 %" in real
        and "next to nothing" not in real
        and "2.5 % at step 1, stands at 0.99 × and does not count" in real
    )


def test_later_rises_are_named_with_their_peak_even_where_they_fall_again():
    falling = flow("t=0.4", (1, 1, 1.2), (10, 4, 0.4), (20, 1, 0.3), (30, 1.5, 0.2), (40, 0.9, 0.1))
    curves = {("flow", "t=0.4"): falling, ("flow", "t=0.8"): flow("t=0.8", (10, 4, 0.4), (20, 4.5, 0.3))}
    text = report._rises(curves)
    assert (
        "flow t=0.4 from 1 % (step 20) to 1.5 % (step 30), 0.9 % at the end" in text and "t=0.8" not in text
    )
    assert report._rises({("flow", "t=0.8"): curves["flow", "t=0.8"]}).startswith("No percentage")


def test_flow_says_where_it_is_its_linear_denoiser_and_where_more():
    same = [against(r, 0.82) for r in flow("t=0.4", (10, 1, 0.41), (20, 1, 0.4))]
    more = [against(r, 0.9) for r in flow("t=0.9", (10, 5, 0.45), (20, 1.2, 0.3), (30, 1.1, 0.2))]
    ratios, linear, beyond = report._beyond_linear({("flow", "t=0.4"): same, ("flow", "t=0.9"): more})
    assert "t=0.4 0.98 [0.98, 0.98] × linear denoiser" in ratios and "t=0.9 0.44" in ratios
    assert linear.startswith("At t=0.4 flow is not a tenth better")
    assert "flow t=0.9, which counts from step 20, ends at 1.1 % [0.99, 1.2]: holds" in beyond
    assert report._beyond_linear({("flow", "t=0.4"): same})[-1] == "It is more at no time."


def test_flow_times_of_two_runs_are_told_apart():
    same = [against(r, 0.82) for r in flow("t=0.4", (10, 1, 0.41), (20, 1, 0.4))]
    more = [against(r, 0.9) for r in flow("t=0.4", (10, 5, 0.45), (20, 1.2, 0.3))]
    lines = report._beyond_linear({("weak", "t=0.4"): same, ("strong", "t=0.4"): more})
    assert [line.split(",")[0] for line in lines if "last total" in line] == ["weak", "strong"]
    assert "At t=0.4 weak is not a tenth better" in lines[1] and "strong t=0.4, which counts" in lines[-1]


@pytest.mark.parametrize(
    "steps, why",
    [
        ([(1500, 6)], "the run ends at step 1500"),
        ([(1000, 2.1), (1500, 6)], "an interval within the paper's window includes 2 %"),
        ([(1000, 2.1), (20000, 6)], "an interval within the paper's window includes 2 %"),
        ([(1000, 6), (12000, 2.1), (20000, 6)], "first step from the end of the paper's window on"),
    ],
)
def test_an_inconclusive_percentage_says_why(steps, why):
    assert why in report._why([row(step, percent, 0.3) for step, percent in steps])


def test_missing_augmentation_on_aligned_poses_is_said_beside_the_percentage():
    curve = [row(1, 20, 3), row(10, 1, 0.5)]
    assert "aligned" not in report._ends(curve)
    aligned = [{**r, "pose_deviation": 60.0} for r in curve]
    assert "without augmentation on aligned poses (60 standard deviations" in report._ends(aligned)
    assert "aligned" not in report._ends([{**r, "augment": 1.0} for r in aligned])


def test_the_hand_is_said_to_be_learned_only_where_the_interval_says_so():
    rows = [
        dict(run="flow", step=step, condition=f"t={t}", gap=1.0, lo=lo, hi=2 - lo, n_items=48)
        for step, t, lo in ((0, 0.4, 0.5), (10, 0.4, -0.1), (10, 0.8, 0.3))
    ]
    assert (
        "at t=0.8, and nowhere else" in report._hand(rows)[0]
        and "at no flow time" in report._hand(rows[:2])[0]
    )
    barely = dict(rows[1], lo=0.05, hi=1.95)  # above 0 by itself, not as one of two
    assert "at t=0.4, and nowhere else" in report._hand([barely])[0]
    assert "at no flow time" in report._hand([barely, rows[1]])[0]


def test_off_grid_numbers_are_compared_with_those_of_an_equivariant_blur():
    floors = (1.0, 1e-6, 0.02)  # of an error of 0.05
    haar = [{**voxels("v", (10, 5, 0.5))[0], "rotations": "haar", "floor": floor} for floor in floors]
    assert (
        "interpolation alone could make it" in report._off_grid(haar[:1])[0]
        and "more than interpolation" in report._off_grid(haar[1:2])[0]
        and "more than interpolation" in report._off_grid(haar[2:])[0]
    )


def test_checks_of_a_dataset_are_a_table_and_what_the_config_overrides_is_open(tmp_path):
    from jinja2 import Environment, PackageLoader

    from equidyn.data.checks.findings import Findings, Outcome
    from equidyn.results.report import TEMPLATE, checks_of

    findings = Findings("forces", ["net-torque"])
    findings.add(Outcome("net-torque", "refused", "f.xyz", 40, "torque <0.5>"))
    (tmp_path / "data").mkdir()
    findings.write(tmp_path / "data")
    rows = checks_of(tmp_path / "data")
    assert checks_of(tmp_path) == [] and {row["check"] for row in rows} >= {
        "xtb",
        "copies",
        "net-torque",
    }
    page_of = (
        Environment(loader=PackageLoader("equidyn", "results"), autoescape=True).get_template(TEMPLATE).render
    )
    rest = {name: {} for name in ("final", "others", "readings", "titles", "notes")}
    rest |= {name: [] for name in ("reached", "pages", "figures", "more", "summaries")}
    one = {"name": "mine", "checks": rows}
    page = page_of(datasets=[one, {"name": "old", "checks": []}], **rest)
    assert "<details open><summary>Checks of mine" in page and "overridden by the config: net-torque" in page
    assert "torque &lt;0.5&gt;" in page and "Checks of old" not in page
    quiet = [row | {"verdict": "passed"} for row in rows]
    page = page_of(datasets=[{"name": "mine", "checks": quiet}], **rest)
    assert "<details><summary>Checks of mine" in page and "overridden" not in page
