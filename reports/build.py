"""From a study's folder to its report: the study's name says which report it gets."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.frame import FrameError
from analysis.study_file import (
    FILE,
    ParetoFile,
    ScheduleFile,
    SearchFile,
    SensitivityFile,
    StudyFile,
    StudyHead,
    SwitchFile,
)
from reports import general, schedule, search, switch
from reports.pareto import report as pareto
from reports.parts.files import write_atomically
from reports.parts.pdf import compile_pdf
from reports.parts.report import Report, ReportPaths
from reports.sensitivity import report as sensitivity


def build(folder: Path) -> ReportPaths:
    """Read a study's folder, analyse it, draw its figures and set its PDF.

    Writes `figures/*.svg`, `figures/*.png`, `summary.parquet`, `summary.csv`, `answer.json` and
    `report.pdf` into the folder, each whole or not at all; the same folder gives the same bytes.
    Raises `FrameError` for a folder, study file, frame or sample sheet that cannot be used, before
    anything is written.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FrameError(f"{folder}: no such folder; name one that a study wrote")
    head = StudyHead.load(folder / FILE)
    report = _make_report(folder, head.study)
    figures = [
        write_atomically((folder / "figures" / name).with_suffix(suffix), content)
        for name, plate in report.plates.items()
        for suffix, content in ((".svg", plate.svg), (".png", plate.png))
    ]
    parquet = io.BytesIO()
    report.summary.to_parquet(parquet, index=False)
    answer = json.dumps(_without_nan(report.answer), indent=2, ensure_ascii=False) + "\n"
    return ReportPaths(
        figures=tuple(figures),
        summary=(
            write_atomically(folder / "summary.parquet", parquet.getvalue()),
            write_atomically(folder / "summary.csv", report.summary.to_csv(index=False).encode()),
        ),
        answer=write_atomically(folder / "answer.json", answer.encode()),
        pdf=write_atomically(
            folder / "report.pdf", compile_pdf(report.content, folder=folder, created=head.created)
        ),
        verdict=report.verdict,
    )


def _make_report(folder: Path, study: str) -> Report:
    """The report of a study of that name; those that have none of their own get the general one."""
    path = folder / FILE
    match study:
        case "sensitivity":
            return sensitivity.make_report(folder, SensitivityFile.load(path))
        case "pareto":
            return pareto.make_report(folder, ParetoFile.load(path))
        case "switch":
            return switch.make_report(folder, SwitchFile.load(path))
        case "schedule":
            return schedule.make_report(folder, ScheduleFile.load(path))
        case "search":
            return search.make_report(folder, SearchFile.load(path))
        case _:
            return general.make_report(folder, StudyFile.load(path))


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null stands for it."""
    if isinstance(value, Mapping):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and math.isnan(value) else value
