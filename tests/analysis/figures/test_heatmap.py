"""Cells of maps carry meaning: brackets, hatches, frames, stars of the colour scale."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes

from analysis.figures.heatmap import draw_heatmap, draw_ladder, exponent_of
from analysis.figures.theme import new_figure, style
from analysis.maps.heatmap import Heatmap

NAN = float("nan")
DATA = Heatmap(
    title="damage",
    unit="nats",
    row_title="depth",
    column_title="scale",
    rows=("2", "4"),
    columns=("1", "2", "3"),
    values=np.array([[1.0, 20.0, NAN], [3.0, NAN, 400.0]]),
    low=np.zeros((2, 3)),
    high=np.zeros((2, 3)),
    p_holm=np.array([[0.04, 0.06, NAN], [NAN, NAN, 0.001]]),
    failed=np.array([[False, False, True], [False, False, False]]),
)


def drawn(data: Heatmap) -> Axes:
    with style():
        ax = new_figure(height=2).subplots()
        draw_heatmap(ax, data)
        return ax


def test_what_is_not_significant_is_in_brackets_and_what_failed_is_hatched():
    ax = drawn(DATA)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["1.0", "(20)", "(3.0)", "400", "failed"]
    (hatched,) = ax.patches
    assert hatched.get_hatch() and (hatched.get_x(), hatched.get_y()) == (2, 0)
    assert ax.get_title(loc="left") == "damage [nats]"


def test_colours_diverge_only_about_a_gain_that_is_significant():
    better = replace(DATA, values=np.where(DATA.values == 1.0, -1.0, DATA.values))
    unsure = replace(better, p_holm=np.where(DATA.p_holm == 0.04, 0.4, DATA.p_holm))
    ends = {
        name: drawn(data).collections[0].get_clim()
        for name, data in (("worse", DATA), ("better", better), ("unsure", unsure))
    }
    assert ends["better"][0] == -ends["better"][1]
    assert ends["worse"][0] == ends["unsure"][0] == 0
    texts = [text.get_text() for text in drawn(unsure).texts]
    assert texts[0] == "(\u22121.0)", "a proper minus, and in brackets"


def test_shares_are_per_cent_and_need_no_test():
    ax = drawn(replace(DATA, share=True, unit="", values=DATA.values / 1000))
    assert [text.get_text() for text in ax.texts][:2] == ["0.10", "2.0"]
    assert ax.get_title(loc="left") == "damage [% of full]"


@pytest.mark.parametrize(
    ("largest", "exponent"), [(0.0, 0), (1.0, 0), (999.0, 0), (0.02, -3), (5e4, 3), (NAN, 0)]
)
def test_numbers_of_a_map_share_a_power_of_ten(largest, exponent):
    assert exponent_of(np.array([largest, largest / 3])) == exponent
    if exponent:
        assert 10 <= largest / 10.0**exponent < 100


def test_a_frame_marks_where_a_metric_passes():
    rejected = pd.DataFrame([[1.0, 0.2], [0.95, NAN]], index=["a", "b"], columns=["FD", "NLL"])
    passed = pd.DataFrame([[True, False], [False, False]], index=["a", "b"], columns=["FD", "NLL"])
    with style():
        ax = new_figure(height=2).subplots()
        draw_ladder(ax, rejected, passed, title="ladder")
    (frame,) = ax.patches
    assert not frame.get_fill() and int(frame.get_x()) == int(frame.get_y()) == 0
    assert [text.get_text() for text in ax.texts] == ["100", "20", "95"]
