"""A report in the making: blocks in reading order, and figures as they are drawn.

The builder alone knows whether the study was a quick run, and marks answer, figures and limits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.theme import FigureBytes, figure_bytes, mark_quick, style
from analysis.study_file import StudyFile
from reports.parts import blocks
from reports.parts.blocks import Text, plain, strong
from reports.parts.report import Report

QUICK = "This was a quick run on tiny data: nothing in it is a result."


class Page:
    """Collects a report's blocks; `report` gives the whole."""

    def __init__(self, study: StudyFile, *, title: str, subtitle: str) -> None:
        self._study, self._title, self._subtitle = study, title, subtitle
        self._blocks: list[dict[str, Any]] = []
        self._plates: dict[str, FigureBytes] = {}
        self._heading: str | None = None
        self._said = ""

    def heading(self, text: str) -> None:
        """A section; one that nothing follows is left out."""
        self._heading = text

    def _add(self, block: dict[str, Any]) -> None:
        if self._heading is not None:
            self._blocks.append(blocks.heading(self._heading))
            self._heading = None
        self._blocks.append(block)

    def paragraph(self, text: Text) -> None:
        self._add(blocks.paragraph(text))

    def bullets(self, items: Sequence[Text]) -> None:
        self._add(blocks.bullets(items))

    def answer(self, verdict: str, text: Text) -> None:
        """The answer in a paragraph, set apart from the rest; `answer.json` repeats it as text."""
        parts = [text] if isinstance(text, str) else list(text)
        quick = [strong("Quick run, not a result."), " "] if self._study.quick else []
        self._said = plain([*quick, *parts])
        self._add(blocks.answer(verdict, [*quick, *parts]))

    def table(
        self,
        rows: pd.DataFrame,
        caption: Text,
        *,
        widths: Sequence[float | None] | None = None,
        numeric_from: int = 1,
        small: bool = True,
        grouped: bool = False,
    ) -> None:
        """A table of texts, its headings the frame's columns; nothing for no rows.

        Args:
            widths: fractions of the page (None fits the content); one a column.
            numeric_from: columns from this one on are set right-aligned.
            grouped: the first column, in bold, names runs of rows that no page break parts.
        """
        if rows.empty:
            return
        cells: list[list[Text]] = rows.to_numpy(dtype=object).tolist()
        groups = None
        if grouped:
            first = rows.iloc[:, 0]
            run = (first != first.shift()).cumsum()
            groups = run.value_counts(sort=False).tolist()
            for i, row in enumerate(cells):
                row[0] = [strong(str(row[0]))] if i == 0 or run.iloc[i] != run.iloc[i - 1] else ""
        self._add(
            blocks.table(
                caption=caption,
                columns=list(rows.columns),
                rows=cells,
                widths=widths,
                numeric_from=numeric_from,
                small=small,
                groups=groups,
            )
        )

    def figure(self, name: str, draw: Callable[[], Figure], caption: Text) -> None:
        """Draw a figure in the house's style; it becomes `figures/<name>.svg` and `.png`."""
        with style():
            drawn = draw()
            if self._study.quick:
                mark_quick(drawn)
            self._plates[name] = figure_bytes(drawn)
        path, alt = f"figures/{name}.svg", name.replace("_", " ")
        self._add(blocks.figure(path=path, caption=caption, alt=alt))

    def limits(self, items: Sequence[Text]) -> None:
        """What the study cannot say."""
        self.heading("Limits")
        self.bullets([*([[strong(QUICK)]] if self._study.quick else []), *items])

    def report(self, *, verdict: str, answer: Mapping[str, Any], summary: pd.DataFrame) -> Report:
        """The whole, with what `answer.json` says beside verdict and answer, and the main table."""
        content = {
            "title": self._title,
            "subtitle": self._subtitle,
            "date": self._study.created.date().isoformat(),
            "quick": self._study.quick,
            "blocks": self._blocks,
        }
        return Report(
            content=content,
            plates=self._plates,
            summary=summary,
            answer={"verdict": verdict, "quick": self._study.quick, "answer": self._said}
            | dict(answer),
            verdict=verdict,
        )
