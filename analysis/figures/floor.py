"""The floor: what real images score, as a band behind the levels of sample quality."""

import math

from matplotlib.axes import Axes

from analysis.figures.theme import FAINT
from analysis.statistics.units import Observations

BAND = "#d9e8d5"


def draw_floor(ax: Axes, floor: Observations, *, label: bool = True) -> None:
    """The mean as a line and its 95 % interval as a band, named at the left; nothing without."""
    if not floor:
        return
    i = floor.interval()
    if math.isfinite(i.low) and math.isfinite(i.high):
        ax.axhspan(i.low, i.high, color=BAND, linewidth=0, zorder=0)
    ax.axhline(i.estimate, color=FAINT, linewidth=0.6, zorder=0.5)
    if label:
        place = {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        look = {"fontsize": 6.5, "color": FAINT, "va": "bottom", "ha": "left", "in_layout": False}
        ax.annotate("real images", (0.0, i.estimate), (2, 1.5), **place, **look)
