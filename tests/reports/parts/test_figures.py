"""Pictures of a report."""

from __future__ import annotations

import io

import matplotlib.image
import numpy as np

from analysis.figures.samples import SampleSheet
from analysis.figures.theme import figure_bytes, style
from reports.parts.figures import sample_plate


def test_sheet_labels_are_not_clipped():
    sheet = SampleSheet(
        images=np.full((4, 3, 8, 8, 3), 128, dtype=np.uint8),
        rows=("full", "d14 on every window there is", "d4@2", "d2@0"),
        columns=("disk", "a class of a long name", "ring"),
    )
    with style():
        plate = figure_bytes(sample_plate(sheet))
    pixels = matplotlib.image.imread(io.BytesIO(plate["png"]))[..., :3]
    assert (pixels[:, :3] > 0.99).all() and (pixels[:2] > 0.99).all()
    assert (pixels[:, 3:40] < 0.5).any()  # and no room is wasted
