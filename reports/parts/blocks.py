"""Text of a report, as plain data that the Typst template sets.

It travels as JSON strings and is set as text, never as markup, so nothing that a user wrote
(a path, a label) can become Typst code.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Run:
    """A stretch of text in one style."""

    text: str
    style: Literal["plain", "strong", "code"] = "plain"


Text = str | Run | Sequence["Text"]
"""Plain text, a stretch in a style, or such texts one after the other."""


def strong(text: str) -> Run:
    """Bold text within a paragraph."""
    return Run(text=text, style="strong")


def code(text: str) -> Run:
    """Text in the fixed-width face."""
    return Run(text=text, style="code")


def plain(text: Text) -> str:
    """The text without its styles."""
    return "".join(run["text"] for run in runs(text)).strip()


def runs(text: Text) -> list[dict[str, str]]:
    """The text as the template takes it: stretches of one style each."""
    if isinstance(text, str | Run):
        return [asdict(text if isinstance(text, Run) else Run(text=text))]
    return [run for part in text for run in runs(part)]
