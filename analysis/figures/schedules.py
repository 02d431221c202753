"""Drawing of a search over schedules: objectives, schedules as curves, slices and importances.

Optuna's own plots of slices and importances want its database, and know neither ranks nor a spread
over forests; ours draw what the study wrote down.
"""

from collections.abc import Collection, Mapping, Sequence
from operator import attrgetter

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator

from analysis.figures.labels import label_column, plain
from analysis.figures.theme import FAINT, INK
from analysis.search_file import Importance
from analysis.study_file import Zone

RANKS = "viridis"  # the best is dark
OBJECTIVE_COLOURS = {"full": "#0072b2", "subnets": "#d55e00"}


def rank_colours(ranks: Sequence[int]) -> ScalarMappable:
    """The colour of each rank; also what a colour bar needs."""
    return ScalarMappable(Normalize(1, max(2, *ranks)), RANKS)


def _draw_trials(ax: Axes, table: pd.DataFrame, x: str, y: str, *, size: float) -> None:
    """A point a trial in the colour of its rank, the best on top; squares have a label."""
    ranked = table.sort_values("rank", ascending=False)
    seaborn.scatterplot(
        x=ranked[x],
        y=ranked[y],
        hue=ranked["rank"],
        hue_norm=rank_colours(ranked["rank"]).norm,
        palette=RANKS,
        style=ranked["label"].notna(),
        markers={False: "o", True: "s"},
        s=size,
        linewidth=0,
        legend=False,
        ax=ax,
        zorder=3,
    )


def draw_objectives(ax: Axes, table: pd.DataFrame, chosen: Collection[int]) -> None:
    """Trials in the plane of both objectives; rings mark those that were trained again.

    Args:
        table: of `trial_table`.
        chosen: numbers of the trials that won.
    """
    front = table[table["front"]].sort_values("full")
    ax.plot(front["full"], front["subnets"], color=FAINT, linewidth=0.9, zorder=1)
    _draw_trials(ax, table, "full", "subnets", size=20)
    won = table[table["number"].isin(chosen)]
    ax.plot(won["full"], won["subnets"], "o", mfc="none", mec=INK, markersize=9, zorder=2)
    ax.margins(0.08)
    named = table.dropna(subset="label")[["full", "subnets", "label"]]
    label_column(ax, [(*row, INK) for row in named.itertuples(index=False)])
    title = "mean NLL of the subnets [nats/token]"
    ax.set(title=title, xlabel="NLL of the full network [nats/token]", ylabel="")
    plain(ax)


def draw_schedules(ax: Axes, table: pd.DataFrame) -> None:
    """Subnet share over training, a line a trial, the best on top; dashed: the reference."""
    colours = rank_colours(table["rank"])
    for row in table.sort_values("rank", ascending=False).itertuples():
        progress = np.linspace(0, 1, len(row.curve))
        ax.plot(progress, row.curve, color=colours.to_rgba(row.rank), linewidth=1.2)
        if row.is_reference:
            ax.plot(progress, row.curve, color=INK, linewidth=1.2, linestyle=(0, (3, 2)), zorder=5)
    ax.set_xlim(0, 1)
    ax.set_ylim(-0.03, 1.03)
    ax.set(title="share of subnet steps", xlabel="training progress (dashed: the paper's)")
    bar = ax.figure.colorbar(colours, ax=ax, fraction=0.05, pad=0.03)
    bar.set_label("rank by the mean of both NLL", fontsize=7)
    bar.ax.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    bar.ax.invert_yaxis()
    bar.outline.set_visible(False)


def draw_slice(ax: Axes, table: pd.DataFrame, parameter: str, objective: str) -> None:
    if pd.api.types.is_numeric_dtype(table[parameter]):
        ax.xaxis.set_major_locator(MaxNLocator(3))
    else:
        names = sorted(set(table[parameter]))
        table = table.assign(**{parameter: table[parameter].map(names.index)})
        ax.set_xticks(range(len(names)), names, rotation=45, ha="right")
        ax.set_xlim(-0.5, len(names) - 0.5)
    _draw_trials(ax, table, parameter, objective, size=10)
    ax.set_xlabel("")
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.tick_params(labelsize=6)


def draw_importances(ax: Axes, found: Mapping[Zone, Mapping[str, Importance]]) -> None:
    """A bar a parameter and objective, with one standard deviation over forests."""
    table = pd.DataFrame({f"NLL of {zone}": dict(values) for zone, values in found.items()})
    means, spreads = table.map(attrgetter("mean")), table.map(attrgetter("sd"))
    colours = [OBJECTIVE_COLOURS[zone] for zone in found]
    look = {"width": 0.8, "ecolor": INK, "error_kw": {"elinewidth": 0.8}, "legend": False}
    means.plot.barh(ax=ax, xerr=spreads, color=colours, **look)
    ax.invert_yaxis()
    ax.set_xlim(0, None)
    ax.set(xlabel="share of the explained variance", ylabel="")
    ax.legend(frameon=False, fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
