"""From a study's folder to its report: the study's name says which report it gets."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
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

REPORTS: dict[str, tuple[type[StudyFile], Callable[[Path, Any], Report]]] = {
    "sensitivity": (SensitivityFile, sensitivity.make_report),
    "pareto": (ParetoFile, pareto.make_report),
    "switch": (SwitchFile, switch.make_report),
    "schedule": (ScheduleFile, schedule.make_report),
    "search": (SearchFile, search.make_report),
}
"""What reads a study's file and makes its report, by name; others get the general one."""


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
    facts, make_report = REPORTS.get(head.study, (StudyFile, general.make_report))
    report = make_report(folder, facts.load(folder / FILE))
    figures = [
        write_atomically((folder / "figures" / name).with_suffix(suffix), content)
        for name, plate in report.plates.items()
        for suffix, content in ((".svg", plate.svg), (".png", plate.png))
    ]
    parquet = io.BytesIO()
    report.summary.to_parquet(parquet, index=False)
    # JSON has no NaN: null stands for it.
    said = json.loads(json.dumps(report.answer), parse_constant=lambda _: None)
    answer = json.dumps(said, indent=2, ensure_ascii=False) + "\n"
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
