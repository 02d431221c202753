"""Drawing of what is left of the damage that training was there to undo."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from analysis.figures.theme import ABSENT, FAINT, INK

LOWEST, HIGHEST = -0.35, 1.2  # where the axis of a share is cut
OFFSET = 0.17  # of a kind of evidence from its row's middle


def draw_shares(
    ax: Axes, table: pd.DataFrame, colours: Mapping[str, str], *, margin: float, names: bool
) -> None:
    """A row a schedule, two marks each: the share of one plan's untrained damage that is left.

    Filled is sample quality, hollow likelihood. 0 is the network that training began from, 1 what
    the plan loses without training; marks beyond the axis stand at its end.

    Args:
        table: `schedule`, `likelihood` (whether it is that), `share`, and `low`, `high` of its
            interval (not finite where there is none), of one plan.
        margin: what is allowed to be left.
        names: whether schedules are named.
    """
    order = list(colours)
    ax.set_xlim(LOWEST, HIGHEST)
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.axvspan(LOWEST, margin, color=ABSENT, linewidth=0, zorder=0)
    ax.axvline(0, color=INK, linewidth=0.6, zorder=1)
    ax.axvline(1, color=FAINT, linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=1)
    for row in table.itertuples():
        y = order.index(row.schedule) + (OFFSET if row.likelihood else -OFFSET)
        colour = colours[row.schedule]
        if np.isfinite([row.low, row.high]).all():
            ends = np.clip([row.low, row.high], LOWEST, HIGHEST)
            ax.hlines(y, *ends, color=colour, linewidth=1.2, zorder=2)
        x = float(np.clip(row.share, LOWEST, HIGHEST))
        marker, size = ("D", 3.2) if row.likelihood else ("o", 3.8)
        look: dict[str, Any] = {"mfc": "white" if row.likelihood else colour, "clip_on": False}
        if row.share not in (x,):
            marker = ">" if row.share > HIGHEST else "<"
        ax.plot(x, y, marker, color=colour, markersize=size, zorder=3, **look)
    ax.set_yticks(range(len(order)), order if names else [""] * len(order))
    for label, name in zip(ax.get_yticklabels(), order, strict=True):
        label.set_color(colours[name])
    ax.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0, symbol=" %"))
    ax.set_xticks([0, 0.5, 1.0])
    ax.tick_params(axis="x", labelsize=6.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
