"""From a study's folder to its report: the study's name says which report it gets."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.theme import FigureBytes
from analysis.frame import FrameError
from reports import general, schedule, search, switch
from reports.pareto import report as pareto
from reports.parts.files import write_atomically
from reports.parts.pdf import compile_pdf
from reports.parts.record import load_record
from reports.parts.report import ReportPaths
from reports.sensitivity import report as sensitivity


def build(folder: Path) -> ReportPaths:
    """Read a study's folder, analyse it, draw its figures and set its PDF.

    Writes `figures/*.svg`, `figures/*.png`, `summary.parquet`, `summary.csv`, `answer.json` and
    `report.pdf` into the folder, each whole or not at all; the same folder gives the same bytes.
    Raises `FrameError` for a folder, record, frame or sample sheet that cannot be used, before
    anything is written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FrameError(f"{folder}: no such folder; name one that a study wrote")
    record = load_record(folder / "study.json")
    makers = {
        "sensitivity": sensitivity.make_report,
        "pareto": pareto.make_report,
        "switch": switch.make_report,
        "schedule": schedule.make_report,
        "search": search.make_report,
    }
    report = makers.get(record.study, general.make_report)(folder, record)
    figures = _write_figures(folder, report.plates)
    summary = (
        write_atomically(folder / "summary.parquet", _parquet(report.summary)),
        write_atomically(folder / "summary.csv", report.summary.to_csv(index=False).encode()),
    )
    text = json.dumps(_without_nan(report.answer), indent=2, ensure_ascii=False) + "\n"
    answer = write_atomically(folder / "answer.json", text.encode())
    pdf = compile_pdf(report.content, folder=folder, created=record.created)
    return ReportPaths(
        pdf=write_atomically(folder / "report.pdf", pdf),
        answer=answer,
        summary=summary,
        figures=figures,
        verdict=report.verdict,
    )


def _write_figures(folder: Path, plates: Mapping[str, FigureBytes]) -> tuple[Path, ...]:
    written = []
    for name, plate in plates.items():
        stem = folder / "figures" / name
        written.append(write_atomically(stem.with_suffix(".svg"), plate.svg))
        written.append(write_atomically(stem.with_suffix(".png"), plate.png))
    return tuple(written)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
