"""Figures of a search over schedules."""

from __future__ import annotations

import numpy as np

from analysis.figures.schedules import draw_importances
from analysis.figures.theme import new_figure, style
from analysis.search_file import Importance


def test_spreads_stand_at_the_bars_whose_they_are():
    full = {"ramp": (0.5, 0.1), "end": (0.4, 0.05), "start": (0.1, 0.03)}
    subnets = {"end": (0.7, 0.1), "start": (0.1, 0.05), "ramp": (0.2, 0.03)}  # in another order
    found = {
        zone: {name: Importance(mean=mean, sd=sd) for name, (mean, sd) in values.items()}
        for zone, values in (("full", full), ("subnets", subnets))
    }
    with style():
        ax = new_figure(height=2.0).subplots()
        draw_importances(ax, found)
    bars = [(bar.get_width(), bar.get_y() + bar.get_height() / 2) for bar in ax.patches]
    lines = np.concatenate([lines.get_segments() for lines in ax.collections])
    by_height = (sorted(found, key=lambda at: at[1]) for found in (bars, lines.mean(axis=1)))
    np.testing.assert_allclose(*by_height)
    assert len(bars) == 6
