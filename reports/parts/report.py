"""What a study's report is before and after it is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.theme import FigureBytes


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report before it is written.

    Attributes:
        content: blocks for the template.
        plates: figures by file name.
        summary: the main table.
        answer: JSON-ready; NaN becomes null.
        verdict: in a few words.
    """

    content: Mapping[str, Any]
    plates: Mapping[str, FigureBytes]
    summary: pd.DataFrame
    answer: Mapping[str, Any]
    verdict: str


def picked(source: object, *names: str) -> dict[str, Any]:
    """Attributes by name, as `answer.json` takes them."""
    return {name: getattr(source, name) for name in names}


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """What a report wrote, and its verdict in words."""

    pdf: Path
    answer: Path
    summary: tuple[Path, ...]
    figures: tuple[Path, ...]
    verdict: str
