"""Drawing: `draw_*(ax, data)` puts computed data on an axes, `figure_bytes` makes the files.

Figures are made for the report's page: `PAGE_WIDTH` inches are its text width, type is set at the
size in which it will be read, and the fonts are ones that come with matplotlib. No global state is
touched: callers make and save figures inside `with style():`.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from analysis.maps.scale_depth import Heatmap, WindowDamage
from analysis.statistics.asymmetry import PRIMARY, AsymmetryStudy, Normalisation

PAGE_WIDTH = 6.5  # inches

INK = "#222222"
FAINT = "#8a8a8a"
ABSENT = "#f0f0f0"
EARLY = "#0072b2"  # blue (Okabe and Ito) and wine (Tol): told apart by any eye, and in grey
LATE = "#882255"
WARNING = "#b2182b"


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The look of all figures, for the time of the block; the same input gives the same bytes."""
    settings = {
        "font.family": "serif",
        "font.serif": ["STIXGeneral"],
        "mathtext.fontset": "stix",
        "font.size": 8,
        "axes.titlesize": 8.5,
        "axes.labelsize": 8,
        "xtick.labelsize": 7.5,
        "ytick.labelsize": 7.5,
        "axes.titlelocation": "left",
        "axes.titlepad": 4,
        "axes.linewidth": 0.6,
        "axes.edgecolor": INK,
        "axes.labelcolor": INK,
        "text.color": INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "xtick.major.size": 2.5,
        "ytick.major.size": 2.5,
        "svg.hashsalt": "varant",
        "svg.fonttype": "path",
        "savefig.dpi": 200,
        "axes.unicode_minus": True,
    }
    with matplotlib.rc_context(settings):
        yield


def new_figure(*, height: float, width: float = PAGE_WIDTH, constrained: bool = True) -> Figure:
    """An empty figure of `width` x `height` inches; drawing it makes room for labels, unless its
    layout is not `constrained`."""
    figure = Figure(figsize=(width, height), layout="constrained" if constrained else None)
    FigureCanvasAgg(figure)
    return figure


def label_extents(ax: Axes) -> tuple[float, float]:
    """Inches by which what is drawn of `ax` reaches beyond its box, on the left and on top."""
    drawn = ax.get_tightbbox(ax.figure.canvas.get_renderer())
    box = ax.get_window_extent()
    return (box.x0 - drawn.x0) / ax.figure.dpi, (drawn.y1 - box.y1) / ax.figure.dpi


@dataclass(frozen=True, kw_only=True)
class FigureBytes:
    """One figure in the two formats that a study keeps."""

    svg: bytes
    png: bytes


def figure_bytes(figure: Figure) -> FigureBytes:
    """The figure as SVG and PNG, without dates or versions, so that a rebuild changes no byte."""
    svg, png = io.BytesIO(), io.BytesIO()
    figure.savefig(svg, format="svg", metadata={"Date": None, "Creator": None})
    figure.savefig(png, format="png", metadata={"Software": None})
    return FigureBytes(svg=svg.getvalue(), png=png.getvalue())


def mark_quick(figure: Figure) -> None:
    """Say on the figure itself that it comes from a quick run, with room on top where the axes have
    fixed places."""
    if figure.get_layout_engine() is None:
        (width, height), room = figure.get_size_inches(), 0.2
        for ax in figure.axes:
            left, bottom, wide, high = ax.get_position(original=True).bounds
            share = height / (height + room)
            ax.set_position((left, bottom * share, wide, high * share))
        figure.set_size_inches(width, height + room)
    figure.suptitle("QUICK RUN: not a result", color=WARNING, fontsize=8, fontweight="bold")


@dataclass(frozen=True, kw_only=True)
class NumberFormat:
    """How the numbers of one panel are written: all times ten to the minus `exponent`."""

    exponent: int

    def text(self, value: float) -> str:
        """Up to three significant digits with a proper minus sign; a bare 0 is exactly zero."""
        if value == 0:
            return "0"
        scaled = value / 10.0**self.exponent
        size = abs(scaled)
        digits = 0 if size >= 9.95 else 1 if size >= 0.995 else 2
        return f"{scaled:.{digits}f}".replace("-", "\u2212")

    @property
    def suffix(self) -> str:
        """What the panel's title says of the factor."""
        return f"$\\times 10^{{{self.exponent}}}$" if self.exponent else ""


def number_format(values: np.ndarray) -> NumberFormat:
    """The power of ten that leaves at most three digits before the point, and small ones visible.

    Numbers whose largest is within 1 to 1000 stay as they are; others are brought to 10 to 100.
    """
    finite = np.abs(np.asarray(values, dtype=float))
    largest = float(finite[np.isfinite(finite)].max(initial=0.0))
    if largest == 0 or 1 <= largest < 1000:
        return NumberFormat(exponent=0)
    return NumberFormat(exponent=math.floor(math.log10(largest)) - 1)


def draw_heatmap(ax: Axes, data: Heatmap, *, row_label: bool = True) -> None:
    """A heatmap with its numbers in the cells.

    Darker is more; orange is worse, purple better than the full network. Numbers in brackets are
    not significant after Holm's correction (or could not be tested); hatched cells failed; pale
    empty cells are not part of the study. The colours diverge about zero only where some cell is
    significantly better than the full network.
    """
    rows, columns = data.values.shape
    values = np.ma.masked_invalid(100 * data.values if data.share else data.values)
    largest = float(np.abs(values).max()) if values.count() else 0.0
    largest = largest or 1.0
    better = bool((data.significant & (np.nan_to_num(data.values) < 0)).any())
    if better:
        colours, norm = "PuOr_r", TwoSlopeNorm(vcenter=0, vmin=-largest, vmax=largest)
    elif data.share:
        colours, norm = "Greys", Normalize(vmin=0, vmax=130)
    else:
        colours, norm = "YlOrBr", Normalize(vmin=0, vmax=1.1 * largest)
    ax.set_facecolor(ABSENT)
    mesh = ax.pcolormesh(values, cmap=colours, norm=norm, edgecolors="white", linewidth=0.8)
    numbers = number_format(values.filled(np.nan))
    size = _font_size(ax, columns)
    for i in range(rows):
        for j in range(columns):
            if data.failed[i, j]:
                _draw_failed(ax, i, j, size)
            elif values.mask is np.ma.nomask or not np.ma.getmaskarray(values)[i, j]:
                sure = data.exact or data.significant[i, j]
                text = numbers.text(values[i, j])
                red, green, blue, _ = mesh.cmap(norm(values[i, j]))
                dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
                ax.text(
                    j + 0.5,
                    i + 0.5,
                    text if sure else f"({text})",
                    fontsize=size,
                    ha="center",
                    va="center_baseline",
                    color="white" if dark else INK,
                )
    unit = "% of full" if data.share else data.unit
    about = ", ".join(part for part in (numbers.suffix, unit) if part)
    ax.set_title(f"{data.title} [{about}]" if about else data.title)
    ax.set_xticks(np.arange(columns) + 0.5, data.columns)
    ax.set_yticks(np.arange(rows) + 0.5, data.rows)
    ax.set_xlabel(data.column_title)
    if row_label:
        ax.set_ylabel(data.row_title)
    ax.invert_yaxis()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)


def _font_size(ax: Axes, columns: int) -> float:
    """Points in which seven characters fit in a cell of the width that is about to be laid out."""
    grid = ax.get_subplotspec().get_gridspec().ncols if ax.get_subplotspec() else 1
    cell = 72 * (ax.figure.get_figwidth() / grid - 0.45) / columns
    return float(np.clip(cell / 2.9, 4.5, 7.5))


def _draw_failed(ax: Axes, row: int, column: int, size: float) -> None:
    ax.fill(
        [column, column + 1, column + 1, column],
        [row, row, row + 1, row + 1],
        facecolor="white",
        edgecolor=WARNING,
        hatch="////",
        linewidth=0,
    )
    ax.text(
        column + 0.5,
        row + 0.5,
        "failed",
        fontsize=size,
        color=WARNING,
        ha="center",
        va="center_baseline",
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
    )


def draw_window_damage(ax: Axes, data: WindowDamage) -> None:
    """Damage of each window at half depth as a point with its 95 % interval."""
    places = np.arange(len(data.names))
    estimate, low, high = (np.asarray(v, dtype=float) for v in (data.estimate, data.low, data.high))
    ax.axhline(0, color=FAINT, linewidth=0.6)
    ends = {"early": EARLY, "late": LATE}
    for place, name in enumerate(data.names):
        colour = ends.get(name, FAINT)
        if data.failed[place]:
            ax.text(
                place,
                0.5,
                "failed",
                color=WARNING,
                rotation=90,
                ha="center",
                va="center",
                transform=ax.get_xaxis_transform(),
                fontsize=7,
            )
            continue
        ax.plot([place, place], [low[place], high[place]], color=colour, linewidth=1.4)
        ax.plot(place, estimate[place], "o", color=colour, markersize=4)
    ax.set_xticks(
        places,
        [
            f"{name}\n{scale_range(scales)}"
            for name, scales in zip(data.names, data.scales, strict=True)
        ],
    )
    ax.set_xlim(-0.6, len(places) - 0.4)
    ax.yaxis.set_major_locator(MaxNLocator(4))
    ax.set_title(data.metric.damage + (f" [{data.metric.unit}]" if data.metric.unit else ""))
    ax.spines[["top", "right"]].set_visible(False)


def scale_range(scales: Sequence[int]) -> str:
    """ "1-3" for consecutive scales, "1, 4" otherwise, with an en dash."""
    ordered = sorted(scales)
    if len(ordered) > 1 and ordered == list(range(ordered[0], ordered[-1] + 1)):
        return f"{ordered[0]}\u2013{ordered[-1]}"
    return ", ".join(str(s) for s in ordered)


def draw_asymmetry(ax: Axes, data: AsymmetryStudy) -> None:
    """A with its 95 % interval, each divided by |early term| + |late term| so that units cancel.

    The division is by one number an estimate, so signs and significance are those of A itself.
    Filled: significant (after Holm's correction for a deciding metric). Grey diamonds: NLL.
    """
    edge = 1.45
    labels: list[tuple[float, str, bool]] = []
    y = 0.0
    for normalisation in Normalisation:
        group = data.under(normalisation)
        if not group:
            continue
        primary = " (primary)" if normalisation is PRIMARY else ""
        labels.append((y, f"{normalisation.value}{primary}", True))
        for a in group:
            y += 1
            scale = abs(a.early.estimate) + abs(a.late.estimate)
            scale = scale if scale > 0 else math.nan
            middle, low, high = (
                v / scale for v in (a.difference.estimate, a.difference.low, a.difference.high)
            )
            colour = FAINT if not a.metric.decides else EARLY if middle > 0 else LATE
            ax.plot(np.clip([low, high], -edge, edge), [y, y], color=colour, linewidth=1.4)
            ax.plot(
                middle,
                y,
                "o" if a.metric.decides else "D",
                color=colour,
                clip_on=False,
                markersize=4.5,
                markerfacecolor=colour if a.sign else "white",
                zorder=3,
            )
            labels.append((y, a.metric.short, False))
        y += 1.3
    ax.axvline(0, color=INK, linewidth=0.6)
    ax.set_xlim(-edge, edge)
    ax.set_ylim(y - 0.6, -1.6)
    ax.set_yticks([])
    for place, text, heading in labels:
        ax.text(
            -0.02,
            place,
            text,
            transform=ax.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=8 if heading else 7.5,
            fontweight="bold" if heading else "normal",
        )
    for side, text, colour in (
        (-1, "late scales need depth more", LATE),
        (1, "early scales need depth more", EARLY),
    ):
        ax.text(side * edge / 2, -1.1, text, ha="center", va="center", color=colour, fontsize=7.5)
    ax.set_xticks([-1, -0.5, 0, 0.5, 1])
    ax.set_xlabel("A divided by the sum of its two terms' sizes")
    ax.spines[["top", "right", "left"]].set_visible(False)


@dataclass(frozen=True, kw_only=True)
class SampleSheet:
    """Generated images: rows are plans, columns share class and seed."""

    images: np.ndarray  # uint8, (rows, columns, H, W, 3)
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def draw_sample_sheet(ax: Axes, data: SampleSheet) -> None:
    """The images in one grid, a hair apart, with plans on the left and classes on top."""
    rows, columns, height, width, _ = data.images.shape
    gap = max(1, width // 16)
    sheet = np.full((rows * (height + gap), columns * (width + gap), 3), 255, dtype=np.uint8)
    for i in range(rows):
        for j in range(columns):
            top, left = i * (height + gap), j * (width + gap)
            sheet[top : top + height, left : left + width] = data.images[i, j]
    ax.imshow(sheet, interpolation="nearest")
    ax.set_yticks([i * (height + gap) + height / 2 for i in range(rows)], data.rows)
    ax.set_xticks([j * (width + gap) + width / 2 for j in range(columns)], data.columns)
    crowded = sum(len(name) for name in data.columns) > 95 or max(map(len, data.columns)) > 9
    ax.tick_params(
        axis="x",
        top=True,
        labeltop=True,
        bottom=False,
        labelbottom=False,
        rotation=60 if crowded else 0,
    )
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
