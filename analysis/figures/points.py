"""Points and lines with given intervals, each named beside the axes."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.colours import OTHERS
from analysis.figures.labels import label_column, plain
from analysis.figures.theme import EARLY, INK


def draw_lines(ax: Axes, table: pd.DataFrame, *, title: str, x_label: str) -> None:
    """A line a name over x, named at its end.

    Args:
        table: `name`, `x`, `y`, and `low` and `high` of intervals, NaN where there is none.
    """
    ends = []
    for i, (name, mine) in enumerate(table.groupby("name", sort=False)):
        colour = OTHERS[i % len(OTHERS)]
        ax.plot(mine["x"], mine["y"], "o-", color=colour, linewidth=1.0, markersize=3)
        ax.vlines(mine["x"], mine["low"], mine["high"], color=colour, linewidth=0.8)
        ends.append((mine["x"].iloc[-1], mine["y"].iloc[-1], str(name), colour))
    label_column(ax, ends)
    ax.set(title=title, xlabel=x_label)
    plain(ax, x_ticks=6, whole=True)


def draw_scatter(ax: Axes, table: pd.DataFrame, *, title: str, x_label: str) -> None:
    """Points with 95 % intervals, named in a column at the right; a table as of `draw_lines`."""
    ax.margins(0.06)
    ax.vlines(table["x"], table["low"], table["high"], color=INK, linewidth=0.8)
    ax.plot(table["x"], table["y"], "o", color=EARLY, markersize=4)
    label_column(ax, [(row.x, row.y, row.name, INK) for row in table.itertuples()])
    ax.set(title=title, xlabel=x_label)
    plain(ax)


def draw_curves(
    ax: Axes, curves: pd.DataFrame, colours: Mapping[str, str], *, names: bool = True
) -> None:
    """One plan over training: a line a schedule, with its range over units.

    Args:
        curves: `schedule`, `thousands` (of images seen), `mean`, `low`, `high`.
        names: whether schedules are named at their ends.
    """
    ends = []
    for schedule, mine in curves.groupby("schedule", sort=False):
        name, x, y = str(schedule), mine["thousands"], mine["mean"]
        ax.plot(x, y, color=colours[name], linewidth=1.1)
        shade = ax.fill_between(x, mine["low"], mine["high"], linewidth=0)
        shade.set(color=colours[name], alpha=0.18)
        ends.append((x.iloc[-1], y.iloc[-1], name, colours[name]))
    ax.set_xlim(0, curves["thousands"].max())
    low, high = curves["low"].min(), curves["high"].max()
    room = 0.04 * (high - low) or 0.1
    ax.set_ylim(low - room, high + room)
    if names:
        label_column(ax, ends)
    plain(ax, x_ticks=3, y_ticks=4)


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
