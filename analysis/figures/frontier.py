"""Drawing the (KV, quality) plane: a panel a way to train."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from analysis.figures.labels import plain
from analysis.figures.theme import ABSENT, FAINT
from analysis.statistics.fronts import Frontier

EDGE = 1.08  # KV share at which panels end


def draw_staircase(ax: Axes, front_N2: np.ndarray, *, edge: float, **line: Any) -> None:
    """Steps through a front of points that are better to the lower left, out to x = `edge`."""
    ordered = front_N2[np.argsort(front_N2[:, 0])]
    x, y = ordered.T
    ax.step([*x, edge], [*y, *y[-1:]], where="post", **line)


def frontier_limits(data: Frontier) -> tuple[float, float]:
    """Limits that hold every filled point; bad hollow ones fall off the top."""
    values = data.plans.loc[data.plans["trained"], "value"]
    low, high = float(values.min()), float(values.max())
    room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def draw_frontier(
    ax: Axes, data: Frontier, schedule: str, *, colour: str, budgets: Sequence[float]
) -> None:
    """Plans of one schedule; filled where the model was trained for them, hollow elsewhere.

    Behind them the joint front, the attainment surfaces of several seeds, and the memory budgets
    (shares of the full network's KV).
    """
    ax.set_xlim(0, EDGE)
    ax.set_ylim(*frontier_limits(data))
    for budget in budgets:
        ax.axvline(budget, color=ABSENT, linewidth=1.0, zorder=0)
    ax.axvline(1.0, color=FAINT, linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=0)
    draw_staircase(ax, data.front, edge=EDGE, color=FAINT, linewidth=0.9, zorder=1)
    for percentage, surface in data.surfaces.get(schedule, {}).items():
        line = {"linestyle": "-" if percentage == 50 else ":", "linewidth": 0.8, "zorder": 2}
        draw_staircase(ax, surface, edge=EDGE, color=colour, **line)
    mine = data.plans[data.plans["schedule"] == schedule]
    for trained, look in (
        (False, {"markersize": 3, "mfc": "white", "mew": 0.6, "zorder": 2}),
        (True, {"markersize": 4.2, "zorder": 3}),
    ):
        of = mine[mine["trained"] == trained]
        ax.plot(of["kv_share"], of["value"], "o", color=colour, **look)
    ax.set_title(schedule, color=colour, fontweight="bold")
    plain(ax, y_ticks=4)
