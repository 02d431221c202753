"""Drawing of a search over plans: fronts in the (KV, metric) plane, and plans as grids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap

from analysis.figures.frontier import draw_staircase
from analysis.figures.labels import plain
from analysis.figures.theme import ABSENT, FAINT


@dataclass(frozen=True, kw_only=True)
class FrontGroup:
    """Plans (N, 2) of (KV share, metric), and their front (M, 2) as `staircase` gives it."""

    points: np.ndarray
    front: np.ndarray
    colour: str


def draw_fronts(ax: Axes, groups: Mapping[str, FrontGroup], *, limit: float, title: str) -> None:
    """Groups of plans with their staircases, out to the memory limit; lower is better."""
    ax.axvline(limit, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    for i, (name, group) in enumerate(groups.items()):
        if not len(group.points):
            continue
        size = 7.0 if i == 0 else 3.5  # the first shows around what others share with it
        x, y = group.points.T
        ax.plot(x, y, "o", color=group.colour, markersize=size, mew=0, label=name, zorder=3)
        draw_staircase(ax, group.front, edge=1.03 * limit, color=group.colour, linewidth=1.0)
    ax.legend(
        frameon=False,
        fontsize=7,
        loc="lower right",
        bbox_to_anchor=(1.02, 0.99),
        ncol=2,
        columnspacing=1.0,
        handletextpad=0.2,
        borderaxespad=0.0,
    )
    ax.set_title(title)
    ax.set_xlabel("peak KV, share of the full network's")
    plain(ax)


def draw_plan(ax: Axes, layers: Sequence[Sequence[int]], depth: int, *, colour: str) -> None:
    """A plan as a grid: columns are scales, rows are layers, filled where a layer runs."""
    grid = np.zeros((depth, len(layers)))
    for scale, chosen in enumerate(layers):
        grid[list(chosen), scale] = 1
    seaborn.heatmap(
        grid,
        ax=ax,
        cmap=ListedColormap([ABSENT, colour]),
        vmin=0,
        vmax=1,
        cbar=False,
        linewidths=0.6,
        xticklabels=False,
        yticklabels=False,
    )
