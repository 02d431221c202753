"""Drawing of `analysis.statistics.fronts`: both of its planes, and hypervolumes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes

from analysis.figures.floor import draw_floor
from analysis.figures.labels import EDGE, label_column, plain
from analysis.figures.theme import ABSENT, FAINT
from analysis.statistics.fronts import Frontier, Trade


def draw_staircase(ax: Axes, front_N2: np.ndarray, *, edge: float, **line: Any) -> None:
    """Steps through a front of points that are better to the lower left, out to x = `edge`."""
    ordered = front_N2[np.argsort(front_N2[:, 0])]
    x, y = ordered.T
    ax.step([*x, edge], [*y, *y[-1:]], where="post", **line)


def frontier_limits(data: Frontier) -> tuple[float, float]:
    """Limits that hold every filled point and the floor; bad hollow ones fall off the top."""
    floor = [data.floor.estimate] if data.floor else []
    values = [*data.plans.loc[data.plans["trained"], "value"], *floor]
    low, high = min(values), max(values)
    room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def draw_frontier(
    ax: Axes, data: Frontier, schedule: str, *, colour: str, budgets: Sequence[float]
) -> None:
    """Plans of one schedule; filled where the model was trained for them, hollow elsewhere.

    Filled ones have their 95 % interval over units and their depth. Behind them the floor, the
    joint front, the attainment surfaces of several units, and the memory budgets (shares of the
    full network's KV).
    """
    ax.set_xlim(0, EDGE * data.full_kv)
    ax.set_ylim(*frontier_limits(data))
    draw_floor(ax, data.floor)
    for budget in budgets:
        ax.axvline(budget * data.full_kv, color=ABSENT, linewidth=1.0, zorder=0)
    in_bytes = np.array([data.full_kv, 1.0])
    edge = EDGE * data.full_kv
    draw_staircase(ax, data.front * in_bytes, edge=edge, color=FAINT, linewidth=0.9, zorder=1)
    for percentage, surface in data.surfaces.get(schedule, {}).items():
        line = {"linestyle": "-" if percentage == 50 else ":", "linewidth": 0.8, "zorder": 2}
        draw_staircase(ax, surface * in_bytes, edge=edge, color=colour, **line)
    mine = data.plans[data.plans["schedule"] == schedule]
    mine = mine.assign(kv=mine["kv_share"] * data.full_kv)
    hollow, filled = mine[~mine["trained"]], mine[mine["trained"]]
    look: dict[str, Any] = {"markersize": 3, "mfc": "white", "mew": 0.6, "zorder": 2}
    ax.plot(hollow["kv"], hollow["value"], "o", color=colour, **look)
    ax.vlines(filled["kv"], filled["low"], filled["high"], color=colour, linewidth=1.0, zorder=3)
    ax.plot(filled["kv"], filled["value"], "o", color=colour, markersize=4.2, zorder=3)
    near: dict[str, Any] = {
        "textcoords": "offset points",
        "fontsize": 6.5,
        "color": colour,
        "in_layout": False,
    }
    for row in filled.itertuples():
        whole = pd.isna(row.subnet_depth)  # stands at the edge
        name, side = ("full", "right") if whole else (f"d{row.subnet_depth}", "left")
        ax.annotate(name, (row.kv, row.value), (-3 if whole else 3, 3), ha=side, **near)
    ax.set_title(schedule, color=colour, fontweight="bold")
    plain(ax, y_ticks=4)


def draw_trade(ax: Axes, data: Trade, colours: Mapping[str, str], *, names: bool = True) -> None:
    """Every schedule's full network against its subnet; nearer to the lower left is better.

    Crosses are intervals over units, dots are units; the line is the front of the fixed shares,
    the dotted one the control's full network. Bands along both axes: the floor. `names`: whether
    schedules are named at the right.
    """
    every = pd.concat([data.points[["full", "subnet"]], data.models[["full", "subnet"]]])
    floor = [data.floor.estimate] if data.floor else []
    for name, set_limits in (("full", ax.set_xlim), ("subnet", ax.set_ylim)):
        control = [data.control] if name == "full" and data.control is not None else []
        low, high = (end([*every[name], *control, *floor]) for end in (min, max))
        room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        set_limits(low - room, high + room)
    draw_floor(ax, data.floor)
    draw_floor(ax, data.floor, across=True)
    if len(data.front) > 1:
        ax.plot(*data.front.T, color=FAINT, linewidth=1.0, zorder=1)
    if data.control is not None:
        ax.axvline(data.control, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    of = {"x": "full", "y": "subnet", "hue": "schedule", "palette": dict(colours), "legend": False}
    units = data.models[data.models.duplicated("schedule", keep=False)]
    if len(units):
        seaborn.scatterplot(units, s=5, linewidth=0, alpha=0.6, ax=ax, **of)
    seaborn.scatterplot(data.points, s=25, linewidth=0, zorder=3, ax=ax, **of)
    x, y, x_half, y_half = (data.points[n] for n in ("full", "subnet", "full_half", "subnet_half"))
    shades = [colours[name] for name in data.points["schedule"]]
    ax.hlines(y, x - x_half, x + x_half, shades, linewidth=0.9)
    ax.vlines(x, y - y_half, y + y_half, shades, linewidth=0.9)
    places = data.points[["full", "subnet", "schedule"]].itertuples(index=False)
    if names:
        label_column(ax, [(x, y, name, colours[name]) for x, y, name in places])
    plain(ax, x_ticks=3, y_ticks=4)
    ax.set(xlabel="", ylabel="")


def draw_hypervolume(ax: Axes, table: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """A row a schedule: every unit's hypervolume as a tick, their mean and its 95 % interval.

    Args:
        table: `schedule`, `value`, `low`, `high` (NaN for no interval), `values` (a unit each).
    """
    names = list(table["schedule"])
    of = {"y": "schedule", "order": names, "hue": "schedule", "palette": colours, "legend": False}
    units = table[["schedule", "values"]].explode("values").astype({"values": float})
    look = {"jitter": False, "marker": "|", "size": 6, "linewidth": 1, "alpha": 0.6}
    if len(units) > len(table):
        seaborn.stripplot(units, x="values", ax=ax, **of, **look)
    seaborn.stripplot(table, x="value", ax=ax, jitter=False, size=4.5, **of)
    ax.hlines(names, table["low"], table["high"], colors=[colours[n] for n in names], lw=1.4)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel("hypervolume, share of the rectangle")
    ax.set_ylabel("")
    ax.grid(axis="y", color=ABSENT, linewidth=0.8)
    ax.set_axisbelow(True)
    plain(ax, x_ticks=4, y_ticks=None)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
