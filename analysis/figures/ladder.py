"""What metrics see of known damage: a map of rungs by metrics."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from analysis.figures.heatmap import draw_cells
from analysis.figures.theme import EARLY


def draw_ladder(ax: Axes, rejected: pd.DataFrame, passed: pd.DataFrame, *, title: str) -> None:
    """Per cent of repeats that reject a rung, darker for more; a frame where a metric passes.

    Args:
        rejected: shares; rungs are the index, metrics the columns. NaN where it cannot be told.
        passed: the same places, true where this rung lets the metric decide about a zone.
    """
    look: dict[str, Any] = {"fmt": ".0f", "cmap": "Greys", "vmin": 0.0, "vmax": 130.0}
    draw_cells(ax, 100 * rejected.astype(float), size=7, linewidths=0.8, **look)
    for row, column in np.argwhere(passed.to_numpy(dtype=bool)):
        place = (float(column) + 0.06, float(row) + 0.06)
        ax.add_patch(Rectangle(place, 0.88, 0.88, fill=False, edgecolor=EARLY, linewidth=1.6))
    ax.set_title(title)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="x", rotation=40)
    for label in ax.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
