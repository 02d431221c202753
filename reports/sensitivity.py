"""The report of the sensitivity study: question, answer, protocol, tables, figures, limits."""

from __future__ import annotations

import datetime
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.asymmetry import asymmetry_table
from analysis.atomic import write_atomically
from analysis.frame import FrameError, load_frame
from reports import sentences
from reports.findings import Findings, analyse, check_together
from reports.gallery import Gallery, draw_gallery
from reports.layout import lay_out
from reports.pdf import compile_pdf
from reports.record import StudyRecord, load_record
from reports.sheet import load_sheet


@dataclass(frozen=True, kw_only=True)
class ReportPaths:
    """What a report wrote, and its verdict in words."""

    pdf: Path
    answer: Path
    summary: tuple[Path, ...]
    figures: tuple[Path, ...]
    verdict: str


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
    if record.study != "sensitivity":
        raise FrameError(
            f"{folder / 'study.json'}: study is {record.study!r}, and this version has a report "
            "for 'sensitivity' only; use the version that wrote it"
        )
    frame = load_frame(folder / "frame.parquet")
    check_together(record, frame, source=folder / "frame.parquet")
    sheet = load_sheet(folder / "samples.npz")
    found = analyse(record, frame)
    gallery = draw_gallery(found, sheet)
    content = lay_out(found, gallery)
    paths = _write_figures(folder, gallery)
    summary = (
        write_atomically(folder / "summary.parquet", _parquet(found.damage)),
        write_atomically(folder / "summary.csv", found.damage.to_csv(index=False).encode()),
    )
    answer = write_atomically(folder / "answer.json", _answer(found))
    pdf = compile_pdf(content, folder=folder, created=_created(record))
    return ReportPaths(
        pdf=write_atomically(folder / "report.pdf", pdf),
        answer=answer,
        summary=summary,
        figures=paths,
        verdict=sentences.verdict_words(found.claim),
    )


def _write_figures(folder: Path, gallery: Gallery) -> tuple[Path, ...]:
    written = []
    for name, plate in gallery.plates.items():
        stem = folder / "figures" / name
        written.append(write_atomically(stem.with_suffix(".svg"), plate.svg))
        written.append(write_atomically(stem.with_suffix(".png"), plate.png))
    return tuple(written)


def _parquet(table: pd.DataFrame) -> bytes:
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _answer(found: Findings) -> bytes:
    """`answer.json`: verdict, paragraph, asymmetries; JSON has no NaN, so null stands for it."""
    text = sentences.answer_text(found.claim, found.asymmetry, quick=found.record.quick)
    rows = [row for study in found.asymmetries for row in asymmetry_table(study).to_dict("records")]
    clean = [
        {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in row.items()}
        for row in rows
    ]
    facts: dict[str, Any] = {
        "claim": found.claim.claim.id,
        "verdict": found.claim.verdict.value,
        "network_only": found.claim.network_only,
        "quick": found.record.quick,
        "setting": found.claim.setting,
        "rests_on": found.claim.rests_on,
        "answer": "".join(part if isinstance(part, str) else part.text for part in text).strip(),
        "dissent": [*found.claim.dissent, *found.claim.nll_dissent],
        "verdicts": {
            study.selector: {
                n.value: study.verdict(n).value
                for n in dict.fromkeys(a.normalisation for a in study.estimates)
            }
            for study in found.asymmetries
        },
        "failed_cells": [
            f"{row.cell} ({row.selector}, base seed {row.base_seed})"
            for row in found.failures.itertuples()
        ],
        "asymmetry": clean,
    }
    return (json.dumps(facts, indent=2, ensure_ascii=False) + "\n").encode()


def _created(record: StudyRecord) -> datetime.datetime:
    """The study's date for the document; a record without one gets the epoch, not the clock."""
    try:
        created = datetime.datetime.fromisoformat(
            # Python 3.10 does not read the Z of UTC.
            str(record.fact("created")).replace("Z", "+00:00")
        )
    except ValueError:
        return datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return created if created.tzinfo else created.replace(tzinfo=datetime.UTC)
