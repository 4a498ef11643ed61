"""The first sentences of the report say what the tables say, and link each number to its table."""

from test_verdicts import BAD, GOOD, against, row

from equidyn.results.answers import MANY, ahead, answer, of_the_paper
from equidyn.results.claims.table import claims


def text(rows, task="forces"):
    return "".join(part.text for part in answer(rows, task))


def named(run, curve, **more):
    return [{**r, "run": run, **more} for r in curve]


def test_what_counts_what_does_not_and_what_is_exact():
    control = [{**row(10, 1e-9, 0.5, "control"), "floor": 1e-11}]
    rows = named("a", GOOD) + named("b", BAD) + named("c", [row(10, 0.1, 0.99)]) + control
    said = text(rows)
    assert said == (
        "Broken symmetry makes 1 % [0.9, 1.1] of the held-out loss of a, 8 % [7.2, 8.8] of b. Not learned "
        "enough to tell: c. Exactly equivariant, to rounding: control."
    )
    linked = [part for part in answer(rows, "forces") if part.run]
    assert [(part.text, part.run) for part in linked] == [("1 % [0.9, 1.1]", "a"), ("8 % [7.2, 8.8]", "b")]


def test_nothing_learned_is_no_number():
    said = text(named("c", [row(10, 0.1, 0.99)]))
    assert said == "No percentage counts: no run learned enough to tell." and "0.1" not in said


def test_flow_times_are_named():
    rows = [r for t in ("t=0.9", "t=0.95,sc") for r in named("flow", GOOD, task="flow", condition=t)]
    rows += [against(r, 1.0) for t in ("t=0", "t=0.4") for r in named("flow", GOOD, task="flow", condition=t)]
    said = text(rows, "flow")
    assert "of the held-out loss of flow at t=0.9." in said and "sc" not in said
    assert "Not learned enough to tell: flow at t=0, t=0.4." in said


def test_of_many_runs_the_lowest_and_the_highest_are_told():
    curves = [named(f"r{k}", [row(10, 1 + k, 0.5)]) for k in range(MANY + 1)]
    said = text([r for curve in curves for r in curve])
    assert said == (
        "Broken symmetry makes from 1 % [0.9, 1.1] (r0) to 7 % [6.3, 7.7] (r6) of the held-out loss where it "
        "counts, 7 curves."
    )


def test_an_interval_that_includes_none_is_no_answer():
    """40 % [-44, 124] says nothing of how much is broken, and must not read as if it did."""
    wide = [row(10, 40, 0.5, "w", spread=2.1)]
    assert text(named("w", wide)) == "Not told apart from none: w, 40 % [-44, 124]."
    assert text(named("a", GOOD) + named("w", wide)) == (
        "Broken symmetry makes 1 % [0.9, 1.1] of the held-out loss of a. Not told apart from none: w, 40 % "
        "[-44, 124]."
    )


def c11(rows, points=None):
    return [{k: str(v).replace("nan", "") for k, v in r.items()} for r in claims(rows, [], points)]


def test_whether_it_is_learned_ahead_is_told_with_its_interval_or_counted():
    curve = [row(10 * k, 9 * x**2, x) for k, x in enumerate((0.6, 0.4, 0.3, 0.2), 1)]
    rows = named("a", curve) + named("b", curve) + named("d", curve)
    own = dict(group="g", reference="a", reference_axes={"seed": 0})
    points = {run: {**own, "axes": {"seed": seed}} for seed, run in ((1, "b"), (2, "d"))}
    assert ahead(c11(rows + named("c", GOOD), points), "forces") == (
        "Is equivariance learned ahead of the task, so that this share falls as the loss does? a: holds "
        "(times 0.25 [0.25, 0.25] as the loss halves); c: not testable at this scale."
    )
    more = [r for k in range(MANY) for r in named(f"r{k}", curve)]
    assert ahead(c11(rows + more, points), "forces") == (
        f"Is equivariance learned ahead of the task? holds (1), not testable at this scale ({MANY})."
    )
    assert ahead(c11(rows), "forces").startswith("Whether it falls as the loss does cannot be told")
    assert ahead(c11(rows), "voxels") == ""


def test_the_papers_own_runs_are_told_where_both_numbers_are_published():
    def published(run, *path):
        for step, (total, percent) in enumerate(path):
            for quantity, value in (("path_total", total), ("path_percent", percent)):
                yield dict(task="forces", run=run, quantity=quantity, step=step, percent=value)

    falls = published("a", (30, 20), (1, 4), (0.5, 2), (0.25, 1))
    rises = published("b", (30, 20), (1, 4), (0.5, 5), (0.25, 6))
    more = published("c", (30, 20), (1, 4), (0.5, 5), (0.25, 6))
    zero = dict(task="forces", run="x", quantity="zero_predictor_estimate", step=0, percent=1.21)
    said = of_the_paper([zero, *falls, *rises, *more], "forces")
    assert said == "The paper's own runs: times 0.5-1.22 as the loss halves, upwards in 2 of 3, then 1-6 %."
    assert of_the_paper([], "forces") == ""


def test_runs_that_are_all_exact_are_not_said_to_have_learned_nothing():
    said = text([{**row(10, 1e-9, 0.5, "control"), "floor": 1e-11}])
    assert said == "Exactly equivariant, to rounding: control."
