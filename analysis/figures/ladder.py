"""What metrics see of known damage: a map of rungs by metrics."""

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from seaborn.utils import relative_luminance

from analysis.figures.heatmap import LIGHT
from analysis.figures.theme import ABSENT, EARLY, INK


def draw_ladder(ax: Axes, rejected: pd.DataFrame, passed: pd.DataFrame, *, title: str) -> None:
    """Per cent of repeats that reject a rung, darker for more; a frame where a metric passes.

    Args:
        rejected: shares; rungs are the index, metrics the columns. NaN where it cannot be told.
        passed: the same places, true where this rung lets the metric decide about a zone.
    """
    values = 100 * rejected.to_numpy(dtype=float)
    inside = {"fontsize": 7, "va": "center_baseline", "ha": "center", "in_layout": False}
    seaborn.heatmap(
        pd.DataFrame(values, index=rejected.index, columns=rejected.columns),
        mask=np.isnan(values),
        annot=True,
        fmt=".0f",
        annot_kws=inside,
        cmap="Greys",
        vmin=0.0,
        vmax=130.0,
        linewidths=0.8,
        cbar=False,
        ax=ax,
    )
    shades = np.asarray(ax.collections[0].get_facecolor())[~np.isnan(values).ravel()]
    for text, colour in zip(ax.texts, shades, strict=True):
        text.set_color(INK if relative_luminance(colour) > LIGHT else "white")
    for row, column in np.argwhere(passed.to_numpy(dtype=bool)):
        place = (float(column) + 0.06, float(row) + 0.06)
        ax.add_patch(Rectangle(place, 0.88, 0.88, fill=False, edgecolor=EARLY, linewidth=1.6))
    ax.set_facecolor(ABSENT)
    ax.set_title(title)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(length=0)
    ax.tick_params(axis="x", rotation=40)
    for label in ax.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
