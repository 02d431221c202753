"""Names beside points, so that nothing overlaps at any number of them."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from scipy.optimize import isotonic_regression

from analysis.numbers import byte_unit

GAP_POINTS = 9.5  # between names in a column
EDGE = 1.08  # share of the full network's KV at which panels end


def plain(ax: Axes, *, x_ticks: int = 5, y_ticks: int | None = 5, whole: bool = False) -> None:
    """Few ticks (`whole`: x at whole numbers; y as it is for None)."""
    ax.xaxis.set_major_locator(MaxNLocator(x_ticks, integer=whole))
    if y_ticks is not None:
        ax.yaxis.set_major_locator(MaxNLocator(y_ticks))


def memory_axes(ax: Axes, full_kv: float, *, above: bool = True, below: bool = True) -> None:
    """Peak KV in bytes below, as a share of the full network's above.

    Args:
        full_kv: bytes an image of the full network.
        above, below: whether it is named, where panels stand side by side.
    """
    unit, scale = byte_unit(full_kv)
    ax.xaxis.set_major_formatter(lambda x, _: f"{x / scale:g}")
    ticks = np.asarray(MaxNLocator(3).tick_values(0, ax.get_xlim()[1] / scale))
    ax.set_xticks(scale * ticks[scale * ticks <= ax.get_xlim()[1]])
    both = (lambda x: 100 * x / full_kv, lambda share: share * full_kv / 100)
    top = ax.secondary_xaxis("top", functions=both)
    top.xaxis.set_major_locator(MaxNLocator(3))
    if below:
        ax.set_xlabel(f"peak KV an image [{unit}]")
    top.set_xlabel("% of full" if above else " ", fontsize=7)  # which keeps titles in one line
    top.tick_params(labelsize=6.5, pad=1, length=2)


def spread(places: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """Positions as near as possible to `places`, in their order, at least `gap` apart.

    They lie in low..high where that has room for all, else evenly from low to high.
    """
    order, count = np.argsort(places, kind="stable"), len(places)
    result = np.empty(count)
    if not count or gap * (count - 1) >= high - low:
        result[order] = np.linspace(low, high, count)
        return result
    # Least squares under a monotone constraint, once each place is moved back by its rank's gap.
    moved = gap * np.arange(count)
    level = isotonic_regression(np.asarray(places, dtype=float)[order] - moved).x
    result[order] = np.clip(level, low, high - moved[-1]) + moved
    return result


def label_column(ax: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Names right of the axes, at their points' heights where there is room, joined by leaders.

    Args:
        points: (x, y, name, colour) in data coordinates, on linear axes, whose limits are kept.
    """
    if not points:
        return
    (left, right), (bottom, top) = ax.set_xlim(*ax.get_xlim()), ax.set_ylim(*ax.get_ylim())
    height = 72 * ax.bbox.height / ax.figure.dpi
    heights = [(y - bottom) / (top - bottom) for _, y, _, _ in points]
    places = spread(heights, GAP_POINTS / height, 0.0, 1.0)
    for (x, _, name, colour), from_y, place in zip(points, heights, places, strict=True):
        from_x = (x - left) / (right - left)
        look: dict[str, Any] = {"transform": ax.transAxes, "color": colour}
        line: dict[str, Any] = {"linewidth": 0.4, "clip_on": False, "alpha": 0.7, "zorder": 1}
        ax.plot([from_x, 1.01, 1.04], [from_y, place, place], **line, **look)
        ax.text(1.05, place, name, fontsize=7, va="center", ha="left", **look)
