"""Figures that several reports have: which panels share one, at what size; the sample sheet.

They are drawn within `analysis.figures.theme.style`, which `Page.figure` sets.
"""

import math
import zipfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from analysis.errors import FrameError, verified, was_written
from analysis.figures.frontier import draw_trade
from analysis.figures.heatmap import draw_heatmap
from analysis.figures.samples import SampleSheet, draw_sample_sheet
from analysis.figures.theme import PAGE_WIDTH, new_figure
from analysis.maps.heatmap import Heatmap
from analysis.metrics import Metric
from analysis.statistics.fronts import Trade
from analysis.study_file import SHEET_FILE
from reports.parts.page import Page
from varant.errors import one_line
from varant.npz import UNREADABLE, read_array

ROW_HEIGHT = 0.23  # inches for one row of a heatmap
SHEET_HEIGHT = 4.1  # inches that the sample sheet may take of a page
SHEET, MOST_SHEET = ("images", "rows", "columns"), 1 << 28  # arrays, of at most so many bytes


def heatmap_plate(maps: Sequence[Heatmap]) -> Figure:
    """Heatmaps, two a row; axis labels only on the outside."""
    rows, columns = math.ceil(len(maps) / 2), min(len(maps), 2)
    depths = max(len(data.rows) for data in maps)
    figure = new_figure(height=rows * (0.36 + depths * ROW_HEIGHT) + 0.25)
    axes = figure.subplots(rows, columns, squeeze=False)
    for i, (ax, data) in enumerate(zip(axes.flat, maps, strict=False)):
        draw_heatmap(ax, data, row_label=i % columns == 0)
        if i // columns + 1 < rows:
            ax.set_xlabel("")
    for ax in axes.flat[len(maps) :]:
        ax.set_axis_off()
    return figure


def named_grid(rows: int, columns: int, *, panel: float) -> tuple[Figure, np.ndarray]:
    """(rows, columns) axes, `panel` inches high, with room for names right of the last."""
    names, left, gap = 1.15, 0.42, 0.42
    above, below = 0.25, 0.47
    wide = min((PAGE_WIDTH - names - left - gap * (columns - 1)) / columns, 2.2)
    height = (above + panel + below) * rows
    right = left + (wide + gap) * columns - gap
    places = {"left": left / PAGE_WIDTH, "right": right / PAGE_WIDTH, "wspace": gap / wide}
    places |= {"bottom": below / height, "top": 1 - above / height}
    places |= {"hspace": (above + below) / panel}
    figure = new_figure(height=height, constrained=False)
    return figure, figure.subplots(rows, columns, squeeze=False, gridspec_kw=places)


def trade_plate(
    trades: Mapping[Metric, Sequence[Trade]], colours: Mapping[str, str], *, panel: float = 1.3
) -> Figure:
    """A row a metric, a panel a subnet in the (full, subnet) plane, so many inches high; names at
    the last."""
    figure, grid = named_grid(len(trades), max(map(len, trades.values())), panel=panel)
    for axes, (metric, panels) in zip(grid, trades.items(), strict=True):
        for i, (ax, data) in enumerate(zip(axes, panels, strict=False)):
            draw_trade(ax, data, colours, names=i + 1 == len(panels))
            ax.set_title(f"{metric.short} of {data.subnet.label}")
            ax.set_xlabel(f"{metric.short} of full", fontsize=7.5)
    return figure


def add_samples(
    page: Page,
    folder: Path,
    caption: str = "The same random numbers in every row.",
    *,
    lead: str = "Samples. ",
    name: str = "samples",
) -> None:
    """The section of the sample sheet of a study's folder, where the study wrote one."""
    page.heading("Samples")
    sheet = load_sheet(folder / SHEET_FILE)
    if sheet is not None:
        page.figure(name, partial(sample_plate, sheet), lead, caption)


def load_sheet(path: Path) -> SampleSheet | None:
    """The sample sheet, its rows as the study wrote them, or None where it wrote none.

    Raises `FrameError` for a file that is damaged or whose arrays do not fit each other.
    """
    if not was_written(path):
        return None
    remedy = "run the study again"
    verified(path, remedy)
    try:
        with zipfile.ZipFile(path) as pack:
            images, *names = (read_array(pack, n, most=MOST_SHEET) for n in SHEET)
        rows, columns = (tuple(map(str, of)) for of in names)
    except (*UNREADABLE, TypeError) as error:
        raise FrameError(
            f"{path}: not a readable sample sheet ({one_line(error)}); {remedy}"
        ) from error
    fits = images.ndim == 5 and images.shape[:2] == (len(rows), len(columns))
    if images.dtype != np.uint8 or not fits or images.shape[-1] != 3 or not images.size:
        raise FrameError(
            f"{path}: images are {images.dtype} {images.shape} for {len(rows)} rows and "
            f"{len(columns)} columns; {remedy}"
        )
    return SampleSheet(images=images, rows=rows, columns=columns)


def sample_plate(data: SampleSheet) -> Figure:
    """The sample sheet, at most as wide as the page and `SHEET_HEIGHT` high, around its labels."""
    rows, columns, height, width, _ = data.images.shape
    figure = new_figure(width=PAGE_WIDTH, height=SHEET_HEIGHT, constrained=False)
    ax = figure.add_axes((0, 0, 1, 1))
    draw_sample_sheet(ax, data)
    # Labels are measured, then given exactly their room: an image's fixed shape defeats the
    # constrained layout, which clips them.
    drawn, box = ax.get_tightbbox(), ax.get_window_extent()
    assert drawn is not None, "the axes are not visible"
    left, top = (inches / figure.dpi + 0.04 for inches in (box.x0 - drawn.x0, drawn.y1 - box.y1))
    cell = min((PAGE_WIDTH - left) / columns, (SHEET_HEIGHT - top) / rows * width / height)
    wide, high = cell * columns, cell * rows * height / width
    figure.set_size_inches(left + wide, top + high)
    ax.set_position((left / (left + wide), 0, wide / (left + wide), high / (top + high)))
    return figure
