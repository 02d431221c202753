"""The report of the sensitivity study: question, answer, protocol, tables, figures, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.frame import load_frame
from analysis.statistics.asymmetry import asymmetry_table
from reports.parts.record import SensitivityRecord
from reports.parts.report import Report
from reports.parts.sheet import load_sheet
from reports.sensitivity import words as sentences
from reports.sensitivity.figures import draw_gallery
from reports.sensitivity.findings import Findings, analyse, check_together
from reports.sensitivity.layout import lay_out


def make_report(folder: Path, record: SensitivityRecord) -> Report:
    """The report of a sensitivity study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet")
    check_together(record, frame, source=folder / "frame.parquet")
    sheet = load_sheet(folder / "samples.npz")
    found = analyse(record, frame)
    gallery = draw_gallery(found, sheet)
    return Report(
        content=lay_out(found, gallery),
        plates=gallery.plates,
        summary=found.damage,
        answer=_answer(found),
        verdict=sentences.verdict_words(found.claim),
    )


def _answer(found: Findings) -> dict[str, Any]:
    """`answer.json`: verdict, paragraph, asymmetries."""
    text = sentences.answer_text(found.claim, found.asymmetry, quick=found.record.quick)
    rows = [row for study in found.asymmetries for row in asymmetry_table(study).to_dict("records")]
    return {
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
        "asymmetry": rows,
    }
