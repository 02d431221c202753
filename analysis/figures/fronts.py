"""Drawing the pareto study: small multiples and label columns, so that nothing overlaps at any
number of schedules."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.ticker import MaxNLocator

from analysis.figures.theme import ABSENT, FAINT, INK
from analysis.statistics.fronts import non_dominated
from analysis.statistics.levels import CONTROL

# Okabe and Ito's colours; fixed shares take one hue from light to dark, since they are ordered.
NAMED = {CONTROL: "#555555", "progressive": "#d55e00", "reversed": "#009e73", "sandwich": "#cc79a7"}
FIXED = ("#74b3dd", "#4f97cb", "#2f7fbc", "#1a62a5", "#08427c", "#042451")
OTHERS = ("#e69f00", "#117733", "#882255", "#44aa99", "#999933", "#332288")
MARKERS = "osD^vP*X<>hp"


def colours_of(schedules: Sequence[str]) -> dict[str, str]:
    """A colour a schedule."""
    fixed = [s for s in schedules if s.startswith("fixed ") and "(" not in s]
    found, others = {}, 0
    for schedule in schedules:
        if schedule in NAMED:
            found[schedule] = NAMED[schedule]
        elif schedule in fixed:
            place = fixed.index(schedule) * (len(FIXED) - 1) / max(1, len(fixed) - 1)
            found[schedule] = FIXED[round(place)]
        else:
            found[schedule] = OTHERS[others % len(OTHERS)]
            others += 1
    return found


def spread(places: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Positions as near as possible to `places`, in their order, at least `gap` apart.

    They lie in low..high where that has room for all, else evenly from low to high.
    """
    wanted = np.asarray(places, dtype=float)
    order = np.argsort(wanted, kind="stable")
    count = len(wanted)
    if count and gap * (count - 1) >= high - low:
        result = np.empty(count)
        result[order] = np.linspace(low, high, count)
        return result
    # Least squares under a monotone constraint, once each place is moved back by its rank's gap.
    shifted = wanted[order] - gap * np.arange(count)
    blocks: list[list[float]] = []
    for value in shifted:
        blocks.append([value, 1.0])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            value2, weight2 = blocks.pop()
            value1, weight1 = blocks.pop()
            weight = weight1 + weight2
            blocks.append([(value1 * weight1 + value2 * weight2) / weight, weight])
    level = np.concatenate([np.full(int(w), v) for v, w in blocks]) if blocks else np.empty(0)
    level = np.clip(level, low, high - gap * (count - 1))
    result = np.empty(count)
    result[order] = level + gap * np.arange(count)
    return result


def label_column(
    ax: Axes, points: Sequence[tuple[float, float, str, str]], *, gap_points: float = 9.5
) -> None:
    """Names right of the axes, at their points' heights where there is room, joined by leaders.

    Args:
        points: (x, y, name, colour) in data coordinates, on linear axes with their limits set.
    """
    if not points:
        return
    (left, right), (bottom, top) = ax.get_xlim(), ax.get_ylim()
    height = 72 * ax.figure.get_figheight() * ax.get_position().height
    heights = [(y - bottom) / (top - bottom) for _, y, _, _ in points]
    places = spread(heights, gap_points / height, 0.0, 1.0)
    for (x, _, name, colour), from_y, place in zip(points, heights, places, strict=True):
        from_x = (x - left) / (right - left)
        ax.plot(
            [from_x, 1.01, 1.04],
            [from_y, place, place],
            transform=ax.transAxes,
            color=colour,
            linewidth=0.4,
            clip_on=False,
            alpha=0.7,
            zorder=1,
        )
        ax.text(
            1.05,
            place,
            name,
            transform=ax.transAxes,
            color=colour,
            fontsize=7,
            va="center",
            ha="left",
        )


@dataclass(frozen=True, kw_only=True)
class FrontierPanel:
    """One schedule in the (KV, quality) plane.

    Attributes:
        points: its plans, averaged over seeds: `cell`, `trained`, `kv_share`, `value`, `damage`.
        front: the joint front of all schedules' trained plans, (n, 2) of (KV share, value).
        budgets: memory limits, as shares of the full network's KV.
        surfaces: attainment surfaces (percentage of seeds to points), if any.
    """

    schedule: str
    colour: str
    points: pd.DataFrame
    front: np.ndarray
    budgets: Sequence[float]
    surfaces: Mapping[int, np.ndarray]
    higher_is_better: bool = False


def _steps(front_N2: np.ndarray, edge: float) -> tuple[np.ndarray, np.ndarray]:
    """A staircase through points that are lower-left better, out to `edge`."""
    ordered = front_N2[np.argsort(front_N2[:, 0])]
    x = np.repeat(ordered[:, 0], 2)
    y = np.repeat(ordered[:, 1], 2)
    return np.append(x[1:], edge), y


def draw_frontier(ax: Axes, data: FrontierPanel, *, limits: tuple[float, float]) -> None:
    """Plans of one schedule; filled where the model was trained for them, hollow elsewhere."""
    ax.set_xlim(0, 1.08)
    ax.set_ylim(*limits)
    for budget in data.budgets:
        ax.axvline(budget, color=ABSENT, linewidth=1.0, zorder=0)
    ax.axvline(1.0, color=FAINT, linewidth=0.6, linestyle=(0, (1, 1.5)), zorder=0)
    if len(data.front):
        ax.plot(*_steps(data.front, 1.08), color=FAINT, linewidth=0.9, zorder=1)
    if {0, 100} <= data.surfaces.keys():
        for percentage, style in ((0, ":"), (50, "-"), (100, ":")):
            surface = data.surfaces.get(percentage)
            if surface is not None and len(surface):
                ax.plot(
                    *_steps(surface, 1.08),
                    color=data.colour,
                    linewidth=0.8,
                    linestyle=style,
                    zorder=2,
                )
    trained = data.points[data.points["trained"]]
    hollow = data.points[~data.points["trained"]]
    ax.plot(
        hollow["kv_share"],
        hollow["value"],
        "o",
        markersize=3,
        markerfacecolor="white",
        markeredgecolor=data.colour,
        markeredgewidth=0.6,
        zorder=2,
    )
    ax.plot(trained["kv_share"], trained["value"], "o", markersize=4.2, color=data.colour, zorder=3)
    ax.set_title(data.schedule, color=data.colour, fontweight="bold")
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.spines[["top", "right"]].set_visible(False)


@dataclass(frozen=True, kw_only=True)
class TradePanel:
    """The (full, subnet) plane of one metric: a point a schedule, and the fixed shares' front.

    Attributes:
        points: `schedule`, `full`, `subnet` and the half-widths of their 95 % intervals
            `full_half`, `subnet_half` (NaN for none), averaged over seeds.
        seeds: `schedule`, `full`, `subnet` of every model.
        front: (n, 2) of the fixed shares, in the order of the polyline.
        control: full-network value of the control, None without one.
    """

    title: str
    x_label: str
    y_label: str
    points: pd.DataFrame
    seeds: pd.DataFrame
    front: np.ndarray
    colours: Mapping[str, str]
    control: float | None = None


def draw_trade(ax: Axes, data: TradePanel) -> None:
    """Every schedule's full network against its subnet; nearer to the lower left is better."""
    every = pd.concat([data.points[["full", "subnet"]], data.seeds[["full", "subnet"]]])
    for name, set_limits in (("full", ax.set_xlim), ("subnet", ax.set_ylim)):
        low, high = every[name].min(), every[name].max()
        if name == "full" and data.control is not None:
            low, high = min(low, data.control), max(high, data.control)
        room = 0.08 * (high - low) or 0.05 * abs(high) or 1.0
        set_limits(low - room, high + room)
    if len(data.front) > 1:
        ax.plot(data.front[:, 0], data.front[:, 1], color=FAINT, linewidth=1.0, zorder=1)
    if data.control is not None:
        ax.axvline(data.control, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    labels = []
    for row in data.points.itertuples():
        colour = data.colours[row.schedule]
        mine = data.seeds[data.seeds["schedule"] == row.schedule]
        if len(mine) > 1:
            ax.plot(mine["full"], mine["subnet"], ".", color=colour, markersize=2.5, alpha=0.6)
        if math.isfinite(row.full_half):
            ax.plot(
                [row.full - row.full_half, row.full + row.full_half],
                [row.subnet] * 2,
                color=colour,
                linewidth=0.9,
            )
        if math.isfinite(row.subnet_half):
            ax.plot(
                [row.full] * 2,
                [row.subnet - row.subnet_half, row.subnet + row.subnet_half],
                color=colour,
                linewidth=0.9,
            )
        ax.plot(row.full, row.subnet, "o", color=colour, markersize=5, zorder=3)
        labels.append((row.full, row.subnet, row.schedule, colour))
    label_column(ax, labels)
    ax.set_title(data.title)
    ax.set_xlabel(data.x_label)
    ax.set_ylabel(data.y_label)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)


def draw_hypervolume(
    ax: Axes, table: pd.DataFrame, colours: Mapping[str, str], *, title: str, names: bool
) -> None:
    """A row a schedule: every seed's hypervolume, their mean and its 95 % interval."""
    for y, row in enumerate(table.itertuples()):
        colour = colours[row.schedule]
        if math.isfinite(row.low):
            ax.plot([row.low, row.high], [y, y], color=colour, linewidth=1.4)
        if len(row.values) > 1:
            ax.plot(row.values, [y] * len(row.values), "|", color=colour, markersize=6, alpha=0.6)
        ax.plot(row.value, y, "o", color=colour, markersize=4.5)
    ax.set_yticks(range(len(table)), list(table["schedule"]) if names else [""] * len(table))
    ax.set_ylim(len(table) - 0.4, -0.6)
    ax.set_title(title)
    ax.set_xlabel("hypervolume, share of the reference rectangle (more is better)")
    ax.xaxis.set_major_locator(MaxNLocator(4))
    ax.grid(axis="y", color=ABSENT, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)


def draw_curves(ax: Axes, curves: pd.DataFrame, colours: Mapping[str, str], *, title: str) -> None:
    """One plan over training: a line a schedule, the mean over seeds, with their range."""
    ends = []
    for schedule, mine in curves.groupby("schedule", sort=False):
        by_images = mine.groupby("images_seen")["value"].agg(["mean", "min", "max"])
        images = by_images.index.to_numpy(dtype=float) / 1000
        colour = colours[schedule]
        ax.plot(images, by_images["mean"], color=colour, linewidth=1.1)
        if mine["seed"].nunique() > 1:
            ax.fill_between(
                images, by_images["min"], by_images["max"], color=colour, alpha=0.18, linewidth=0
            )
        ends.append((images[-1], float(by_images["mean"].iloc[-1]), schedule, colour))
    ax.set_title(title)
    ax.set_xlim(0, curves["images_seen"].max() / 1000)
    low, high = curves["value"].min(), curves["value"].max()
    room = 0.04 * (high - low) or 0.1
    ax.set_ylim(low - room, high + room)
    label_column(ax, ends)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.spines[["top", "right"]].set_visible(False)


def draw_fronts(
    ax: Axes, groups: Mapping[str, tuple[np.ndarray, np.ndarray, str]], *, limit: float, title: str
) -> None:
    """Groups of plans in the (KV share, metric) plane with their staircases; lower is better."""
    ax.axvline(limit, color=FAINT, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=0)
    for i, (name, (x, y, colour)) in enumerate(groups.items()):
        if not len(x):
            continue
        points = np.column_stack([x, y])
        size = 7.0 if i == 0 else 3.5  # the first shows around what others share with it
        ax.plot(x, y, "o", color=colour, markersize=size, mew=0, label=name, zorder=3)
        kept = points[non_dominated(points)]
        ax.plot(*_steps(kept, 1.03 * limit), color=colour, linewidth=1.0)
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
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)


def draw_plan(ax: Axes, layers: Sequence[Sequence[int]], depth: int, *, colour: str) -> None:
    """A plan as a grid: columns are scales, rows are layers, filled where a layer runs."""
    grid = np.zeros((depth, len(layers)))
    for scale, chosen in enumerate(layers):
        grid[list(chosen), scale] = 1
    ax.pcolormesh(
        grid,
        cmap=ListedColormap([ABSENT, colour]),
        vmin=0,
        vmax=1,
        edgecolors="white",
        linewidth=0.6,
    )
    ax.set_xticks([])
    ax.set_yticks([])
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)


def draw_lines(
    ax: Axes,
    lines: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence, str]],
    *,
    title: str,
    x_label: str,
) -> None:
    """Lines by name: x, y, (low, high) or None a point, colour; named at their ends."""
    ends = []
    for name, (x, y, spreads, colour) in lines.items():
        ax.plot(x, y, "o-", color=colour, linewidth=1.0, markersize=3)
        for at, ends_of in zip(x, spreads, strict=True):
            if ends_of is not None and all(map(math.isfinite, ends_of)):
                ax.plot([at, at], ends_of, color=colour, linewidth=0.8)
        if len(x):
            ends.append((x[-1], y[-1], name, colour))
    ax.set_xlim(*ax.get_xlim())
    ax.set_ylim(*ax.get_ylim())
    label_column(ax, ends)
    ax.set_title(title)
    ax.set_xlabel(x_label)
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)


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
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.spines[["top", "right"]].set_visible(False)
