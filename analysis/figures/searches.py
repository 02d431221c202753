"""Drawing of a search over plans: two fronts in a plane, and plans as grids of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator

from analysis.figures.theme import ABSENT, FAINT


@dataclass(frozen=True, kw_only=True)
class FrontPanel:
    """Groups of plans in the (KV share, metric) plane; lower is better.

    Attributes:
        points, fronts: group to (n, 2), the front by ascending KV.
        limit: of the KV share.
    """

    title: str
    points: Mapping[str, np.ndarray]
    fronts: Mapping[str, np.ndarray]
    colours: Mapping[str, str]
    limit: float


def draw_fronts(ax: Axes, data: FrontPanel) -> None:
    """The plans of each group with their staircase."""
    ax.axvline(data.limit, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    for i, (group, points) in enumerate(data.points.items()):
        if not len(points):
            continue
        colour = data.colours[group]
        size = 7.0 if i == 0 else 3.5  # the first shows around what others share with it
        ax.plot(*points.T, "o", color=colour, markersize=size, mew=0, label=group, zorder=3)
        x, y = data.fronts[group].T
        stairs = np.append(x, 1.03 * data.limit), np.append(y, y[-1])
        ax.plot(*stairs, drawstyle="steps-post", color=colour, linewidth=1.0)
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
    ax.set_title(data.title)
    ax.set_xlabel("peak KV, share of the full network's")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)


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
