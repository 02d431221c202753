"""The blocks of a report, as plain data that the Typst template sets.

All text travels as JSON strings and is set as text, never as markup, so nothing that a user wrote
(a path, a label) can become Typst code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class Run:
    """A stretch of text in one style."""

    text: str
    style: Literal["plain", "strong", "emph", "code"] = "plain"


Text = str | Sequence[str | Run]


def strong(text: str) -> Run:
    """Bold text within a paragraph."""
    return Run(text=text, style="strong")


def code(text: str) -> Run:
    """Text in the fixed-width face."""
    return Run(text=text, style="code")


def plain(text: Text) -> str:
    """The text without its styles."""
    parts = [text] if isinstance(text, str) else text
    return "".join(p if isinstance(p, str) else p.text for p in parts).strip()


def heading(text: str) -> dict[str, Any]:
    """A numbered section heading."""
    return {"kind": "heading", "text": text}


def paragraph(text: Text) -> dict[str, Any]:
    """A paragraph."""
    return {"kind": "paragraph", "runs": _runs(text)}


def bullets(items: Sequence[Text]) -> dict[str, Any]:
    """A list of short paragraphs."""
    return {"kind": "bullets", "items": [_runs(item) for item in items]}


def answer(verdict: str, text: Text) -> dict[str, Any]:
    """The answer in a paragraph, set apart from the rest."""
    return {"kind": "answer", "verdict": verdict, "runs": _runs(text)}


def table(
    *,
    caption: Text,
    columns: Sequence[str],
    rows: Sequence[Sequence[Text]],
    widths: Sequence[float | None] | None = None,
    numeric_from: int = 1,
    small: bool = False,
    groups: Sequence[int] | None = None,
) -> dict[str, Any]:
    """A table. `widths` are fractions of the page (None fits the content); columns from
    `numeric_from` on are set right-aligned. `groups` are lengths of runs of rows that share the
    first row's first cell and that no page break parts."""
    spans = [n if i == 0 else 0 for n in groups or [1] * len(rows) for i in range(n)]
    assert len(spans) == len(rows), "the groups do not add up to the rows"
    assert all(len(row) == len(columns) for row in rows), "a row has not one cell a column"
    return {
        "kind": "table",
        "caption": _runs(caption),
        "columns": list(columns),
        "rows": [[_runs(cell) for cell in row] for row in rows],
        "widths": list(widths or [None] * len(columns)),
        "numeric_from": numeric_from,
        "small": small,
        "spans": spans,
    }


def figure(*, path: str, caption: Text, alt: str) -> dict[str, Any]:
    """An image file of the study folder (path relative to it) with its caption."""
    return {"kind": "figure", "path": f"/{path}", "caption": _runs(caption), "alt": alt}


def _runs(text: Text) -> list[dict[str, str]]:
    parts = [text] if isinstance(text, str) else text
    return [asdict(p if isinstance(p, Run) else Run(text=p)) for p in parts]
