"""Drawing of generated images side by side."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class SampleSheet:
    """Generated images: rows are plans, columns share class and seed.

    Attributes:
        images: uint8, (rows, columns, H, W, 3).
    """

    images: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]


def draw_sample_sheet(ax: Axes, data: SampleSheet) -> None:
    """The images in one grid, a hair apart, with plans on the left and classes on top."""
    rows, columns, height, width, _ = data.images.shape
    gap = max(1, width // 16)
    tiles = np.pad(data.images, ((0, 0), (0, 0), (0, gap), (0, gap), (0, 0)), constant_values=255)
    sheet = tiles.swapaxes(1, 2).reshape(rows * (height + gap), columns * (width + gap), 3)
    ax.imshow(sheet, interpolation="none")  # vector files then hold each pixel once
    ax.set_yticks(np.arange(rows) * (height + gap) + height / 2, data.rows)
    ax.set_xticks(np.arange(columns) * (width + gap) + width / 2, data.columns)
    crowded = sum(len(name) for name in data.columns) > 95 or max(map(len, data.columns)) > 9
    ax.xaxis.tick_top()
    ax.tick_params(axis="x", rotation=60 if crowded else 0)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
