"""The floor: what real images score, as a band behind the levels of sample quality."""

import math
from typing import Any

from matplotlib.axes import Axes

from analysis.figures.theme import FAINT
from analysis.statistics.units import Observations

BAND = "#d9e8d5"


def draw_floor(ax: Axes, floor: Observations, *, across: bool = False) -> None:
    """The mean as a line and its 95 % interval as a band, named at the left; nothing without.

    `across`: along the x axis, and not named again.
    """
    if not floor:
        return
    i = floor.interval()
    span, line = (ax.axvspan, ax.axvline) if across else (ax.axhspan, ax.axhline)
    if math.isfinite(i.low) and math.isfinite(i.high):
        span(i.low, i.high, color=BAND, linewidth=0, zorder=0)
    line(i.estimate, color=FAINT, linewidth=0.6, zorder=0.5)
    if not across:
        look: dict[str, Any] = {"fontsize": 6.5, "color": FAINT, "va": "bottom", "ha": "left"}
        look |= {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        ax.annotate("real images", (0.0, i.estimate), (2, 1.5), in_layout=False, **look)
