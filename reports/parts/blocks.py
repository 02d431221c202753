"""Text of a report, as plain data that the Typst template sets.

It travels as JSON strings and is set as text, never as markup, so nothing that a user wrote
(a path, a label) can become Typst code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal


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


def runs(text: Text) -> list[dict[str, str]]:
    """The text as the template takes it: stretches of one style each."""
    parts = [text] if isinstance(text, str) else text
    return [asdict(p if isinstance(p, Run) else Run(text=p)) for p in parts]
