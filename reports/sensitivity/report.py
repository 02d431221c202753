"""The report of the sensitivity study: question, answer, tables, figures, protocol, limits."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from analysis.figures.asymmetry import scale_range
from analysis.frame import load_frame
from analysis.statistics.asymmetry import AsymmetryStudy
from analysis.study_file import SensitivityFile
from reports.parts.figures import sample_plate
from reports.parts.page import Page
from reports.parts.protocol import grid, protocol_table
from reports.parts.report import Report
from reports.parts.sheet import load_sheet
from reports.sensitivity import tables
from reports.sensitivity import words as sentences
from reports.sensitivity.figures import Plate, plates_of
from reports.sensitivity.findings import Findings, analyse, check_together


def make_report(folder: Path, study: SensitivityFile) -> Report:
    """The report of a sensitivity study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet")
    check_together(study, frame, source=folder / "frame.parquet")
    sheet = load_sheet(folder / "samples.npz")
    found = analyse(study, frame)
    verdict = sentences.verdict_words(found.claim)
    page = Page(
        study,
        title="Which scales need depth?",
        subtitle=(
            f"Sensitivity study on {study.dataset.name}: {len(study.geometry.patch_nums)} scales, "
            f"{study.geometry.depth} layers"
        ),
    )
    page.heading("Question and answer")
    page.paragraph(sentences.QUESTION)
    page.answer(verdict, sentences.answer_text(found.claim, found.main.asymmetry))
    tables.claim_ledger(page, found)
    plates = plates_of(found, found.main)
    page.heading("Early against late scales")
    tables.window_rows(page, found)
    tables.asymmetry_rows(page, found.main.asymmetry)
    _figures(page, plates, "asymmetry")
    page.heading("Scale by scale")
    _figures(page, plates, "scale_depth_heatmap", "propagation")
    page.heading("Where to switch")
    _figures(page, plates, "switch_depth_heatmap")
    if sheet is not None:
        page.heading("Samples")
        page.figure("sample_sheet", partial(sample_plate, sheet), sentences.sample_caption(found))
    windows = ", ".join(f"{name} {scale_range(s)}" for name, s in study.windows.items())
    protocol_table(
        page,
        study,
        frame,
        plans=f"{grid(study, study.depths, study.selectors)}; windows (scales) {windows} at half "
        f"depth {study.half_depth}",
    )
    tables.level_rows(page, found)
    page.heading("Failed cells")
    tables.failures(page, found)
    page.limits(sentences.limits(found))
    page.heading("Other selectors")
    for mine in found.selectors[1:]:
        tables.asymmetry_rows(page, mine.asymmetry)
        plates = plates_of(found, mine)
        _figures(page, plates, *plates)
    page.heading("All cells")
    tables.cell_tables(page, found)
    return page.report(verdict=verdict, answer=_answer(found), summary=found.damage)


def _figures(page: Page, plates: dict[str, Plate], *kinds: str) -> None:
    """Those of the figures that the study has data for."""
    for kind in kinds:
        if kind in plates:
            page.figure(plates[kind].name, plates[kind].draw, plates[kind].caption)


def _answer(found: Findings) -> dict[str, Any]:
    """What `answer.json` says beside the answer: verdicts, asymmetries, failures."""
    claim = found.claim
    studies = [mine.asymmetry for mine in found.selectors]
    return {
        "claim": claim.claim.id,
        "verdict": claim.verdict.value,
        "network_only": claim.network_only,
        "setting": claim.setting,
        "rests_on": claim.rests_on,
        "dissent": [*claim.dissent, *claim.nll_dissent],
        "verdicts": {
            study.selector: {n.value: verdict.value for n, verdict in study.verdicts.items()}
            for study in studies
        },
        "failed_cells": [
            f"{row.plan} ({row.selector}, base seed {row.base_seed})"
            for row in found.failures.itertuples()
        ],
        "asymmetry": [row for study in studies for row in _asymmetry_rows(study)],
    }


def _asymmetry_rows(study: AsymmetryStudy) -> list[dict[str, Any]]:
    """The estimates, one row for each metric and normalisation."""
    rows = []
    for a in study.estimates:
        interval = asdict(a.difference)
        del interval["observations"]
        rows.append(
            {
                "selector": study.selector,
                "normalisation": a.normalisation.value,
                "metric": a.metric.name,
                "decides": a.metric.decides,
                "early_divisor": a.early_divisor,
                "late_divisor": a.late_divisor,
                "early": a.early.estimate,
                "late": a.late.estimate,
                "asymmetry": interval.pop("estimate"),
                **interval,
                "p_holm": a.p_holm,
                "base_seeds": a.base_seeds,
                "sets": a.sets,
                "count": a.count,
            }
        )
    return rows
