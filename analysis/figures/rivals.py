"""Drawing of `analysis.statistics.rivals`: every rival's front beside the study's own plans."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from analysis.figures.floor import draw_floor
from analysis.figures.labels import label_column, plain
from analysis.statistics.intervals import Interval

EDGE = 1.08  # KV share at which panels end
Reached = Sequence[tuple[float, Interval]]
"""Plans by ascending KV: bytes, and what they reached."""


def draw_rivals(
    ax: Axes,
    lines: Mapping[str, Reached],
    colours: Mapping[str, str],
    *,
    full_kv: float,
    floor: Interval | None,
    named: Collection[str],
) -> None:
    """KV against a metric: own plans in bold with their 95 % intervals over units, rivals as lines.

    Args:
        lines, colours: by the rival's name, and the own plans' under "".
        named: lines that are named at the right.
    """
    means = {name: [(kv, i.estimate) for kv, i in line] for name, line in lines.items() if line}
    heights = [value for line in means.values() for _, value in line]
    heights += [floor.estimate] if floor else []
    low, high = min(heights), max(heights)
    room = 0.08 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_xlim(0, EDGE * full_kv)
    ax.set_ylim(low - room, high + room)
    draw_floor(ax, floor)
    for name, line in means.items():
        look: dict[str, Any] = {"markersize": 3, "linewidth": 0.9, "zorder": 2}
        look |= {} if name else {"markersize": 4.5, "linewidth": 1.6, "zorder": 3}
        ax.plot(*zip(*line, strict=True), "o-", color=colours[name], **look)
    for kv, i in lines[""]:
        ax.vlines(kv, i.low, i.high, color=colours[""], linewidth=1.0, zorder=3)
    ends = [
        (*line[-1], name or "this study", colours[name])
        for name, line in means.items()
        if name in named
    ]
    label_column(ax, ends)
    plain(ax, y_ticks=4)
