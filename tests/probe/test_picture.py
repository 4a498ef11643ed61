"""Figures of results: labels that do not meet, zeros that are told, legends beside the panels."""

import math
from dataclasses import fields

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from equidyn.probe.picture import MOST, draw
from equidyn.probe.records import Record
from equidyn.probe.rows import Row


def row(quantity="forces", floor=1e-12, step=None, **more) -> Row:
    texts = dict(run="model", quantity=quantity, unit="eV/Å", verdict="exact (at the floor)", step=step)
    values = {f.name: "" if f.type in (str, "str") else 0.5 for f in fields(Row)}
    return Row(**values | texts | dict(floor=floor, n_items=24) | more)


def records(size, error, worst=None) -> list[Record]:
    worst = 1.3 * np.asarray(error) if worst is None else worst
    sums = [dict(count=1.0, power=s**2, equivariance=e**2, worst=w) for s, e, w in zip(size, error, worst)]
    return [Record(k, "X", "X", 1, 0.0, dict(energy=one, forces=one)) for k, one in enumerate(sums)]


def drawn(figure):
    FigureCanvasAgg(figure).draw()
    return figure


def boxes(axis):
    """Extents of the labels of an axis that are seen."""
    labels = axis.get_ticklabels(which="both")
    return [label.get_window_extent() for label in labels if label.get_visible() and label.get_text()]


RANGES = [(0.67, 1.57), (3.9, 6.7), (1e-15, 2.4e-15), (7e-15, 7e-14), (1e-9, 1e-1), (28.0, 107.0)]
RANGES += [(5.50, 5.62), (0.9999, 1.0), (0.99999999, 1.0), (1.0, 1.0)]
RANGES += [(9e-7, 1.1e-6), (1e-18, 1e3), (9990.0, 10010.0)]


@pytest.mark.parametrize("low, high", RANGES)
def test_labels_of_ticks_do_not_meet_and_tell_the_scale(low, high):
    values = np.geomspace(low, high, 24)
    figure = drawn(draw([row("energy"), row(floor=low**2)], records(values, values)))
    for one in (figure.axes[1].xaxis, figure.axes[1].yaxis):
        found = boxes(one)
        assert 2 <= len(found) <= MOST + 1
        assert not any(a.overlaps(b) for k, a in enumerate(found) for b in found[:k])
    texts = [label.get_text() for label in figure.axes[1].xaxis.get_ticklabels()]
    assert len(set(texts)) == len(texts)


def test_labels_that_meet_are_seen():
    figure = draw([row()], records(np.geomspace(0.7, 1.5, 24), np.full(24, 1e-6)))
    figure.axes[0].set_xticks(np.linspace(0.7, 1.5, 30))
    found = boxes(drawn(figure).axes[0].xaxis)
    assert any(a.overlaps(b) for k, a in enumerate(found) for b in found[:k])


def test_an_error_of_exactly_zero_is_told_and_not_drawn():
    size, error = np.linspace(5, 7, 24), np.full(24, 2e-7)
    error[3:15] = 0
    axis = drawn(draw([row(floor=4e-14)], records(size, error, np.where(error > 0, 3e-7, 1e-15)))).axes[0]
    lines = {line.get_label(): line.get_ydata() for line in axis.get_lines()}
    assert np.array_equal(lines["over all poses"], error[error > 0]) and len(lines["worst pose"]) == 12
    assert min(map(min, lines.values())) >= 2e-7
    assert "12 of 24 structures: error exactly 0, not drawn" in axis.get_xlabel()


def test_nothing_but_zeros_is_told():
    figure = drawn(draw([row(floor=0.0)], records(np.ones(4), np.zeros(4))))
    told = figure.axes[0].get_xlabel()
    assert "4 of 4 structures: error exactly 0" in told and "floor exactly 0" in told
    assert not figure.axes[0].get_lines() and not boxes(figure.axes[0].yaxis)


def test_a_quantity_without_a_unit_has_none_in_its_labels():
    axis = draw([row(unit="")], records(np.ones(4), np.ones(4))).axes[0]
    labels = [axis.get_xlabel(), axis.get_ylabel()]
    assert labels == ["r.m.s. prediction of a structure", "r.m.s. equivariance error"]


def test_what_is_not_known_is_not_in_the_legend():
    figure = drawn(draw([row()], records(np.ones(4), np.ones(4), np.full(4, math.nan))))
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["over all poses", "floor"]


def curve(**more) -> list[Row]:
    return [row(step=step, total=1.0, equivariance=0.1, percent=10.0, **more) for step in (0, 10, 20)]


@pytest.mark.parametrize("rows", [[row("energy"), row()], curve()], ids=["panels", "curve"])
def test_legends_lie_beside_the_panels(rows):
    figure = drawn(draw(rows, records(np.ones(4), np.ones(4)) if rows[0].step is None else []))
    legend = figure.legends[0].get_window_extent()
    assert not any(legend.overlaps(axis.get_tightbbox()) for axis in figure.axes)
    assert legend.y0 >= 0 and legend.x0 >= 0 and legend.x1 <= figure.bbox.x1
    assert not any(axis.get_legend() for axis in figure.axes)


def test_a_curve_tells_its_zeros():
    axis = drawn(draw(curve(floor=0.0), [])).axes[1]
    assert "floor exactly 0 at 3 of 3 steps, not drawn" in axis.get_xlabel()
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axis.get_lines()])
    assert np.nanmin(values) >= 0.1
