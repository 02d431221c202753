"""What a study's report is made from, what it is before and after it is written, the writing."""

import datetime
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import typst

from analysis.errors import FrameError
from analysis.frame import load_frame, write_parquet
from analysis.statistics.ladder import with_floor_spreads
from analysis.study_file import (
    BASE,
    CURVES_FILE,
    FILE,
    FRAME_FILE,
    REAL,
    SHEET_FILE,
    SensitivityFile,
    StudyFile,
    SupernetFile,
)
from varant import manifest
from varant.files import replacing

SOURCES = (FILE, FRAME_FILE, CURVES_FILE, SHEET_FILE)
TEMPLATE = Path(__file__).with_name("report.typ")


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """What a report wrote, its verdict in words, and what `answer.json` says."""

    pdf: Path
    answer: Path
    figures: tuple[Path, ...]
    verdict: str
    said: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report before it is written.

    Attributes:
        content: what the template sets, see `report.typ`.
        plates: figures by file name, each by its suffix.
        answer: JSON-ready; NaN becomes null.
        created: the document's date: the study's, not the clock's, so that a rebuild gives the
            same bytes.
    """

    content: Mapping[str, Any]
    plates: Mapping[str, Mapping[str, bytes]]
    summary: pd.DataFrame
    answer: Mapping[str, Any]
    verdict: str
    created: datetime.datetime

    def write(self, folder: Path) -> ReportPaths:
        """Write all files into a study's folder, all or none: they are made in a folder aside.

        The PDF ends with the digests of what it was made of.
        """
        aside, recorded = folder / f".report.{os.getpid()}", manifest.read(folder)
        said = finite(self.answer)
        sources = [(name, recorded[name]) for name in SOURCES if name in recorded]
        try:
            figures = [
                write_atomically(aside / "figures" / f"{name}.{suffix}", content)
                for name, plate in self.plates.items()
                for suffix, content in plate.items()
            ]
            write_parquet(aside / "summary.parquet", self.summary)
            self.summary.to_csv(aside / "summary.csv", index=False)
            write_json(aside / "answer.json", said)
            pdf = set_pdf({**self.content, "sources": sources}, aside, self.created)
            write_atomically(aside / "report.pdf", pdf)
            for path in sorted(aside.rglob("*.*")):
                moved = folder / path.relative_to(aside)
                moved.parent.mkdir(exist_ok=True)
                path.replace(moved)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        return ReportPaths(
            figures=tuple(folder / path.relative_to(aside) for path in figures),
            answer=folder / "answer.json",
            pdf=folder / "report.pdf",
            verdict=self.verdict,
            said=said,
        )


def set_pdf(content: Mapping[str, Any], folder: Path, created: datetime.datetime) -> bytes:
    """By Typst, offline, with its own fonts and the figures'; image paths start at `folder`."""
    from analysis.figures.theme import FONTS  # with all of seaborn, which pooling does not need

    try:
        pdf: bytes = typst.compile(  # type: ignore[call-overload]  # wants input and root alike
            TEMPLATE.read_bytes(),
            root=str(folder),
            format="pdf",
            ignore_system_fonts=True,
            font_paths=[str(FONTS)],
            sys_inputs={"content": json.dumps(content, ensure_ascii=False)},
            timestamp=int(created.timestamp()),
            pdf_tags=False,  # of every cell of every table: they make a report three times as large
        )
        return pdf
    except typst.TypstError as error:  # an error of ours
        raise RuntimeError(f"Typst could not set the report: {error}") from error


def finite(said: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON gives it back, which has no NaN: null stands for it."""
    plain: dict[str, Any] = json.loads(json.dumps(said), parse_constant=lambda _: None)
    return plain


def write_json(path: Path, said: Mapping[str, Any]) -> Path:
    """Write `finite` of it, whole or not at all."""
    text = json.dumps(finite(said), indent=2, ensure_ascii=False)
    return write_atomically(path, f"{text}\n".encode())


def write_atomically(path: Path, payload: bytes) -> Path:
    """A reader sees the old file or the whole new one."""
    with replacing(path) as aside:
        aside.write_bytes(payload)
    return path


def check_together(
    folder: Path, frame: pd.DataFrame, allowed: Mapping[str, Collection[object]]
) -> None:
    """The columns of a frame have values that the study file allows, else a `FrameError`."""
    for column, values in allowed.items():
        strange = set(frame[column].dropna().unique()) - set(values)
        if strange:
            raise FrameError(
                f"{folder / 'frame.parquet'}: {column} {min(strange)!r} is not in study.json; keep "
                "the two files of one study together, or run it again"
            )


def study_frame(
    folder: Path, study: StudyFile, *, training: bool = False, full: bool = False
) -> pd.DataFrame:
    """A study's frame as `load_frame` reads it, once `check_anchors` lets it pass, with the floor's
    standard errors by its ladder."""
    frame = load_frame(folder / FRAME_FILE, training=training, full=full)
    check_anchors(folder, frame, study)
    return with_floor_spreads(frame, study.floor_spreads)


def check_anchors(
    folder: Path, frame: pd.DataFrame, study: StudyFile, others: Collection[str] = ()
) -> None:
    """Every unit of a study whose differences are held against anchors has the network that
    training began from, real images where samples are drawn, and whatever anchor rows units of its
    frame, or `others`, have; else a `FrameError`."""
    if not isinstance(study, SensitivityFile | SupernetFile):
        return
    held = {unit: set(own.dropna().unique()) for unit, own in frame.groupby("unit")["anchor"]}
    wanted = set(others).union(*held.values())
    if not study.pending:
        wanted |= {BASE, REAL} if study.sampling.samples else {BASE}
    for unit, anchors in held.items():
        if lacking := sorted(wanted - anchors):
            raise FrameError(
                f"{folder / 'frame.parquet'}: unit {unit} has no anchor rows "
                f"({', '.join(lacking)}) to hold others against; run the study again"
            )


def picked(source: object, *names: str) -> dict[str, Any]:
    """Attributes by name, as `answer.json` takes them."""
    return {name: getattr(source, name) for name in names}
