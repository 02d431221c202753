"""Content blocks -> PDF, by Typst: offline, embedded fonts only, the same bytes every time."""

from __future__ import annotations

import datetime
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typst

TEMPLATE = Path(__file__).with_name("report.typ")


def compile_pdf(content: Mapping[str, Any], *, folder: Path, created: datetime.datetime) -> bytes:
    """The report as PDF bytes.

    `content` is what `report.typ` describes; image paths in it start at `folder`. `created` is the
    document's date: the study's, not the clock's, so that a rebuild gives the same bytes.
    Raises `RuntimeError` where Typst refuses, which is an error of ours.
    """
    try:
        pdf: bytes = typst.compile(  # type: ignore[call-overload]  # wants input and root alike
            TEMPLATE.read_bytes(),
            root=str(folder),
            format="pdf",
            ignore_system_fonts=True,
            sys_inputs={"content": json.dumps(content, ensure_ascii=False)},
            timestamp=int(created.timestamp()),
        )
        return pdf
    except typst.TypstError as error:
        raise RuntimeError(f"Typst could not set the report: {error}") from error
