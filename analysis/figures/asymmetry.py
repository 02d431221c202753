"""Drawing of what windows cost, and of claim C1's asymmetry."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.figures.theme import EARLY, FAINT, INK, LATE, WARNING
from analysis.metrics import Metric
from analysis.statistics.asymmetry import PRIMARY, Asymmetry

EDGE = 1.45  # where the axis of an asymmetry that lies within -1 and 1 is cut
POINT = ["name", "estimate", "low", "high", "colour", "marker", "filled"]


def draw_points(ax: Axes, points: pd.DataFrame, *, along: Literal["x", "y"]) -> None:
    """A category a row at the axis `along`, as a mark with its interval.

    Args:
        points: the columns of `POINT`; numbers are NaN for what there is not.
    """
    across, places = ("y" if along == "x" else "x"), range(len(points))
    points = points.assign(**{along: places})  # two metrics may have one name
    for filled, mine in points.dropna(subset="estimate").groupby("filled"):
        # Seaborn estimates from observations: of an interval's ends and what lies between them
        # the median is the estimate, and the range the interval.
        seaborn.pointplot(
            mine.melt(along, ["low", "estimate", "high"], value_name=across).dropna(),
            x="x",
            y="y",
            order=places,
            orient=along,
            hue=along,
            hue_order=list(mine[along]),
            palette=list(mine["colour"]),
            markers=list(mine["marker"]),
            estimator="median",
            errorbar=("pi", 100),
            linestyle="none",
            markersize=4.2,
            err_kws={"linewidth": 1.4, "zorder": 2},
            zorder=3,
            legend=False,
            ax=ax,
            **({} if filled else {"markerfacecolor": "white"}),
        )
    ax.set(xlabel="", ylabel="")
    ends = (-0.6, len(points) - 0.4)
    ticks: dict[str, Any] = {f"{along}ticks": places, f"{along}ticklabels": points["name"]}
    ax.set(**ticks, **{f"{along}lim": ends if along == "x" else ends[::-1]})


def draw_window_damage(
    ax: Axes, metric: Metric, damage: pd.DataFrame, scales: Mapping[str, Sequence[int]]
) -> None:
    """Damage of each window at half depth, with its 95 % interval.

    Args:
        damage: one metric of `cells_by`, indexed by window.
    """
    names = [f"{name}\n{scale_range(scales[name])}" for name in damage.index]
    colours = [{"early": EARLY, "late": LATE}.get(name, FAINT) for name in damage.index]
    points = damage.rename(columns={"damage": "estimate"})
    points = points.assign(name=names, colour=colours, marker="o", filled=True)
    ax.axhline(0, color=FAINT, linewidth=0.6, zorder=1)
    draw_points(ax, points, along="x")
    for place in np.flatnonzero(damage["failed"]):
        look: dict[str, Any] = {"ha": "center", "va": "center", "rotation": 90, "fontsize": 7}
        look["transform"] = ax.get_xaxis_transform()
        ax.text(float(place), 0.5, "failed", color=WARNING, **look)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.set_title(metric.damage_heading)


def scale_range(scales: Sequence[int]) -> str:
    """ "1-3" for consecutive scales, "1, 4" otherwise, with an en dash."""
    ordered = sorted(scales)
    if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}\u2013{ordered[-1]}"
    return ", ".join(str(s) for s in ordered)


def draw_asymmetry(ax: Axes, group: Sequence[Asymmetry]) -> None:
    """A of each metric with its 95 % interval, under one normalisation, as shares of both terms.

    Filled: significant, each by itself. Grey diamonds: NLL.
    """
    rows = []
    for a in group:
        side = EARLY if a.difference.estimate > 0 else LATE
        colour, marker = (side, "o") if a.metric.decides else (FAINT, "D")
        rows.append((a.metric.short, *a.share, colour, marker, a.sign != 0))
    ax.axvline(0, color=INK, linewidth=0.6, zorder=1)
    draw_points(ax, pd.DataFrame(rows, columns=POINT), along="y")
    ax.set_xlim(-EDGE, EDGE)
    ax.set_xticks([-1, 0, 1], ["\u22121\nlate", "0\n", "+1\nearly"])
    for label, colour in zip(ax.get_xticklabels(), (LATE, INK, EARLY), strict=True):
        label.set_color(colour)
    normalisation = group[0].normalisation
    primary = normalisation is PRIMARY
    title = f"{normalisation.value} (primary)" if primary else normalisation.value
    ax.set_title(title, fontweight="bold" if primary else "normal")
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
