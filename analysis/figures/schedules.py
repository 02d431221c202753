"""Drawing of a search over schedules: objectives, schedules as curves, slices and importances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from analysis.figures.fronts import label_column
from analysis.figures.theme import FAINT, INK
from analysis.searches.schedules import PARAMETERS

RANKS = "viridis"  # the best is dark
OBJECTIVE_COLOURS = {"full": "#0072b2", "subnets": "#d55e00"}


def rank_colours(ranks: Sequence[int]) -> ScalarMappable:
    """The colour of each rank; also what a colour bar needs."""
    return ScalarMappable(Normalize(1, max(2, *ranks)), mpl.colormaps[RANKS])


def draw_objectives(ax: Axes, table: pd.DataFrame, chosen: Mapping[str, int]) -> None:
    """Trials in the plane of both objectives; rings mark those that were trained again.

    Args:
        table: of `trial_table`.
        chosen: what was won, by trial number.
    """
    colours = rank_colours(table["rank"])
    front = table[table["front"]].sort_values("full")
    ax.plot(front["full"], front["subnets"], color=FAINT, linewidth=0.9, zorder=1)
    named = []
    for row in table.itertuples():
        colour = colours.to_rgba(row.rank)
        fixed = isinstance(row.label, str)
        ax.plot(
            row.full,
            row.subnets,
            "s" if fixed else "o",
            color=colour,
            markersize=4.5,
            mew=0,
            zorder=3,
        )
        if row.number in chosen.values():
            ax.plot(row.full, row.subnets, "o", mfc="none", mec=INK, markersize=9, zorder=2)
        if fixed:
            named.append((row.full, row.subnets, row.label, INK))
    ax.margins(0.08)
    ax.set_xlim(ax.get_xlim())
    ax.set_ylim(ax.get_ylim())
    label_column(ax, named)
    ax.set_xlabel("NLL of the full network [nats/token]")
    ax.set_title("mean NLL of the subnets [nats/token]")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)


def draw_schedules(
    ax: Axes, table: pd.DataFrame, curves: Mapping[int, Sequence[float]], *, paper: int | None
) -> None:
    """Subnet share over training, a line a trial, the best on top; the paper's is dashed."""
    colours = rank_colours(table["rank"])
    for row in table.sort_values("rank", ascending=False).itertuples():
        share = np.asarray(curves[row.number], dtype=float)
        progress = np.linspace(0, 1, len(share))
        ax.plot(progress, share, color=colours.to_rgba(row.rank), linewidth=1.2)
        if row.number == paper:
            ax.plot(progress, share, color=INK, linewidth=1.2, linestyle=(0, (3, 2)), zorder=5)
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("training progress (dashed: the paper's)")
    ax.set_title("share of subnet steps")
    ax.spines[["top", "right"]].set_visible(False)
    bar = ax.figure.colorbar(colours, ax=ax, fraction=0.05, pad=0.03)
    bar.set_label("rank by the mean of both NLL", fontsize=7)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)


def draw_slice(ax: Axes, table: pd.DataFrame, parameter: str, objective: str) -> None:
    """One objective against one parameter."""
    colours = rank_colours(table["rank"])
    shade = [colours.to_rgba(rank) for rank in table["rank"]]
    x = table[parameter]
    if x.dtype == object or isinstance(x.dtype, pd.StringDtype):
        names = sorted(set(x))
        ax.set_xticks(range(len(names)), names, fontsize=6, rotation=45, ha="right")
        ax.set_xlim(-0.5, len(names) - 0.5)
        x = x.map(names.index)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(3))
    ax.scatter(x, table[objective], c=shade, s=10, linewidths=0)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize=6)
    ax.spines[["top", "right"]].set_visible(False)


def draw_importances(ax: Axes, found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> None:
    """A bar a parameter and objective, with one standard deviation over forests."""
    height = 0.8 / max(1, len(found))
    for i, (objective, values) in enumerate(found.items()):
        places = np.arange(len(PARAMETERS)) + (i - (len(found) - 1) / 2) * height
        ax.barh(
            places,
            [values[name]["mean"] for name in PARAMETERS],
            height=0.9 * height,
            xerr=[values[name]["sd"] for name in PARAMETERS],
            color=OBJECTIVE_COLOURS[objective],
            error_kw={"elinewidth": 0.8, "ecolor": INK},
            label=f"NLL of {objective}",
        )
    ax.set_yticks(range(len(PARAMETERS)), PARAMETERS)
    ax.invert_yaxis()
    ax.set_xlim(0, None)
    ax.set_xlabel("share of the explained variance")
    ax.legend(frameon=False, fontsize=7, loc="lower right")
    ax.spines[["top", "right"]].set_visible(False)
