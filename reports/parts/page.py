"""A report in the making: blocks in reading order, and figures as they are drawn.

The builder alone knows whether the study was a quick run or has not finished, and marks answer,
figures and limits.
Text travels as JSON strings and is set as text, never as markup, so nothing that a user wrote (a
path, a label) can become Typst code.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.figures.theme import figure_bytes, mark_preliminary, style
from analysis.study_file import StudyHead
from reports.parts.report import Report

Run = dict[str, str]
"""A stretch of text: `text`, and its `style`: plain, strong or code."""
Text = str | Run | Sequence["Text"]
"""Plain text, a stretch in a style, or such texts one after the other."""


def strong(text: str) -> Run:
    return {"text": text, "style": "strong"}


def code(text: str) -> Run:
    return {"text": text, "style": "code"}


def plain(text: Text) -> str:
    """The text without its styles."""
    return "".join(run["text"] for run in runs(text)).strip()


def runs(text: Text) -> list[Run]:
    """The text as the template takes it: stretches of one style each."""
    if isinstance(text, str):
        return [{"text": text, "style": "plain"}]
    if isinstance(text, dict):
        return [text]
    return [run for part in text for run in runs(part)]


class Page:
    """Collects a report's blocks; `report` gives the whole."""

    def __init__(self, study: StudyHead, title: str, *facts: str) -> None:
        """`facts` say, under the title, how large the study was."""
        self._study, self._title = study, title
        on = f"on {study.measured_on}"
        self._subtitle = f"Study {study.study} {on}"
        if facts:
            self._subtitle = f"{study.study.capitalize()} study {on}: {', '.join(facts)}"
        self._blocks: list[dict[str, Any]] = []
        self._draws: dict[str, Callable[[], Figure]] = {}
        self._heading: str | None = None
        self._verdict = self._said = ""

    def heading(self, text: str) -> None:
        """A section; one that nothing follows is left out."""
        self._heading = text

    def _add(self, kind: str, **content: Any) -> None:
        if self._heading is not None:
            self._blocks.append({"kind": "heading", "text": self._heading})
            self._heading = None
        self._blocks.append({"kind": kind} | content)

    def paragraph(self, text: Text) -> None:
        self._add("paragraph", runs=runs(text))

    def bullets(self, items: Sequence[Text], *, none: str = "") -> None:
        """A list of short paragraphs, empty ones left out; `none` is said where there is none."""
        shown = [runs(item) for item in items if item]
        if shown:
            self._add("bullets", items=shown)
        else:
            self.paragraph(none)

    def answer(self, question: str, verdict: str, text: Text, *, label: str = "In short") -> None:
        """The question, then the answer in a paragraph apart; `answer.json` repeats it as text.

        Args:
            label: before the verdict: that it is one, where claims are judged.
        """
        self.heading("Question and answer")
        for paragraph in question.strip().split("\n\n"):
            self.paragraph(" ".join(paragraph.split()))
        if self._study.preliminary:
            text = [strong(f"{self._study.preliminary}."), " ", text]
        self._verdict, self._said = verdict, plain(text)
        self._add("answer", label=label, verdict=verdict, runs=runs(text))

    def table(
        self,
        rows: pd.DataFrame,
        caption: Text,
        *,
        widths: Sequence[float | None] | None = None,
        numeric_from: int | None = None,
        small: bool = True,
        grouped: bool = False,
    ) -> None:
        """A table of texts, its headings the frame's columns; nothing for no rows.

        Args:
            widths: fractions of the page (None fits the content); one a column.
            numeric_from: columns from this one on are set right-aligned; None: all but the first,
                of a table with widths none.
            grouped: the first column, in bold, names runs of rows that no page break parts.
        """
        if rows.empty:
            return
        cells: list[list[Text]] = rows.to_numpy(dtype=object).tolist()
        spans = [1] * len(cells)  # of a row's first cell; 0 continues the one above
        if grouped:
            first = rows.iloc[:, 0]
            run = (first != first.shift()).cumsum()
            spans = run.map(run.value_counts()).where(~run.duplicated(), 0).tolist()
            cells = [[strong(str(first)), *others] for first, *others in cells]
        if numeric_from is None:
            numeric_from = len(rows.columns) if widths else 1
        self._add(
            "table",
            caption=runs(caption),
            columns=list(rows.columns),
            rows=[[runs(cell) for cell in row] for row in cells],
            widths=list(widths or [None] * len(rows.columns)),
            numeric_from=numeric_from,
            small=small,
            spans=spans,
        )

    def figure(self, name: str, draw: Callable[[], Figure], lead: str, *caption: Text) -> None:
        """A figure, drawn at the end in the house's style: `figures/<name>.svg` and `.png`.

        Its caption starts with `lead` in bold.
        """
        self._draws[name] = draw
        text, alt = runs([strong(lead), caption]), name.replace("_", " ")
        self._add("figure", path=f"/figures/{name}.svg", caption=text, alt=alt)

    def limits(self, items: Sequence[Text]) -> None:
        """What the study cannot say; empty items are left out."""
        self.heading("Limits")
        why = self._study.preliminary
        self.bullets([strong(f"{why}. Nothing here is a result.") if why else "", *items])

    def _drawn(self, draw: Callable[[], Figure]) -> dict[str, bytes]:
        with style():
            figure = draw()
            if self._study.preliminary:
                mark_preliminary(figure, self._study.preliminary)
            return figure_bytes(figure)

    def report(self, *, answer: Mapping[str, Any], summary: pd.DataFrame) -> Report:
        """The whole, with what `answer.json` says beside verdict and answer, and the main table."""
        quick, created = self._study.quick, self._study.created
        return Report(
            content={
                "title": self._title,
                "subtitle": self._subtitle,
                "date": created.date().isoformat(),
                "preliminary": self._study.preliminary,
                "blocks": self._blocks,
            },
            plates={name: self._drawn(draw) for name, draw in self._draws.items()},
            summary=summary,
            answer={"verdict": self._verdict, "quick": quick, "answer": self._said} | dict(answer),
            verdict=self._verdict,
            created=created,
        )
