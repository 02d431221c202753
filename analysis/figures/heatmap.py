"""Drawing of maps with texts in their cells: estimates, signs, gradients, what metrics see."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import seaborn
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from analysis.figures.theme import ABSENT, EARLY, INK, LATE, WARNING
from analysis.maps.heatmap import Heatmap
from analysis.statistics.asymmetry import Split

LIGHT = 0.2  # luminance from which dark type contrasts more than white
SIGNS = ListedColormap([LATE, "#e3cdd6", "#cfe0ec", EARLY])  # late, not clear, not clear, early


def exponent_of(values: np.ndarray | pd.Series) -> int:
    """The power of ten that numbers are divided by: small ones stay visible, none is long.

    Numbers whose largest is within 1 to 1000 stay as they are; others are brought to 10 to 100.
    """
    finite = np.abs(np.asarray(values, dtype=float))
    largest = float(finite[np.isfinite(finite)].max(initial=0.0))
    if largest == 0 or 1 <= largest < 1000:
        return 0
    return math.floor(math.log10(largest)) - 1


def _text(value: float) -> str:
    """Up to three significant digits with a proper minus sign; a bare 0 is exactly zero."""
    if value == 0:
        return "0"
    size = abs(value)
    digits = 0 if size >= 9.95 else 1 if size >= 0.995 else 2
    return f"{value:.{digits}f}".replace("-", "\u2212")


def draw_cells(
    ax: Axes, values: pd.DataFrame, texts: np.ndarray | None = None, *, size: float, **look: Any
) -> None:
    """Cells in the colours of their values, with texts in them that stand out; NaN stays empty.

    Args:
        texts: in the cells; None writes the values, as `fmt` has it.
        size: of the type, in points.
        look: of `seaborn.heatmap`.
    """
    annotated = {"annot": True} if texts is None else {"annot": texts, "fmt": ""}
    seaborn.heatmap(values, ax=ax, cbar=False, annot_kws=_inside(size), **annotated, **look)
    shades = np.asarray(ax.collections[0].get_facecolor())[~values.isna().to_numpy().ravel()]
    for text, colour in zip(ax.texts, shades, strict=True):
        text.set_color(INK if _luminance(colour) > LIGHT else "white")
    ax.set_facecolor(ABSENT)
    ax.tick_params(length=0)


def _luminance(colour: np.ndarray) -> float:
    """Relative luminance of an sRGB colour, as WCAG 2 defines it."""
    rgb = np.where(colour <= 0.03928, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)[:3]
    return float(rgb @ (0.2126, 0.7152, 0.0722))


def _inside(size: float) -> dict[str, Any]:
    # What stands inside a cell needs no room in the layout, which would measure it at length.
    return {"fontsize": size, "va": "center_baseline", "ha": "center", "in_layout": False}


def draw_heatmap(ax: Axes, data: Heatmap, *, row_label: bool = True) -> None:
    """A heatmap with its numbers in the cells.

    Darker is more; orange is worse, purple better than the full network. Numbers in brackets are
    not significant after Holm's correction (or could not be tested); hatched cells failed; pale
    empty cells are not part of the study. The colours diverge about zero only where some cell is
    significantly better than the full network.
    """
    values = 100 * data.values if data.share else data.values
    absent = np.isnan(values)
    largest = float(np.abs(values[~absent]).max(initial=0.0)) or 1.0
    if (data.significant & (values < 0)).any():
        colours, lowest, highest = "PuOr_r", -largest, largest
    elif data.share:
        colours, lowest, highest = "Greys", 0.0, 130.0
    else:
        colours, lowest, highest = "YlOrBr", 0.0, 1.1 * largest
    exponent = exponent_of(values)
    size = _font_size(ax, len(data.columns))
    texts = np.array([[_text(v / 10.0**exponent) for v in row] for row in values])
    sure = data.significant | data.share
    texts = np.where(sure, texts, np.char.add(np.char.add("(", texts), ")"))
    rows = pd.Index(data.rows, name=data.row_title if row_label else "")
    columns = pd.Index(data.columns, name=data.column_title)
    grid = pd.DataFrame(values, index=rows, columns=columns)
    look = {"cmap": colours, "vmin": lowest, "vmax": highest, "linewidths": 0.8}
    draw_cells(ax, grid, texts, size=size, **look)
    for row, column in np.argwhere(data.failed):
        _draw_failed(ax, int(row), int(column), size)
    unit = "% of full" if data.share else data.unit
    # In mathtext, since the font has no raised minus.
    factor = f"$\\times 10^{{{exponent}}}$" if exponent else ""
    about = ", ".join(part for part in (factor, unit) if part)
    ax.set_title(f"{data.title} [{about}]" if about else data.title)
    ax.set_yticks(ax.get_yticks(), data.rows, rotation=0, va="center_baseline")


def _font_size(ax: Axes, columns: int) -> float:
    """Points in which seven characters fit in a cell of the width that is about to be laid out."""
    place = ax.get_subplotspec()
    grid = place.get_gridspec().ncols if place else 1
    cell = 72 * (ax.figure.bbox.width / ax.figure.dpi / grid - 0.45) / columns
    return float(np.clip(cell / 2.9, 4.5, 7.5))


def _draw_failed(ax: Axes, row: int, column: int, size: float) -> None:
    ax.add_patch(
        Rectangle((column, row), 1, 1, facecolor="white", edgecolor=WARNING, hatch="////", lw=0)
    )
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    ax.text(column + 0.5, row + 0.5, "failed", color=WARNING, bbox=box, **_inside(size))


def draw_triangle(ax: Axes, asymmetries: Mapping[tuple[int, int], Split], scales: int) -> None:
    """Claim C1's triangle: the sign of the mean A of scales 1..a (rows) against b..K (columns), for
    all splits a < b into early and late scales.

    Blue and plus: the early scales need depth more; wine and minus: the late ones. Full colour
    where several units' 95 % interval leaves out zero, pale where it does not, or one unit speaks.
    """
    shade = np.full((scales - 1, scales - 1), np.nan)
    texts = np.full(shade.shape, "", dtype=object)
    for (early, late), split in asymmetries.items():
        above, at = split.interval.estimate > 0, (early - 1, late - 2)
        shade[at] = (3 if split.clear else 2) if above else (0 if split.clear else 1)
        texts[at] = "+" if above else "\u2212"
    index = pd.Index([f"1\u2013{a}" if a > 1 else "1" for a in range(1, scales)], name="early")
    names = [f"{b}\u2013{scales}" if b < scales else str(b) for b in range(2, scales + 1)]
    grid = pd.DataFrame(shade, index=index, columns=pd.Index(names, name="late"))
    draw_cells(ax, grid, texts, size=8, cmap=SIGNS, vmin=-0.5, vmax=3.5, linewidths=0.8)
    ax.set_facecolor("white")  # the other half is of no split
    ax.tick_params(labelsize=6.5)
    ax.tick_params(axis="x", rotation=90 if scales > 6 else 0)
    ax.tick_params(axis="y", rotation=0)


def draw_conflict(ax: Axes, profile: pd.DataFrame, *, title: str, row_label: bool = True) -> None:
    """Cosines of gradients: purple, conflict; orange, agreement; white, nothing in common.

    Args:
        profile: `analysis.statistics.conflict.profile`.
    """
    moments = [f"{100 * progress:.0f}" for progress in profile.columns]
    values = profile.set_axis(moments, axis=1).astype(float)
    draw_cells(ax, values, size=6, fmt=".2f", cmap="PuOr_r", vmin=-1.0, vmax=1.0, linewidths=0.4)
    for text in ax.texts:
        text.set(text=text.get_text().replace("-", "\u2212"))
    ax.set_title(title)
    ax.set(xlabel="% of the training", ylabel="layer" if row_label else "")
    ax.set_yticks(ax.get_yticks(), profile.index, rotation=0, va="center_baseline")


def draw_ladder(ax: Axes, rejected: pd.DataFrame, passed: pd.DataFrame, *, title: str) -> None:
    """Per cent of repeats that reject a rung, darker for more; a frame where a metric passes.

    Args:
        rejected: shares; rungs are the index, metrics the columns. NaN where it cannot be told.
        passed: the same places, true where this rung lets the metric decide about a zone.
    """
    look: dict[str, Any] = {"fmt": ".0f", "cmap": "Greys", "vmin": 0.0, "vmax": 130.0}
    draw_cells(ax, 100 * rejected.astype(float), size=7, linewidths=0.8, **look)
    for row, column in np.argwhere(passed.to_numpy(dtype=bool)):
        place = (float(column) + 0.06, float(row) + 0.06)
        ax.add_patch(Rectangle(place, 0.88, 0.88, fill=False, edgecolor=EARLY, linewidth=1.6))
    ax.set_title(title)
    ax.set(xlabel="", ylabel="")
    ax.tick_params(axis="x", rotation=40)
    for label in ax.get_xticklabels():
        label.set(ha="right", rotation_mode="anchor")
