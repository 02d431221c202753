"""From a study's folder to its report: the study's name says which report it gets."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from analysis.frame import FrameError
from analysis.search_file import ScheduleFile, SearchFile
from analysis.study_file import (
    FILE,
    ParetoFile,
    SensitivityFile,
    StudyFile,
    StudyHead,
    SupernetFile,
)
from reports import general, schedule, search, switch
from reports.pareto import report as pareto
from reports.parts.report import Report, ReportPaths
from reports.sensitivity import report as sensitivity

REPORTS: dict[str, tuple[type[StudyFile], Callable[[Path, Any], Report]]] = {
    "sensitivity": (SensitivityFile, sensitivity.make_report),
    "pareto": (ParetoFile, pareto.make_report),
    "switch": (SupernetFile, switch.make_report),
    "schedule": (ScheduleFile, schedule.make_report),
    "search": (SearchFile, search.make_report),
}
"""What reads a study's file and makes its report, by name; others get the general one."""
GENERAL: tuple[type[StudyFile], Callable[[Path, Any], Report]] = (StudyFile, general.make_report)


def load_study(folder: Path) -> StudyFile:
    """The file of a study's folder, in the class of its kind; `FrameError` for none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FrameError(f"{folder}: no such folder; name one that a study wrote")
    head = StudyHead.load(folder / FILE)
    return REPORTS.get(head.study, GENERAL)[0].load(folder / FILE)


def build(folder: Path) -> ReportPaths:
    """Read a study's folder, analyse it, draw its figures and set its PDF.

    Writes `figures/*.svg`, `figures/*.png`, `summary.parquet`, `summary.csv`, `answer.json` and
    `report.pdf` into the folder, each whole or not at all; the same folder gives the same bytes.
    Raises `FrameError` for a folder, study file, frame or sample sheet that cannot be used, before
    anything is written.
    """
    folder = Path(folder)
    facts = load_study(folder)
    make_report = REPORTS.get(facts.study, GENERAL)[1]
    return make_report(folder, facts).write(folder)
