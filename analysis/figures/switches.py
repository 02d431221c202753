"""Drawing of a study of switch points: a line a subnet depth."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures.fronts import OTHERS, label_column


def draw_lines(ax: Axes, table: pd.DataFrame, *, title: str) -> None:
    """Lines over the switch points, named at their ends.

    Args:
        table: `depth`, `switch`, `value`, and `low` and `high` of intervals, NaN where there is
            none; by ascending switch point.
    """
    ends = []
    for i, (depth, mine) in enumerate(table.groupby("depth")):
        colour = OTHERS[i % len(OTHERS)]
        x, y = mine["switch"].to_numpy(), mine["value"].to_numpy()
        ax.plot(x, y, "o-", color=colour, linewidth=1.0, markersize=3)
        ax.vlines(x, mine["low"], mine["high"], color=colour, linewidth=0.8)
        ends.append((x[-1], y[-1], f"d{depth}", colour))
    ax.set_xlim(*ax.get_xlim())
    ax.set_ylim(*ax.get_ylim())
    label_column(ax, ends[::-1])
    ax.set_title(title)
    ax.set_xlabel("switch point N")
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)
