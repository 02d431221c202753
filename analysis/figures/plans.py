"""Drawing of a search over plans: fronts in the (KV, metric) plane, and plans as grids."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from analysis.figures.floor import draw_floor
from analysis.figures.labels import memory_axes, plain
from analysis.figures.theme import ABSENT, FAINT
from analysis.statistics.intervals import Interval


def draw_fronts(
    ax: Axes,
    groups: Mapping[str, np.ndarray],
    colours: Mapping[str, str],
    *,
    limit: float,
    full_kv: float,
    floor: Interval | None = None,
) -> None:
    """Groups of plans, out to the memory limit, each joined in the order in which it was chosen: no
    front is picked on what is drawn.

    Args:
        groups: (N, 4) of (KV in bytes, metric, ends of its interval) by name, by ascending KV;
            lower is better.
        limit, full_kv: bytes; the memory limit, and what the full network needs.
    """
    ax.axvline(limit, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    for i, (name, points) in enumerate(groups.items()):
        if not len(points):
            continue
        size = 7.0 if i == 0 else 3.5  # the first shows around what others share with it
        x, y, low, high = points.T
        ax.vlines(x, low, high, color=colours[name], linewidth=0.8, zorder=2)
        ax.plot(x, y, "o", label=name, color=colours[name], ms=size, mew=0, zorder=3)
        ax.plot(x, y, color=colours[name], linewidth=1.0, zorder=1)
    draw_floor(ax, floor)
    plain(ax)
    ax.set_xlim(0, 1.06 * limit)
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
