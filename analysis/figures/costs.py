"""Drawing of what generations cost: memory over their course, latency by scale and stage, the
speed-up that depth gives, and memory beside other ways to hold it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.efficiency_file import STAGES
from analysis.figures.colours import FIXED, OTHERS
from analysis.figures.labels import label_column, plain
from analysis.figures.theme import ABSENT, FAINT, INK, WARNING
from analysis.numbers import byte_unit

STAGE_COLOURS = {
    "condition": "#999999",
    "blocks": "#1a62a5",
    "head": "#74b3dd",
    "sampling": "#e69f00",
    "map": "#44aa99",
    "decode": "#882255",
}
STAGE_WIDTHS = {"condition": 0.1, "blocks": 0.6, "head": 0.13, "sampling": 0.14, "map": 0.13}
DECODE_WIDTH = 1.6  # scales
SAMPLER_COLOURS = (INK, *reversed(FIXED))
"""The reference's style, then ours by plan, the full network first."""


def draw_memory_course(ax: Axes, course: pd.DataFrame, names: Sequence[str], *, title: str) -> None:
    """A line a sampler of what is alive, its cache by arithmetic dotted under it, stage by stage.

    Args:
        course: `sampler` (place in `names`), `scale`, `stage`, `peak`, `kv`, in order.
    """
    unit, size = byte_unit(course["peak"].max())
    scales = int(course["scale"].max())
    ends = []
    for place, mine in course.groupby("sampler"):
        colour = SAMPLER_COLOURS[int(place) % len(SAMPLER_COLOURS)]
        x, peak, kv = [], [], []
        for row in mine.itertuples():
            left, right = _place(row.scale, row.stage, scales)
            x += [left, right]
            peak += [row.peak / size] * 2
            kv += [row.kv / size] * 2
        dashes = "-" if place else (0, (4, 1.5))
        ax.plot(x, peak, color=colour, linewidth=1.2, linestyle=dashes)
        if place:
            ax.plot(x, kv, color=colour, linewidth=0.8, linestyle=(0, (1, 1)))
        ends.append((x[-1], peak[-1], names[int(place)], colour))
    ax.set_ylim(0, 1.08 * course["peak"].max() / size)
    for scale in range(scales):
        for stage in STAGE_WIDTHS:
            left, right = _place(scale + 1, stage, scales)
            ax.axvspan(left, right, color=STAGE_COLOURS[stage], alpha=0.10, linewidth=0)
    left, right = _place(scales, "decode", scales)
    ax.axvspan(left, right, color=STAGE_COLOURS["decode"], alpha=0.10, linewidth=0)
    ax.set_xlim(0, right)
    middles = [*np.arange(scales) + 0.5, (left + right) / 2]
    ax.set_xticks(middles, [*map(str, range(1, scales + 1)), "decode"])
    ax.tick_params(axis="x", length=0)
    ax.set(title=title, xlabel="scale", ylabel=f"alive beside the weights [{unit}]")
    label_column(ax, ends)


def _place(scale: int, stage: str, scales: int) -> tuple[float, float]:
    """Where a stage lies on the way through a generation, a scale being one wide."""
    if stage == "decode":
        return scales, scales + DECODE_WIDTH
    before = list(STAGE_WIDTHS)[: list(STAGE_WIDTHS).index(stage)]
    left = scale - 1 + sum(STAGE_WIDTHS[name] for name in before) / sum(STAGE_WIDTHS.values())
    return left, left + STAGE_WIDTHS[stage] / sum(STAGE_WIDTHS.values())


def draw_stage_latency(ax: Axes, by_scale: pd.DataFrame, *, title: str, most: float) -> None:
    """A bar a scale, stacked by stage, and one for decoding.

    Args:
        by_scale: a row a scale (from 1), a column a stage, seconds.
        most: height of the panel.
    """
    unit, size = ("s", 1.0) if most >= 1 else ("ms", 1e-3)
    scales, bottom = len(by_scale), np.zeros(len(by_scale) + 1)
    for stage in STAGES:
        values = np.append(by_scale[stage].to_numpy(), 0.0) / size
        if stage == "decode":
            values = np.append(np.zeros(scales), by_scale[stage].sum()) / size
        ax.bar(range(scales + 1), values, bottom=bottom, color=STAGE_COLOURS[stage], width=0.8)
        bottom += values
    ax.set_ylim(0, 1.05 * most / size)
    ax.set(title=title, ylabel=f"latency [{unit}]")
    ax.set_xticks(range(scales + 1), [*map(str, range(1, scales + 1)), "dec"], fontsize=6.5)
    ax.tick_params(axis="x", length=0)


def draw_stage_key(ax: Axes, title: str) -> None:
    """What the colours of stages are, in place of a panel, under what all panels are of."""
    ax.set_title(title, fontsize=7)
    for i, stage in enumerate(STAGES):
        y = 0.9 - 0.15 * i
        ax.barh(y, 0.12, height=0.09, color=STAGE_COLOURS[stage])
        ax.text(0.18, y, stage, va="center", fontsize=7)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    ax.set_axis_off()


def draw_speedup(ax: Axes, table: pd.DataFrame, *, title: str, ceiling: str) -> None:
    """Speed-up against the ratio of FLOPs: filled of the transformer's stages, hollow of the whole
    generation, with ranges over repeats; on the line where FLOPs are all.

    Args:
        table: `name` (of the batch), `plan`, `x`, `transformer`, `y`, `low`, `high`.
    """
    most = 1.08 * max(table["x"].max(), table[["transformer", "y", "high"]].max().max())
    ax.plot([1, most], [1, most], color=FAINT, linewidth=0.9)
    ax.text(0.97 * most, most, f"{ceiling}  ", ha="right", va="top", fontsize=7, color=FAINT)
    ends = []
    for i, (name, mine) in enumerate(table.groupby("name", sort=False)):
        colour = OTHERS[i % len(OTHERS)]
        ends.append((mine["x"].iloc[-1], mine["transformer"].iloc[-1], str(name), colour))
        ax.plot(mine["x"], mine["transformer"], "o-", color=colour, markersize=4, linewidth=0.9)
        ax.vlines(mine["x"], mine["low"], mine["high"], color=colour, linewidth=0.8)
        look: dict[str, Any] = {"mfc": "white", "markersize": 4, "linewidth": 0.7}
        ax.plot(mine["x"], mine["y"], "o", color=colour, linestyle=(0, (2, 1.5)), **look)
    first = table[table["name"] == table["name"].iloc[0]]
    for row in first.itertuples():
        ax.annotate(
            row.plan, (row.x, 1), (0, 3), textcoords="offset points", fontsize=6.5, ha="center"
        )
    ax.set_xlim(0.95, most)
    ax.set_ylim(min(0.95, 0.95 * table[["low", "y"]].min().min()), most)
    label_column(ax, ends)
    over = "of the full network over the plan's"
    ax.set(title=title, xlabel=f"FLOPs {over}", ylabel=f"time {over}")
    plain(ax)


def draw_memory_bars(
    ax: Axes, table: pd.DataFrame, colours: Mapping[str, str], *, title: str
) -> None:
    """Bars in groups, a group a plan, a colour a way to hold memory; marks for published figures.

    Args:
        table: `plan`, a column for each of `colours` in bytes, and `published` (NaN for none).
    """
    unit, size = byte_unit(table[list(colours)].max().max())
    wide, places = 0.8 / len(colours), np.arange(len(table))
    for i, (name, colour) in enumerate(colours.items()):
        x = places - 0.4 + (i + 0.5) * wide
        ax.bar(x, table[name] / size, width=0.92 * wide, color=colour, label=name)
    known = table["published"].notna()
    if known.any():
        x = places[known] - 0.4 + 0.5 * wide
        ax.plot(x, table.loc[known, "published"] / size, "_", color=WARNING, markersize=13, mew=1.8)
        ax.plot([], [], "_", color=WARNING, markersize=13, mew=1.8, label="published")
    ax.set_xticks(places, table["plan"])
    ax.tick_params(axis="x", length=0)
    ax.set(title=title, ylabel=f"[{unit}]")
    ax.grid(axis="y", color=ABSENT, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.legend(frameon=False, fontsize=7)
