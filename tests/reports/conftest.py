"""For every test of a report: figures draw what they are given; and how commands refuse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import moocore
import pytest
from matplotlib.figure import Figure

from analysis.statistics import units
from reports.__main__ import main
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


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `python -m reports` says as it refuses: one line, and nothing is written."""

    def run(*arguments: object) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert main([str(one) for one in arguments]) == 2
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1
        after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert after == before, "something was written"
        return said.err

    return run
