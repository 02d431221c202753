"""The floor: what real images score, as a band behind the levels of sample quality."""

from typing import Any

from matplotlib.axes import Axes

from analysis.figures.theme import FAINT
from analysis.statistics.intervals import Interval

BAND = "#d9e8d5"


def draw_floor(ax: Axes, floor: Interval | None, *, across: bool = False) -> None:
    """The mean as a line and its 95 % interval as a band, named at the left; nothing for None.

    `across`: along the x axis, and not named again.
    """
    if floor is None:
        return
    span, line = (ax.axvspan, ax.axvline) if across else (ax.axhspan, ax.axhline)
    if floor.bounded:
        span(floor.low, floor.high, color=BAND, linewidth=0, zorder=0)
    line(floor.estimate, color=FAINT, linewidth=0.6, zorder=0.5)
    if not across:
        look: dict[str, Any] = {"fontsize": 6.5, "color": FAINT, "va": "bottom", "ha": "left"}
        look |= {"xycoords": ax.get_yaxis_transform(), "textcoords": "offset points"}
        ax.annotate("real images", (0.0, floor.estimate), (2, 1.5), in_layout=False, **look)
