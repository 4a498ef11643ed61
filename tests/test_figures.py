"""Figures for one, two and many runs: all that is written in them lies on the page."""

import csv
import importlib
import json

import numpy as np
import pytest
from common import REPOSITORY
from matplotlib.collections import PathCollection
from matplotlib.quiver import Quiver

from equidyn.figures import axes, percent, published, style
from equidyn.figures.style import COLUMN, WIDE, plt
from equidyn.results import tables
from equidyn.results.claims.rows import counted_rows
from equidyn.results.columns import MOLECULE
from equidyn.results.verdicts import counted
from equidyn.symmetry import groups

TABLES = REPOSITORY / "docs/results"
RUNS = {
    "forces": ["forces", "forces-raw", "forces-raw-aug", "forces-control", "forces-aligned"],
    "voxels": ["voxels-0.445"],
    "flow": ["flow"],
}
MATRIX = {"forces": ["forces-dense", "forces-dense-seed-1"], "voxels": ["voxels"], "flow": ["flow"]}
MODULES = {
    "forces": ["percent", "losses", "cost", "plane"],
    "voxels": ["percent", "losses", "cost", "plane"],
    "flow": ["times", "time_losses", "final_times", "cost", "plane"],
}


def off_the_page(figure) -> list[str]:
    """Titles, labels, notes and legends that reach beyond the figure."""
    figure.canvas.draw()
    legends = [legend for legend in (*figure.legends, *(axis.get_legend() for axis in figure.axes)) if legend]
    texts = [
        *figure.texts,
        figure._suptitle,
        *(
            text
            for axis in figure.axes
            for text in (axis.title, axis.xaxis.label, axis.yaxis.label, *axis.texts)
        ),
    ]
    box, found = figure.bbox, []
    for artist in [*legends, *(text for text in texts if text and text.get_text())]:
        extent = artist.get_window_extent()
        if extent.x0 < -1 or extent.y0 < -1 or extent.x1 > box.x1 + 1 or extent.y1 > box.y1 + 1:
            found.append(
                artist.get_text()
                if hasattr(artist, "get_text")
                else f"legend: {[text.get_text() for text in artist.get_texts()]}"
            )
    return found


def draw(name, runs, tmp_path):
    rows = tables.read([TABLES / f"{run}.csv" for run in runs])
    extra = []
    if name == "cost":
        extra = [[tmp_path / f"{run}.json" for run in runs]]
        for run, path in zip(runs, extra[0]):
            path.write_text(json.dumps(dict(run=run, seconds=100.0, steps=1000)))
    return importlib.import_module(f"equidyn.figures.{name}").draw(
        rows, tables.read_paper(REPOSITORY / "resources/paper_milestones.csv"), *extra
    )


def test_what_is_cut_off_is_seen():
    figure, axis = plt.subplots(figsize=(2, 2))
    axis.set_title("a title much too long for two inches of paper, and then some")
    assert off_the_page(figure)
    plt.close(figure)


CASES = [
    (task, name, runs[:n])
    for task, runs in RUNS.items()
    for name in MODULES[task]
    for n in sorted({1, 2, len(runs)})
    if n <= len(runs)
]


@pytest.mark.parametrize(
    "task, name, runs", CASES, ids=lambda value: value if isinstance(value, str) else str(len(value))
)
def test_all_that_is_written_is_on_the_page(tmp_path, task, name, runs):
    figure = draw(name, runs, tmp_path)
    assert not off_the_page(figure) and COLUMN - 0.01 <= figure.get_size_inches()[0] <= WIDE + 0.2
    plt.close(figure)


@pytest.mark.parametrize("task", RUNS)
@pytest.mark.parametrize("name", ["gradients", "curvature", "head"])
def test_figures_of_dynamics_are_on_the_page(tmp_path, task, name):
    wanted = [
        run
        for run in MATRIX[task]
        if run in {row["run"] for row in csv.DictReader(open(TABLES / f"matrix/{name}.csv"))}
    ]
    if not wanted:
        pytest.skip("only EScAIP has this head")
    with open(TABLES / f"matrix/{name}.csv", newline="") as file:
        lines = file.read().splitlines(keepends=True)
    (tmp_path / "part.csv").write_text(
        lines[0] + "".join(line for line in lines[1:] if line.split(",")[0] in wanted)
    )
    rows = [row for row in tables.read([TABLES / "matrix/decomposition.csv"]) if row["run"] in wanted]
    figure = importlib.import_module(f"equidyn.figures.{name}").draw(
        rows, tables.read_paper(REPOSITORY / "resources/paper_milestones.csv"), [str(tmp_path / "part.csv")]
    )
    assert not off_the_page(figure)
    plt.close(figure)


def test_blocks_of_one_run_are_told_apart(tmp_path):
    """Spectra over two blocks at one step are two places of the axis, named in the head of the figure."""
    with open(TABLES / "matrix/curvature.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["run"], row["step"]) == ("forces-dense", "2400")]
    rows = [row for row in rows if row["block"] == rows[0]["block"]]
    rows += [{**row, "block": "elsewhere"} for row in rows]
    with open(tmp_path / "two.csv", "w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    figure = importlib.import_module("equidyn.figures.curvature").draw([], [], [str(tmp_path / "two.csv")])
    assert [text.get_text() for text in figure.axes[-1].get_xticklabels()] == ["A\nstep 2400", "B\nstep 2400"]
    assert "B: forces-dense, elsewhere" in figure.get_suptitle()
    plt.close(figure)


def replicated_table(run, axis, values, seeds=(0, 1, 2)):
    """Rows of a run of the default again under other names, and what those stand for in a matrix."""
    rows = tables.read([TABLES / f"{run}.csv"])
    made, points = list(rows), {}
    for value in values:
        for seed in seeds:
            name = f"{run}-{value}-{seed}"
            made += [{**r, "run": name, "percent": (1 + 0.2 * seed) * r["percent"]} for r in rows]
            axes, at = {axis: value, "seed": seed}, {axis: None, "seed": 0}
            points[name] = dict(group="g", axes=axes, reference=run, reference_axes=at)
    return made, points


@pytest.mark.parametrize(
    "run, axis, values",
    [
        ("forces", "training.n_train", [100, 500]),
        ("forces-raw", "model.options.hidden", [16, 32, 128, 176]),
        ("forces-aligned", "training.augment", [0.1, 1.0]),
        ("voxels-0.445", "training.n_train", [100]),
        ("flow", "model.size", ["tiny", "small"]),
    ],
)
def test_axes_of_a_matrix_are_on_the_page_a_colour_per_point(run, axis, values):
    rows, points = replicated_table(run, axis, values)
    paper = tables.read_paper(REPOSITORY / "resources/paper_milestones.csv")
    figure = importlib.import_module("equidyn.figures.axes").draw(
        rows, paper, [json.dumps({"axes": [axis], "points": points})]
    )
    assert not off_the_page(figure) and figure.get_size_inches()[0] == pytest.approx(WIDE)
    left, right = figure.axes
    colours = {line.get_color() for line in right.lines if line.get_linestyle() == "-"}
    assert len(colours) == 1 + len(values)  # the reference and each value, whatever the seed
    labels = [text.get_text() for text in left.get_legend().get_texts() if "paper" not in text.get_text()]
    assert len(labels) == 1 + len(values) and not any("seed" in label for label in labels)
    plt.close(figure)


def test_poses_are_drawn_a_point_per_seed_cones_apart(tmp_path):
    seconds = {"haar": 0.333, "share-50": 0.48, "cone-57": 0.48, "as-made": 0.62}
    rows, points = replicated_table("forces", "dataset", list(seconds))
    for row in rows:
        dataset = points.get(row["run"], {}).get("axes", {}).get("dataset", "haar")
        row.update(pose_second=seconds[dataset], pose_fourth=0.6)
        row.update(percent_lo=0.8 * row["percent"], percent_hi=1.2 * row["percent"])
    figure = importlib.import_module("equidyn.figures.poses").draw(rows, [], [json.dumps({"points": points})])
    assert not off_the_page(figure)
    figure.savefig(tmp_path / "poses.png", dpi=100)
    for axis in figure.axes:
        drawn = [bar.lines[0] for bar in axis.containers]
        assert len(drawn) == 12 and sum(line.get_marker() == "s" for line in drawn) == 3
        assert {round(float(line.get_xdata()[0]), 3) for line in drawn} == set(seconds.values())
    plt.close(figure)
    empty = importlib.import_module("equidyn.figures.poses").draw(rows, [], [json.dumps({"points": {}})])
    assert not off_the_page(empty)
    plt.close(empty)


@pytest.mark.parametrize(
    "run, axis, value", [("forces", "training.copies", 4), ("voxels-0.445", "training.steps", 9)]
)
def test_lifts_have_a_row_per_change_and_a_marker_per_seed(run, axis, value):
    rows, points = replicated_table(run, axis, [value])
    figure = importlib.import_module("equidyn.figures.lifts").draw(rows, [], [json.dumps({"points": points})])
    assert not off_the_page(figure)
    percent, loss, training = figure.axes
    assert [label.get_text() for label in percent.get_yticklabels()] == ["reference", f"{axis[9:]} {value}"]
    for axis in (percent, loss, training):
        markers = [line for line in axis.lines if line.get_marker() == "o"]
        assert sorted(line.get_ydata()[0] for line in markers) == [0, 1, 1, 1]
    plt.close(figure)


def test_what_does_not_count_is_grey_in_the_plane():
    rows = tables.read([TABLES / "forces.csv"])
    figure = importlib.import_module("equidyn.figures.plane").draw(rows, [])
    (axis,) = figure.axes
    drawn = [line for line in axis.lines if line.get_marker() == "o" and line.get_label()[0] != "_"]
    counting = [r for r in tables.curve(rows, "forces") if r["baseline_ratio_hi"] < 0.9]
    (live,) = [line for line in drawn if line.get_linestyle() == "-"]
    shown = [y for y in live.get_ydata() if y == y]
    assert shown == pytest.approx([r["percent"] for r in counting])
    plt.close(figure)


def test_lifts_of_runs_that_differ_in_their_seed_alone_say_so():
    rows = tables.read([TABLES / "forces.csv"])
    figure = importlib.import_module("equidyn.figures.lifts").draw(rows, [], [json.dumps({"points": {}})])
    assert not figure.axes and "no run differs" in figure._supxlabel.get_text()
    plt.close(figure)


def _molecule_table(path, atoms, rotation=((1, 0, 0), (0, 1, 0), (0, 0, 1))):
    """Atoms (number, position, force) in a pose, predicted with half of their forces."""
    rows = []
    for atom, (number, position, force) in enumerate(atoms):
        row = dict.fromkeys(MOLECULE, 0.0) | dict(run="forces", step=1, atom=atom, number=number)
        for axis, at, along in zip("xyz", np.dot(rotation, position), np.dot(rotation, force)):
            row |= {f"position_{axis}": at, f"target_{axis}": along, f"predicted_{axis}": along / 2}
        rows.append(row)
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(MOLECULE))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


@pytest.mark.parametrize(
    "symmetric, named", [(False, "H light, C dark, S yellow, Br pink"), (True, "C dark")]
)
def test_a_molecule_is_drawn_alike_in_every_pose_and_its_elements_are_named(tmp_path, symmetric, named):
    molecule = importlib.import_module("equidyn.figures.molecule")
    chain = [(6, [1.3 * k, 0.4 * (-1) ** k, 0], [1, 0, 0]) for k in range(4)]  # its own mirror image
    bent = [(6, [0, 0, 0], [1, 0, 0]), (16, [1.8, 0.1, 0], [0, 2, 0]), (1, [-0.4, 1.0, 0.1], [1, 1, 0])]
    atoms = chain if symmetric else [*bent, (35, [-0.9, -1.6, 0.2], [0.5, 0, 0])]
    turned = groups.haar(8, 0).numpy()
    paths = [_molecule_table(tmp_path / f"{k}.csv", atoms, rotation) for k, rotation in enumerate(turned)]
    figure = molecule.draw([], [], paths)
    dots = [
        c.get_offsets() for axis in figure.axes for c in axis.collections if isinstance(c, PathCollection)
    ]
    assert len(dots) == 3 * len(turned) and max(np.abs(d - dots[0]).max() for d in dots) < 1e-9
    assert f"atoms: {named}" in figure.legends[0].get_title().get_text()
    plt.close(figure)


def test_arrows_of_a_molecule_lie_within_their_panels(tmp_path):
    """Also those of the outermost atoms, whose panel is as wide as the arrows of others make it."""
    molecule = importlib.import_module("equidyn.figures.molecule")
    forces = [(0.0, -3.0), (1.1, 0.5), (2.2, 3.0)]
    atoms = [(6, [x, 0.1 * k, 0], [force, 0, 0]) for k, (x, force) in enumerate(forces)]
    path = _molecule_table(tmp_path / "molecule.csv", atoms)
    figure, arrows = molecule.draw([], [], [path]), []
    figure.canvas.draw()
    for axis in figure.axes:
        for drawn in [c for c in axis.collections if isinstance(c, Quiver)]:
            arrows += [(x + u, axis.get_xlim()) for x, u in zip(drawn.X, drawn.U)]
    assert len(arrows) == 15 and max(abs(x) for x, _ in arrows) > 2
    assert all(lo < x < hi for x, (lo, hi) in arrows)
    plt.close(figure)


def test_of_several_times_live_and_averaged_weights_have_a_panel_each():
    rows, paper = tables.read([TABLES / "gpu/flow.csv"]), tables.read_paper(published.PAPER)
    figure = published.draw(rows, paper)
    assert [axis.get_title() for axis in figure.axes] == ["live weights", "EMA weights"]
    drawn = [
        {line.get_label(): line.get_ydata() for line in axis.lines if str(line.get_label()).startswith("t=")}
        for axis in figure.axes
    ]
    for weights, lines in zip(("live", "ema"), drawn):
        for condition, percents in lines.items():
            curve = tables.curve(rows, "flow", condition=condition, weights=weights)
            assert list(percents) == [row["percent"] for row in curve]
    assert len(drawn[0]) == len(drawn[1]) == 8
    (legend,) = figure.legends
    assert len(legend.get_texts()) == 8 + 1
    plt.close(figure)


def test_no_two_runs_of_a_figure_look_alike():
    names = [*style.RUN, *(f"run-{k}" for k in range(40))]
    others = names[len(style.RUN) :]
    looks = {(style.colour(run, names), style.marker(run, names)) for run in others}
    assert len(looks) == len(others) and not {c for c, _ in looks} & set(style.RUN.values())
    assert all(style.colour(run, names) == style.colour(run, []) for run in style.RUN)


def test_a_point_that_counts_alone_has_its_interval():
    rows = tables.read([TABLES / "forces-raw.csv"])
    curve = tables.curve(rows, "forces-raw")
    assert style.isolated([counted(r) for r in curve]) == [len(curve) - 1]
    figure, axis = plt.subplots()
    percent.percent(axis, curve, "k")
    ends = [curve[-1]["percent_lo"], curve[-1]["percent_hi"]]
    assert ends in [list(line.get_ydata()) for line in axis.lines]
    plt.close(figure)


def test_exact_runs_have_no_percentage_and_are_not_the_one_that_is_shown():
    flow = tables.read([TABLES / "flow.csv"])
    exact_one = [{**r, "run": "exact", "percent": 1e-12, "equivariance": 0.0, "floor": 1.0} for r in flow]
    rows = exact_one + flow
    assert style.first_not_exact(rows) == "flow" and style.first_not_exact(exact_one) == "exact"
    of_forces = tables.read([TABLES / "forces-control.csv", TABLES / "forces.csv"])  # with rows of l2
    assert style.first_not_exact(of_forces) == "forces"
    figure = importlib.import_module("equidyn.figures.times").draw(rows, [])
    above = figure.axes[0]
    lowest = min(min(line.get_ydata()) for line in above.lines if len(line.get_ydata()) > 2)
    assert lowest > percent.LEAST
    plt.close(figure)


def test_checkpoints_that_do_not_count_are_hollow_in_the_curvature():
    rows = tables.read([TABLES / "matrix/decomposition.csv"])
    figure = importlib.import_module("equidyn.figures.curvature").draw(
        rows, [], [str(TABLES / "matrix/curvature.csv")]
    )
    faces = [line.get_markerfacecolor() for line in figure.axes[0].lines if line.get_marker() in "os"]
    found = tables.read([TABLES / "matrix/curvature.csv"])
    places = dict.fromkeys((r["run"], r["block"], r["condition"], r["step"]) for r in found)
    hollow = sum(step not in counted_rows(rows, run, c) for run, _, c, step in places)
    assert 0 < hollow < len(places) and faces.count("white") == 2 * hollow
    plt.close(figure)


@pytest.mark.parametrize(
    "conditions, expected",
    [
        (["t=0.4", "t=0.9"], "t=0.9"),
        (["easy", "hard", "harder"], "hard"),
        (["t=early", "t=late"], "t=late"),
        ([""], ""),
    ],
)
def test_the_condition_that_is_drawn_where_there_is_room_for_one(conditions, expected):
    assert axes.nearest(conditions) == expected


def test_conditions_of_a_task_of_ones_own_have_any_names(tmp_path):
    """Beside them a row of rotations off the grid, which stands under no condition."""
    rows = [{**r, "task": "mine", "condition": "gas"} for r in tables.read([TABLES / "forces.csv"])]
    rows += [{**rows[0], "rotations": "off", "condition": ""}]
    (tmp_path / "s.json").write_text(json.dumps(dict(run="forces", seconds=1.0, steps=10)))
    figure = importlib.import_module("equidyn.figures.cost").draw(rows, [], [tmp_path / "s.json"])
    assert len(figure.axes[0].lines[0].get_xdata()) > 3
    plt.close(figure)


def test_percentages_below_a_picture_are_said_to_be_at_its_edge():
    rows = tables.read([TABLES / "gpu/forces-equal-rows.csv"])
    of_forces = tables.read([TABLES / f"{run}.csv" for run in RUNS["forces"]])
    for name in ("percent", "plane"):
        figure = importlib.import_module(f"equidyn.figures.{name}").draw(rows, [])
        assert any("drawn there" in text.get_text() for text in figure.axes[0].texts)
        plt.close(figure)
        figure = importlib.import_module(f"equidyn.figures.{name}").draw(of_forces, [])
        assert not any("drawn there" in text.get_text() for text in figure.axes[0].texts)
        plt.close(figure)


@pytest.mark.parametrize("small", [True, False])
def test_of_flow_the_note_says_what_is_at_the_edge(small):
    flow = tables.read([TABLES / "flow.csv"])
    rows = [{**r, "percent": 1e-5 if small and r["step"] == 0 else r["percent"]} for r in flow]
    figure = importlib.import_module("equidyn.figures.times").draw(rows, [])
    (legend,) = figure.legends
    assert ("drawn there" in legend.get_title().get_text()) == small
    assert not off_the_page(figure)
    plt.close(figure)


def test_a_run_of_voxels_has_both_runs_of_the_paper_beside():
    paper = tables.read_paper(published.PAPER)
    figure = published.draw(tables.read([TABLES / "gpu/voxels-0.9.csv"]), paper)
    (axis,) = figure.axes
    drawn = {line.get_label(): line for line in axis.lines if str(line.get_label()).startswith("paper")}
    assert len({line.get_marker() for line in drawn.values()}) == len(drawn) == 2
    for (run, _, label), line in zip(published.POINTS["voxels"], drawn.values(), strict=True):
        points = [r for r in paper if (r["run"], r["quantity"]) == (run, "percent_published")]
        assert line.get_label() == label and len(points) > 10
        assert list(line.get_ydata()) == [row["percent"] for row in points]
    plt.close(figure)


def test_percentages_that_are_rounding_are_drawn_at_the_lowest():
    rows = tables.read([TABLES / "gpu/forces-equal-rows.csv"])
    figure = published.draw(rows, tables.read_paper(published.PAPER))
    curve = tables.curve(rows, "forces-equal-rows")
    (axis,) = figure.axes
    (line,) = [line for line in axis.lines if str(line.get_label()).startswith("forces-equal-rows")]
    assert min(row["percent"] for row in curve) < published.LOWEST < max(row["percent"] for row in curve)
    assert list(line.get_ydata()) == [max(row["percent"], published.LOWEST) for row in curve]
    assert any("drawn there" in text.get_text() for text in axis.texts)
    plt.close(figure)
