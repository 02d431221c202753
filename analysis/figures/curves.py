"""Drawing training curves, and hypervolumes with their spread over seeds."""

from collections.abc import Mapping

import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes

from analysis.figures.labels import label_column, plain
from analysis.figures.theme import ABSENT


def draw_curves(ax: Axes, curves: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """One plan over training: a line a schedule, with its range over seeds.

    Args:
        curves: `schedule`, `thousands` (of images seen), `mean`, `low`, `high`.
    """
    look = {"hue": "schedule", "palette": dict(colours), "estimator": None, "legend": False}
    sns.lineplot(curves, x="thousands", y="mean", linewidth=1.1, ax=ax, **look)
    for schedule, mine in curves.groupby("schedule", sort=False):
        shade = ax.fill_between(mine["thousands"], mine["low"], mine["high"], linewidth=0)
        shade.set(color=colours[schedule], alpha=0.18)
    ax.set(xlabel="", ylabel="")
    ax.set_xlim(0, curves["thousands"].max())
    low, high = curves["low"].min(), curves["high"].max()
    room = 0.04 * (high - low) or 0.1
    ax.set_ylim(low - room, high + room)
    ends = curves.groupby("schedule", sort=False).last().reset_index()
    places = ends[["thousands", "mean", "schedule"]].itertuples(index=False)
    label_column(ax, [(x, y, name, colours[name]) for x, y, name in places])
    plain(ax, y_ticks=4)


def draw_hypervolume(ax: Axes, table: pd.DataFrame, colours: Mapping[str, str]) -> None:
    """A row a schedule: every seed's hypervolume as a tick, their mean and its 95 % interval.

    Args:
        table: `schedule`, `value`, `low`, `high` (NaN for no interval), `values` (a seed each).
    """
    names = list(table["schedule"])
    of = {"y": "schedule", "order": names, "hue": "schedule", "palette": colours, "legend": False}
    seeds = table[["schedule", "values"]].explode("values").astype({"values": float})
    look = {"jitter": False, "marker": "|", "size": 6, "linewidth": 1, "alpha": 0.6}
    if len(seeds) > len(table):
        sns.stripplot(seeds, x="values", ax=ax, **of, **look)
    sns.stripplot(table, x="value", ax=ax, jitter=False, size=4.5, **of)
    ax.hlines(names, table["low"], table["high"], colors=[colours[n] for n in names], lw=1.4)
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_xlabel("hypervolume, share of the rectangle")
    ax.set_ylabel("")
    ax.grid(axis="y", color=ABSENT, linewidth=0.8)
    ax.set_axisbelow(True)
    plain(ax, x_ticks=4, y_ticks=None)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
