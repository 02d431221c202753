"""The report of the pareto study: the order and the words; tables and figures are beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.ledger import LEAST_SEEDS, LedgerRow
from analysis.figures.theme import FigureBytes, SampleSheet
from analysis.frame import FrameError, headline_metrics, load_frame
from analysis.statistics.intervals import Verdict
from reports.pareto import figures as pareto_plates
from reports.pareto import tables as pareto_tables
from reports.pareto.findings import ParetoFindings, analyse
from reports.parts import words
from reports.parts.blocks import Text, answer, bullets, figure, heading, paragraph, strong
from reports.parts.protocol import protocol_table
from reports.parts.record import ParetoRecord
from reports.parts.report import Report
from reports.parts.sheet import load_sheet

CURVE_COLUMNS = ("schedule", "seed", "images_seen", "plan", "value", "images")


def make_report(folder: Path, record: ParetoRecord) -> Report:
    """The report of a pareto study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    strange = sorted(set(frame["schedule"].dropna()) - set(record.schedules))
    if strange:
        raise FrameError(
            f"{folder / 'frame.parquet'}: schedule {strange[0]!r} is not in study.json; keep the "
            "two files of one study together, or run it again"
        )
    curves = _load_curves(folder / "curves.parquet")
    sheet = load_sheet(folder / "samples.npz")
    found = analyse(record, frame, curves)
    plates, captions = pareto_plates.draw(found, sheet)
    return Report(
        content=lay_out(found, plates, captions, sheet),
        plates=plates,
        summary=found.levels,
        answer=_answer(found),
        verdict=verdict_words(found.ledger),
    )


def _load_curves(path: Path) -> pd.DataFrame | None:
    if not path.exists():
        return None
    try:
        curves = pd.read_parquet(path)
    except Exception as error:  # damaged bytes raise families of errors of their own
        said = " ".join(str(error).split())[:120]
        raise FrameError(
            f"{path}: not a readable parquet file ({said}); run the study again"
        ) from error
    missing = [name for name in CURVE_COLUMNS if name not in curves.columns]
    if missing:
        raise FrameError(f"{path}: missing columns {', '.join(missing)}; run the study again")
    return curves


def verdict_words(ledger: tuple[LedgerRow, ...]) -> str:
    """The verdicts that were reached, in the order of the claims: "C2 reproduced, ..."."""
    said = [
        f"{row.claim.id} {row.verdict.value}"
        for row in ledger
        if row.verdict is not Verdict.UNTESTED
    ]
    return ", ".join(said) or "no claim could be tested"


def answer_text(found: ParetoFindings) -> list:
    """The answer in a paragraph."""
    record, parts = found.record, []
    if record.quick:
        parts.append("A quick run on tiny data: nothing here is a result. ")
    seeds = len(record.seeds)
    if seeds == 1:
        parts.append(
            "One training seed: training variance is not measured, so no claim is called "
            "reproduced. "
        )
    elif seeds < LEAST_SEEDS:
        parts.append(f"{seeds} training seeds; a verdict needs {LEAST_SEEDS}. ")
    by_verdict: dict[Verdict, list[LedgerRow]] = {}
    for row in found.ledger:
        by_verdict.setdefault(row.verdict, []).append(row)
    for verdict in (
        Verdict.REPRODUCED,
        Verdict.CONTRADICTED,
        Verdict.DISAGREE,
        Verdict.INCONCLUSIVE,
    ):
        rows = by_verdict.get(verdict, [])
        if rows:
            named = words.listed([f"{r.claim.id} ({_short(r)})" for r in rows])
            parts += [strong(verdict.value[0].upper() + verdict.value[1:]), f": {named}. "]
    parts += _chosen_words(found)
    return parts


_SHORT = {
    "C1": "early scales need depth",
    "C2": "fixed shares trade",
    "C3": "progressive breaks the trade",
    "C4": "subnets nearly free",
    "C5": "memory saved",
    "C6": "latency saved",
    "C7": "one model at no cost",
}


def _short(row: LedgerRow) -> str:
    return _SHORT[row.claim.id]


def _chosen_words(found: ParetoFindings) -> list[str]:
    """What the memory budgets buy."""
    said = []
    for plan in found.chosen:
        if plan.loss is None:
            continue
        loss = words.estimate(plan.loss.estimate, plan.loss.low, plan.loss.high)
        said.append(
            f"within {words.percent(plan.kv_share_limit)} of the full network's KV "
            f"{plan.schedule} {plan.cell} ({words.percent(plan.kv_share)}) at {loss}"
        )
    if not said:
        return []
    return [
        "Chosen on select images, the best plans cost on test images, in NLL nats/token against "
        f"the control's full network (90 % interval): {'; '.join(said)}."
    ]


def lay_out(
    found: ParetoFindings,
    plates: dict[str, FigureBytes],
    captions: dict[str, Text],
    sheet: SampleSheet | None,
) -> dict[str, Any]:
    """The whole report as content blocks for the template."""
    record = found.record

    def shown(title: str, *names: str) -> list[dict[str, Any]]:
        drawn = [
            figure(path=f"figures/{n}.svg", caption=captions[n], alt=n.replace("_", " "))
            for n in names
            if n in plates
        ]
        return [heading(title), *drawn] if drawn else []

    blocks = [
        heading("Question and answer"),
        paragraph(str(record.fact("question") or "")),
        answer(verdict_words(found.ledger), answer_text(found)),
        pareto_tables.ledger_table(found.ledger),
        pareto_tables.component_table(found.ledger),
        *shown("Quality against memory", *[n for n in plates if n.startswith("frontier")]),
        pareto_tables.chosen_table(found.chosen, found.frame),
        *shown("Full network against subnets", *[n for n in plates if n.startswith("trade")]),
        pareto_tables.level_rows(found.levels, ("full", *found.subnets), record.schedules),
        pareto_tables.spread_rows(found.levels, ("full", *found.subnets)),
        pareto_tables.difference_rows(found.differences, ("full", *found.subnets), record),
        *shown("Hypervolume", "hypervolume"),
        *shown("Training", "curves"),
        *shown("Samples", "samples"),
        heading("Negative results"),
        _negative(found),
        heading("Protocol"),
        protocol_table(record, found.frame),
        heading("Cost"),
        *_cost(found),
        heading("Cells without numbers"),
        pareto_tables.unfinished_rows(found.unfinished, record),
        heading("Limits"),
        _limits(found),
        heading("All plans"),
        *pareto_tables.every_plan(found),
    ]
    return {
        "title": "How deep, where to switch, how to train?",
        "subtitle": (
            f"Pareto study on {record.dataset}: {words.counted(len(record.schedules), 'schedule')}"
            f" of {record.budget_images:,} image passes a model, "
            f"{words.counted(len(record.seeds), 'training seed')}"
        ),
        "date": str(record.fact("created") or "")[:10],
        "quick": record.quick,
        "blocks": [block for block in blocks if block is not None],
    }


def _negative(found: ParetoFindings) -> dict[str, Any]:
    """What did not come out, said as plainly as what did."""
    items: list[Text] = []
    for row in found.ledger:
        if row.verdict in (Verdict.REPRODUCED, Verdict.UNTESTED):
            continue
        against = [c for c in row.components if c.outcome < 0]
        open_ = [c for c in row.components if c.outcome == 0]
        parts: list = [strong(f"{row.claim.id}, {row.verdict.value}. ")]
        if against:
            parts.append(
                "Against it: " + "; ".join(pareto_tables.component_words(c) for c in against) + ". "
            )
        if open_:
            parts.append(
                "Neither for nor against: "
                + "; ".join(pareto_tables.component_words(c) for c in open_)
                + ". "
            )
        if row.reason:
            parts.append(f"({row.reason}.)")
        items.append(parts)
    worse = [p for p in found.chosen if p.non_inferior is False]
    for plan in worse:
        items.append(
            f"No plan within {words.percent(plan.kv_share_limit)} of the KV is shown to be no "
            f"worse than the control's full network by less than 0.05 nats/token: the one chosen, "
            f"{plan.schedule} {plan.cell}, is not."
        )
    return bullets(items) if items else paragraph("None: every claim tested here was reproduced.")


def _cost(found: ParetoFindings) -> list[dict[str, Any]]:
    record = found.record
    training = sum(float(m.get("seconds") or 0) for m in record.models)
    cells = record.fact("cell_seconds")
    parts = [
        f"Training {words.seconds(training)} of process time for "
        f"{words.counted(len(record.models), 'model')}"
    ]
    if isinstance(cells, int | float):
        parts.append(f"evaluation {words.seconds(max(0.0, cells - training))}")
    wall = record.fact("wall_seconds")
    if isinstance(wall, int | float):
        parts.append(f"the last invocation took {words.seconds(wall)} of wall time")
    text = (
        "; ".join(parts) + ". A budget counts image passes through the network, full or not; "
        "training FLOPs stand beside it, since subnet steps are cheaper."
    )
    return [paragraph(text), pareto_tables.model_rows(record)]


def _limits(found: ParetoFindings) -> dict[str, Any]:
    record = found.record
    items: list[Text] = []
    if record.quick:
        items.append([strong("This was a quick run on tiny data: nothing in it is a result.")])
    if len(record.seeds) == 1:
        items.append(
            "One training seed: intervals run over the disjoint sets of one model each and say how "
            "well it was measured, not how much models trained alike differ."
        )
    items += [
        "One base network, one tokenizer: seeds vary the order of the data and the draws of "
        "steps, not what training starts from.",
        "The claims were published for ImageNet and a network of two billion parameters. This is "
        f"an analogue on {record.dataset}: it can agree or disagree, and settles nothing there.",
    ]
    if not any(m.kind == "fid" for m in headline_metrics(found.frame)):
        items.append(
            "The Fréchet distance is on a small network's features: it is not FID, compares only "
            "with itself at equal sample counts, and is biased upwards at these counts."
        )
    items += [
        "The learning rate's schedule is a confound: a cosine starves the last phase of every "
        "schedule, and the progressive one trains its subnets there "
        f"(this study: {record.fact('lr_schedule')}).",
        "Points whose switch is not the trained one are hollow in the figures and decide nothing.",
    ]
    return bullets(items)


def _answer(found: ParetoFindings) -> dict[str, Any]:
    """`answer.json`: verdicts, paragraph, ledger and chosen plans."""
    text = answer_text(found)
    return {
        "verdict": verdict_words(found.ledger),
        "answer": "".join(p if isinstance(p, str) else p.text for p in text).strip(),
        "quick": found.record.quick,
        "ledger": [
            {
                "claim": row.claim.id,
                "verdict": row.verdict.value,
                "setting": row.setting,
                "reason": row.reason,
                "rests_on": row.rests_on,
                "components": [
                    {
                        "label": c.label,
                        "metric": c.metric.name if c.metric else None,
                        "estimate": c.interval.estimate,
                        "low": c.interval.low,
                        "high": c.interval.high,
                        "margin": c.margin,
                        "p_holm": c.p_holm,
                        "outcome": c.outcome,
                        "seeds": list(c.seeds),
                    }
                    for c in row.components
                ],
            }
            for row in found.ledger
        ],
        "chosen": [
            {
                "kv_share_limit": plan.kv_share_limit,
                "kv_share": plan.kv_share,
                "schedule": plan.schedule,
                "plan": plan.cell,
                "seed": plan.seed,
                "select_nll": plan.select_nll,
                "non_inferior": plan.non_inferior,
            }
            for plan in found.chosen
        ],
        "unfinished_cells": [
            f"{row.schedule} s{row.seed} {row.cell}: {row.status}"
            for row in found.unfinished.itertuples()
        ],
        "hypervolume": [
            {
                "schedule": row.schedule,
                "metric": row.metric,
                "value": row.value,
                "low": row.low,
                "high": row.high,
                "seeds": row.seeds,
            }
            for row in found.hypervolumes.itertuples()
        ],
    }
