"""Points and lines with given intervals, each named beside the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.figures.colours import OTHERS
from analysis.figures.labels import label_column, plain
from analysis.figures.theme import INK


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
    ax.set_xlim(*ax.get_xlim())
    ax.set_ylim(*ax.get_ylim())
    label_column(ax, ends)
    ax.set_title(title)
    ax.set_xlabel(x_label)
    plain(ax, x_ticks=6, whole=True)


@dataclass(frozen=True, kw_only=True)
class ScatterPanel:
    """Any study's plans: a metric against the KV cache, each point with its name."""

    title: str
    x_label: str
    names: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]


def draw_scatter(ax: Axes, data: ScatterPanel) -> None:
    """Points with 95 % intervals, named in a column at the right."""
    x, y = np.asarray(data.x, dtype=float), np.asarray(data.y, dtype=float)
    ends = np.concatenate([y, data.low, data.high])
    ends = ends[np.isfinite(ends)]
    room = 0.06 * float(np.ptp(ends)) or 0.05 * abs(float(ends[0])) or 1.0
    ax.set_ylim(ends.min() - room, ends.max() + room)
    wide = 0.06 * float(np.ptp(x)) or 0.05 * abs(float(x[0])) or 1.0
    ax.set_xlim(x.min() - wide, x.max() + wide)
    for i in range(len(x)):
        if math.isfinite(data.low[i]):
            ax.plot([x[i]] * 2, [data.low[i], data.high[i]], color=INK, linewidth=0.8)
        ax.plot(x[i], y[i], "o", color="#0072b2", markersize=4)
    label_column(ax, [(a, b, name, INK) for a, b, name in zip(x, y, data.names, strict=True)])
    ax.set_title(data.title)
    ax.set_xlabel(data.x_label)
    plain(ax)
