"""Pictures of a report."""

from __future__ import annotations

import io
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from npz_files import declaring

from analysis.errors import FrameError
from analysis.figures.samples import SampleSheet
from analysis.figures.theme import figure_bytes, style
from reports.parts.figures import load_sheet, sample_plate
from varant import manifest


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


def test_a_sheet_that_declares_terabytes_is_refused_by_its_header(tmp_path: Path) -> None:
    path, names = tmp_path / "samples.npz", np.array(["a"])
    declaring(path, images=(1, 1, 1 << 20, 1 << 20, 3), rows=names, columns=names)
    manifest.record(path)
    with pytest.raises(FrameError, match=r"samples.npz: not a readable .*images declares"):
        load_sheet(path)
