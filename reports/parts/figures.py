"""Plates that several reports have: which panels share a figure, and at what size.

They are drawn within `analysis.figures.theme.style`, which `Page.figure` sets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from analysis.figures.heatmap import draw_heatmap
from analysis.figures.samples import SampleSheet, draw_sample_sheet, label_extents
from analysis.figures.theme import PAGE_WIDTH, new_figure
from analysis.maps.heatmap import Heatmap

ROW_HEIGHT = 0.23  # inches for one row of a heatmap
SHEET_HEIGHT = 4.1  # inches that the sample sheet may take of a page


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


def sample_plate(data: SampleSheet) -> Figure:
    """The sample sheet, at most as wide as the page and `SHEET_HEIGHT` high, around its labels."""
    rows, columns, height, width, _ = data.images.shape
    figure = new_figure(width=PAGE_WIDTH, height=SHEET_HEIGHT, constrained=False)
    ax = figure.add_axes((0, 0, 1, 1))
    draw_sample_sheet(ax, data)
    # Labels are measured, then given exactly their room: an image's fixed shape defeats the
    # constrained layout, which clips them.
    left, top = (extent + 0.04 for extent in label_extents(ax))
    cell = min((PAGE_WIDTH - left) / columns, (SHEET_HEIGHT - top) / rows * width / height)
    wide, high = cell * columns, cell * rows * height / width
    figure.set_size_inches(left + wide, top + high)
    ax.set_position((left / (left + wide), 0, wide / (left + wide), high / (top + high)))
    return figure
