"""From a study's folder to its report: the study's name says which report it gets."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.rows import LedgerRow
from analysis.efficiency_file import EfficiencyFile
from analysis.errors import FrameError
from analysis.instrument_file import LadderFile, NoiseFile
from analysis.search_file import ScheduleFile, SearchFile
from analysis.study_file import (
    FILE,
    AnyStudyFile,
    ParetoFile,
    RegimeFile,
    SensitivityFile,
    StudyFile,
    StudyHead,
    SupernetFile,
)
from reports import general, ladder, noise, schedule, search, switch
from reports.efficiency import report as efficiency
from reports.pareto import report as pareto
from reports.parts.report import Report, ReportPaths
from reports.parts.sources import check_sources
from reports.regime import report as regime
from reports.sensitivity import report as sensitivity


@dataclass(frozen=True)
class Kind:
    """What reads a study's file, makes its report, and judges its claims."""

    file: type[StudyHead]
    make_report: Callable[[Path, Any], Report]
    judge: Callable[[Any, pd.DataFrame], tuple[LedgerRow, ...]] = lambda study, frame: ()


REPORTS = {
    "sensitivity": Kind(SensitivityFile, sensitivity.make_report, sensitivity.judge),
    "pareto": Kind(ParetoFile, pareto.make_report, pareto.judge),
    "switch": Kind(SupernetFile, switch.make_report),
    "schedule": Kind(ScheduleFile, schedule.make_report),
    "search": Kind(SearchFile, search.make_report),
    "ladder": Kind(LadderFile, ladder.make_report),
    "noise": Kind(NoiseFile, noise.make_report),
    "regime": Kind(RegimeFile, regime.make_report, regime.judge),
    "efficiency": Kind(EfficiencyFile, efficiency.make_report),
}
"""By name; other studies get the general report."""
GENERAL = Kind(AnyStudyFile, general.make_report)


def load_study(folder: Path) -> StudyFile:
    """The file of the folder of a study with units; `FrameError` as of `load_head`."""
    study = load_head(folder)
    if not isinstance(study, StudyFile):
        raise FrameError(f"{folder}: study {study.study} has no units to pool or compare")
    return study


def load_head(folder: Path) -> StudyHead:
    """The file of a study's folder, in the class of its kind; `FrameError` for none, or where the
    folder's files do not say the same."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FrameError(f"{folder}: no such folder; name one that a study wrote")
    head = StudyHead.load(folder / FILE)
    study = REPORTS.get(head.study, GENERAL).file.load(folder / FILE)
    check_sources(folder, study)
    return study


def build(folder: Path) -> ReportPaths:
    """Read a study's folder, analyse it, draw its figures and set its PDF.

    Writes `figures/*.svg`, `figures/*.png`, `summary.parquet`, `summary.csv`, `answer.json` and
    `report.pdf` into the folder, each whole or not at all; the same folder gives the same bytes.
    Raises `FrameError` as `make_report` does, before anything is written.
    """
    return make_report(folder).write(Path(folder))


def make_report(folder: Path) -> Report:
    """The report of a study's folder, before it is written; `FrameError` for a folder, study file,
    frame or sample sheet that cannot be used."""
    folder = Path(folder)
    facts = load_head(folder)
    kind, pending = REPORTS.get(facts.study, GENERAL), facts.pending
    try:
        return kind.make_report(folder, facts)
    except Exception as error:
        if not pending or isinstance(error, FrameError):
            raise
        # What has not finished may lack anything that a report needs.
        said = f"{pending:,} cells are to come, too little is there for a report; wait"
        raise FrameError(f"{folder}: {said}") from None


def judge(study: StudyFile, frame: pd.DataFrame) -> tuple[LedgerRow, ...]:
    """The claims that a study speaks of; none for one that judges none."""
    return REPORTS.get(study.study, GENERAL).judge(study, frame)
