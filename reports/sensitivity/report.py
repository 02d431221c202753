"""The report of the sensitivity study: question, answer, tables, figures, protocol, limits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.claims.c1 import dissent, nll_dissent
from analysis.frame import load_frame
from analysis.statistics.asymmetry import AsymmetryStudy
from analysis.study_file import SensitivityFile
from reports.parts.page import Page
from reports.parts.protocol import protocol_table
from reports.parts.report import Report, picked
from reports.parts.sheet import add_samples
from reports.sensitivity import tables
from reports.sensitivity import words as sentences
from reports.sensitivity.figures import add_figures
from reports.sensitivity.findings import Findings, analyse, check_together


def make_report(folder: Path, study: SensitivityFile) -> Report:
    """The report of a sensitivity study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet")
    check_together(study, frame, source=folder / "frame.parquet")
    found = analyse(study, frame)
    g = study.geometry
    facts = (f"{len(g.patch_nums)} scales", f"{g.depth} layers")
    page = Page(study, "Which scales need depth?", *facts)
    text = sentences.answer_text(found)
    page.answer(sentences.QUESTION, sentences.verdict_words(found), text)
    tables.claim_ledger(page, found)
    page.heading("Early against late scales")
    tables.window_rows(page, found)
    tables.asymmetry_rows(page, found.main.asymmetry)
    add_figures(page, found, found.main)
    said = sentences.sample_caption(found)
    add_samples(page, folder, "What the plans generate. ", said, name="sample_sheet")
    protocol_table(page, study, frame, plans=sentences.plans_measured(study))
    tables.level_rows(page, found)
    page.heading("Failed cells")
    tables.failures(page, found)
    page.limits(sentences.limits(found))
    page.heading("Other selectors")
    for mine in found.selectors[1:]:
        tables.asymmetry_rows(page, mine.asymmetry)
        add_figures(page, found, mine)
    page.heading("All cells")
    tables.cell_tables(page, found)
    return page.report(answer=_answer(found), summary=found.damage)


def _answer(found: Findings) -> dict[str, Any]:
    """What `answer.json` says beside the answer: verdicts, asymmetries, failures."""
    claim, main = found.claim, found.main.asymmetry
    studies = [mine.asymmetry for mine in found.selectors]
    return {
        "claim": claim.claim.id,
        "verdict": claim.verdict.value,
        "network_only": not main.over_seeds,
        **picked(claim, "setting", "rests_on"),
        "dissent": [*dissent(main), *nll_dissent(main)],
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
    own = ("early_divisor", "late_divisor", "p_holm", "base_seeds", "sets", "count")
    return [
        {"selector": study.selector, "normalisation": a.normalisation.value}
        | {"metric": a.metric.name, "decides": a.metric.decides}
        | {"early": a.early.estimate, "late": a.late.estimate, "asymmetry": a.difference.estimate}
        | picked(a.difference, "low", "high", "standard_error", "degrees_of_freedom", "p_value")
        | picked(a, *own)
        for a in study.estimates
    ]
