"""Drawing of plans: fronts in the (KV, metric) plane, and plans as grids."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from analysis.figures.floor import draw_floor
from analysis.figures.labels import label_column, memory_axes, plain
from analysis.figures.theme import ABSENT
from analysis.statistics.intervals import Interval


def draw_fronts(
    ax: Axes,
    fronts: Mapping[str, np.ndarray],
    looks: Mapping[str, Mapping[str, Any]],
    *,
    full_kv: float,
    floor: Interval | None,
    named: Collection[str] = (),
) -> None:
    """KV against a metric: plans that compete, each front joined in the order of memory. The axes
    have their limits in KV.

    Args:
        fronts: (N, 4) of (KV in bytes, metric, ends of its interval, which NaN leaves out) by name,
            by ascending KV; later ones are drawn above earlier ones.
        looks: colour, and what else tells a front from the others.
        full_kv: bytes that the full network needs.
        named: fronts that are named at the right.
    """
    draw_floor(ax, floor)
    for name, points in fronts.items():
        x, y, low, high = points.T
        look: dict[str, Any] = {"linewidth": 1.0, "markersize": 3.5, "zorder": 2, **looks[name]}
        below = {"color": look["color"], "zorder": look["zorder"] - 1}  # the others' marks
        ax.vlines(x, low, high, linewidth=0.9, **below)
        ax.plot(x, y, linewidth=look.pop("linewidth"), **below)
        ax.plot(x, y, "o", label=name, mew=0, **look)
    ends = [(*fronts[name][-1, :2], name, looks[name]["color"]) for name in named]
    label_column(ax, ends)
    plain(ax)
    memory_axes(ax, full_kv)


def draw_plan(ax: Axes, layers: Sequence[Sequence[int]], depth: int, *, colour: str) -> None:
    """A plan as a grid: columns are scales, rows are layers, filled where a layer runs."""
    grid = np.zeros((depth, len(layers)))
    for scale, chosen in enumerate(layers):
        grid[list(chosen), scale] = 1
    shades = ListedColormap([ABSENT, colour])
    ax.pcolormesh(grid, cmap=shades, vmin=0, vmax=1, edgecolor="white", linewidth=0.6)
    ax.invert_yaxis()
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
