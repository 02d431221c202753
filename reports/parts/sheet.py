"""`samples.npz`: the images of the sample sheet, read and checked."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from analysis.figures.theme import SampleSheet
from analysis.frame import FrameError
from reports.parts.blocks import Text
from reports.parts.figures import sample_plate
from reports.parts.page import Page


def load_sheet(path: Path) -> SampleSheet | None:
    """The sample sheet, or None where the study wrote none.

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


def add_samples(page: Page, folder: Path, caption: Text) -> None:
    """The sample sheet of a study's folder, where the study wrote one."""
    sheet = load_sheet(folder / "samples.npz")
    if sheet is not None:
        page.figure("samples", partial(sample_plate, sheet), caption)


def ordered_sheet(sheet: SampleSheet, windows: Sequence[str]) -> SampleSheet:
    """The sheet with its rows in reading order: full, windows, then two-zone plans by damage.

    Two-zone plans d@N go from deep to shallow and, within a depth, from late to early switch. Rows
    of other names keep their order after them.
    """

    def place(row: str) -> tuple[int, ...]:
        if row == "full":
            return (0,)
        match = re.fullmatch(r"d(\d+) on (\w+)", row)
        if match and match[2] in windows:
            return (1, windows.index(match[2]), -int(match[1]))
        if match := re.fullmatch(r"d(\d+)@(\d+)", row):
            return (2, -int(match[1]), -int(match[2]))
        return (3,)

    order = sorted(range(len(sheet.rows)), key=lambda i: place(sheet.rows[i]))
    return SampleSheet(
        images=sheet.images[order], rows=tuple(sheet.rows[i] for i in order), columns=sheet.columns
    )
