"""The triangle of signs and the floor: what is drawn is what was observed."""

import numpy as np
from matplotlib.colors import to_rgba

from analysis.figures.floor import draw_floor
from analysis.figures.heatmap import draw_triangle
from analysis.figures.theme import EARLY, LATE, new_figure, style
from analysis.statistics.asymmetry import Split
from analysis.statistics.units import NOTHING, Observations


def observed(*values: float) -> Observations:
    units = tuple(range(len(values)))
    return Observations(
        values=np.array(values), units=units, replicates=(np.empty(0),) * len(units)
    )


def test_signs_and_shades_say_the_mean_and_its_interval():
    pairs = {
        (1, 2): observed(1.0, 1.1, 0.9),
        (1, 3): observed(2.0, -1.0, 0.5),
        (2, 3): observed(-1.0, -1.1, -0.9),
    }
    with style():
        ax = new_figure(height=2).subplots()
        splits = {p: Split(interval=o.interval(), units=len(o.units)) for p, o in pairs.items()}
        draw_triangle(ax, splits, 3)
        ax.figure.canvas.draw()
    assert [text.get_text() for text in ax.texts] == ["+", "+", "\u2212"]
    colours = ax.collections[0].get_facecolors()[[0, 1, 3]]
    assert tuple(colours[0]) == to_rgba(EARLY) and tuple(colours[2]) == to_rgba(LATE)
    assert tuple(colours[1]) not in (to_rgba(EARLY), to_rgba(LATE))
    assert [label.get_text() for label in ax.get_yticklabels()] == ["1", "1\u20132"]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["2\u20133", "3"]


def test_one_unit_is_pale_whatever_its_interval_says():
    interval = observed(1.0, 1.1, 0.9).interval()
    assert Split(interval=interval, units=3).clear
    assert not Split(interval=interval, units=1).clear


def test_the_floor_is_a_band_of_its_interval_with_a_name():
    interval = observed(1.0, 2.0, 3.0).interval()
    ax = new_figure(height=2).subplots()
    draw_floor(ax, interval)
    low, high = ax.patches[0].get_y(), ax.patches[0].get_y() + ax.patches[0].get_height()
    np.testing.assert_allclose([low, high], [interval.low, interval.high])
    assert [text.get_text() for text in ax.texts] == ["real images"]
    bare = new_figure(height=2).subplots()
    draw_floor(bare, NOTHING.bounds())
    assert not bare.lines and not bare.patches and not bare.texts
