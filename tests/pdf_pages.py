"""What a reader finds on the pages of a PDF."""

from pathlib import Path

from pypdf import PdfReader


def pages_of(path: Path) -> list[str]:
    """The words of each page, on one line."""
    return [" ".join(page.extract_text().split()) for page in PdfReader(path).pages]


def words_on(path: Path) -> str:
    """Those of all pages."""
    return " ".join(pages_of(path))
