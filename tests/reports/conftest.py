"""For every test of a report: figures draw what they are given."""

from collections.abc import Callable
from typing import Any

import moocore
import pytest
from matplotlib.figure import Figure

from analysis.statistics import units
from reports.parts.page import Page

ESTIMATES: tuple[tuple[Any, str], ...] = (
    (units.Observations, "interval"),
    (units, "paired_t"),
    (units, "jackknife_t"),
    (moocore, "eaf"),
    (moocore, "hypervolume"),
    (moocore, "is_nondominated"),
)


@pytest.fixture(autouse=True)
def nothing_is_estimated_while_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = Page._drawn

    def estimated(*_: Any, **__: Any) -> None:
        pytest.fail("an estimate, front or interval is computed while a figure is drawn")

    def guarded(page: Page, draw: Callable[[], Figure]) -> dict[str, bytes]:
        with pytest.MonkeyPatch.context() as patch:
            for owner, name in ESTIMATES:
                patch.setattr(owner, name, estimated)
            return drawn(page, draw)

    monkeypatch.setattr(Page, "_drawn", guarded)
