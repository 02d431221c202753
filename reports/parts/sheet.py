"""`samples.npz`: the images of the sample sheet, read and checked."""

from __future__ import annotations

import zipfile
from functools import partial
from pathlib import Path

import numpy as np

from analysis.figures.samples import SampleSheet
from analysis.frame import FrameError
from reports.parts.figures import sample_plate
from reports.parts.page import Page


def load_sheet(path: Path) -> SampleSheet | None:
    """The sample sheet, its rows as the study wrote them, or None where it wrote none.

    Raises `FrameError` for a file that is damaged or whose arrays do not fit each other.
    """
    if not path.exists():
        return None
    remedy = "delete it to go without, or run the study again"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            images = arrays["images"]
            rows, columns = (tuple(map(str, arrays[name])) for name in ("rows", "columns"))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise FrameError(
            f"{path}: not a readable sample sheet ({' '.join(str(error).split())}); {remedy}"
        ) from error
    fits = images.ndim == 5 and images.shape[:2] == (len(rows), len(columns))
    if images.dtype != np.uint8 or not fits or images.shape[-1] != 3 or not images.size:
        raise FrameError(
            f"{path}: images are {images.dtype} {images.shape} for {len(rows)} rows and "
            f"{len(columns)} columns; {remedy}"
        )
    return SampleSheet(images=images, rows=rows, columns=columns)


def add_samples(
    page: Page, folder: Path, lead: str, caption: str, *, name: str = "samples"
) -> None:
    """The section of the sample sheet of a study's folder, where the study wrote one."""
    page.heading("Samples")
    sheet = load_sheet(folder / "samples.npz")
    if sheet is not None:
        page.figure(name, partial(sample_plate, sheet), lead, caption)
