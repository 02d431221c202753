"""Names beside points never share ink, whatever their number; colours tell ways apart."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from pareto_frames import SCHEDULES, WAYS, pareto_frame

from analysis.figures.colours import FIXED, KINDS, colours_of
from analysis.figures.frontier import draw_hypervolume, draw_trade
from analysis.figures.labels import spread
from analysis.figures.points import draw_curves, draw_scatter
from analysis.figures.theme import new_figure, style
from analysis.statistics.fronts import Trade
from analysis.statistics.levels import Levels, PlanKey, Way
from analysis.statistics.units import Observations
from analysis.study_file import EQUIDISTANT


def overlaps(ax: Axes) -> list[tuple[str, str]]:
    """Pairs of texts on the axes that share ink."""
    ax.figure.canvas.draw()
    texts = [t for t in (*ax.texts, ax.title) if t.get_text()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 - 0.5 and b.y0 < a.y1 - 0.5
    ]


def fixed(share: float, **other) -> Way:
    known = {"name": f"way {share}", "kind": "fixed", "selector": EQUIDISTANT, "train_switch": 3}
    return Way(**known | {"share": share} | other)


@pytest.fixture(params=[1, 2, 6, 12])
def ways(request) -> list[Way]:
    return [fixed(i / 20) for i in range(request.param)]


@pytest.fixture
def ax() -> Axes:
    with style():
        figure = new_figure(height=2.45, constrained=False)
        yield figure.add_axes((0.11, 0.3, 0.68, 0.55))


def test_names_of_a_trade_do_not_overlap(ax, ways):
    rng = np.random.default_rng(len(ways))
    reached = {
        way.name: tuple(Observations.alone({0: value}) for value in rng.normal(3, 1e-3, 2))
        for way in ways
    }
    data = Trade.of(PlanKey(4, 3), reached)
    draw_trade(ax, data, colours_of(ways))
    assert len(ax.texts) == len(ways) and not overlaps(ax)


def test_names_of_curves_do_not_overlap(ax, ways):
    rows = [(way.name, at, 3.0, 2.9, 3.1) for way in ways for at in range(10)]
    lines = pd.DataFrame(rows, columns=["schedule", "thousands", "mean", "low", "high"])
    draw_curves(ax, lines, colours_of(ways))
    assert len(ax.texts) == len(ways) and not overlaps(ax)
    assert not ax.figure.legends


def test_names_of_a_scatter_do_not_overlap(ax, ways):
    names = pd.DataFrame({"name": [way.name for way in ways]})
    draw_scatter(ax, names.assign(x=1.0, y=1.0, low=1.0, high=1.0), title="NLL", x_label="KV")
    assert not overlaps(ax)


def test_hypervolumes_show_every_unit(ax):
    ways = [fixed(0.1), fixed(1.0)]
    rows = [(way.name, 0.5, 0.4, 0.6, (0.45, 0.5, 0.55)) for way in ways]
    table = pd.DataFrame(rows, columns=["schedule", "value", "low", "high", "values"])
    draw_hypervolume(ax, table, colours_of(ways))
    ax.figure.canvas.draw()
    assert [label.get_text() for label in ax.get_yticklabels()] == [way.name for way in ways]
    places = np.concatenate([points.get_offsets() for points in ax.collections[:-1]])
    assert sorted(places[:, 0]) == pytest.approx(sorted([0.45, 0.5, 0.55, 0.5] * 2))


def test_spread():
    np.testing.assert_allclose(spread([0.1, 0.5, 0.9], 0.1, 0, 1), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(spread([0.5, 0.5], 0.2, 0, 1), [0.4, 0.6])
    np.testing.assert_allclose(spread([1.0, 1.0, 0.0], 0.1, 0, 1), [0.9, 1.0, 0.0])
    np.testing.assert_allclose(spread([0.3, 0.3, 0.3], 0.9, 0, 1), [0, 0.5, 1.0])
    assert len(spread([], 0.1, 0, 1)) == 0


def test_colours_tell_schedules_apart_by_what_they_are():
    ways = Levels(pareto_frame(schedules=SCHEDULES, by_scale=False)).ways
    colours = colours_of(ways)
    assert len(set(colours.values())) == len(SCHEDULES) == len(colours)
    assert colours["control"] == KINDS[WAYS["control"].kind]
    shares = [
        way.name for way in sorted(ways, key=lambda way: way.share or 0) if way.of_paper("fixed")
    ]
    places = [FIXED.index(colours[name]) for name in shares]
    assert places == sorted(places)
    renamed = [fixed(0.5, name="a"), fixed(0.5, name="b", selector="nested")]
    assert colours_of(renamed)["a"] in FIXED and colours_of(renamed)["b"] not in FIXED
