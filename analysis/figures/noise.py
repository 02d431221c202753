"""Variance components as points with intervals."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.theme import INK


def draw_components(ax: Axes, table: pd.DataFrame, *, title: str) -> None:
    """A component a row, from the top; those that are not known stay empty.

    Args:
        table: `name`, `value`, and the ends `low` and `high` of its interval, NaN where none.
    """
    places = np.arange(len(table))[::-1]
    value, low, high = (table[name].to_numpy(dtype=float) for name in ("value", "low", "high"))
    ax.hlines(places, low, high, color=INK, linewidth=1)
    ax.plot(value, places, "o", color=INK, markersize=3.5)
    ax.set_yticks(places, table["name"])
    ax.set_ylim(-0.6, len(table) - 0.4)
    ax.set_xlim(left=0)
    ax.set_title(title)
