"""The report of the schedule study: which ratios, and is any better than the paper's?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.ledger import deciding_metrics
from analysis.figures.schedules import draw_importances, draw_objectives, draw_schedules, draw_slice
from analysis.figures.theme import FigureBytes, figure_bytes, mark_quick, new_figure, style
from analysis.frame import load_frame
from analysis.searches.schedules import (
    OBJECTIVES,
    PAPER,
    PARAMETERS,
    Retrained,
    retrained,
    trial_table,
    winners,
)
from analysis.statistics.levels import level_table, unfinished
from reports.pareto import tables as pareto_tables
from reports.parts import words
from reports.parts.blocks import Text, answer, bullets, figure, heading, paragraph, strong, table
from reports.parts.figures import sample_plate
from reports.parts.protocol import protocol_table
from reports.parts.record import ScheduleRecord
from reports.parts.report import Report
from reports.parts.sheet import load_sheet

ZONES = {"full": "full network", "subnets": "subnets"}


def make_report(folder: Path, record: ScheduleRecord) -> Report:
    """The report of a schedule study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    sheet = load_sheet(folder / "samples.npz")
    trials = trial_table(record.trials)
    chosen = winners(trials)
    metrics = deciding_metrics(frame)
    found = retrained(
        frame,
        metrics,
        reference=PAPER,
        schedules=[s for s in record.schedules if s != PAPER],
        subnets=record.subnets,
    )
    plates: dict[str, FigureBytes] = {}
    captions: dict[str, Text] = {}
    if len(trials):
        plates |= _search_plates(record, trials, chosen)
        captions |= _search_captions(record, trials)
    if record.importances:
        plates["importances"] = _importance_plate(record)
        captions["importances"] = [
            strong("Which parameter matters? "),
            "Shares of an objective's variance over the space "
            f"({record.fact('importance_evaluator')}), learnt from "
            f"{words.counted(len(trials), 'trial')}: mean and standard deviation over forests, "
            "which is the least that these shares are off by.",
        ]
    if sheet is not None:
        plates["samples"] = sample_plate(sheet, quick=record.quick)
        captions["samples"] = [
            strong("Samples "),
            "of the retrained models, first fresh seed; the same random numbers in every row.",
        ]
    verdict = _verdict(record, found)
    levels = level_table(frame)
    parts = _answer(record, trials, chosen, found)
    return Report(
        content=_lay_out(record, frame, levels, plates, captions, trials, found, verdict, parts),
        plates=plates,
        summary=levels,
        answer={
            "verdict": verdict,
            "answer": "".join(p if isinstance(p, str) else p.text for p in parts).strip(),
            "quick": record.quick,
            "winners": chosen,
            "retrained": [
                {
                    "schedule": row.schedule,
                    "zone": row.zone,
                    "metric": row.metric.name,
                    "damage": row.damage.estimate,
                    "low": row.damage.low,
                    "high": row.damage.high,
                    "p_holm": row.p_holm,
                    "seeds": row.seeds,
                }
                for row in found
            ],
        },
        verdict=verdict,
    )


def _side(sign: int) -> str:
    return {1: "worse", -1: "better", 0: "no different"}[sign]


def _verdict(record: ScheduleRecord, found: Sequence[Retrained]) -> str:
    """By NLL, which resolves most: every winner against the paper's point."""
    names = [s for s in record.schedules if s != PAPER]
    if not names:
        return "the search found nothing better than the paper's schedule"
    said = []
    for name in names:
        mine = {r.zone: r.sign for r in found if r.schedule == name and r.metric.kind == "nll"}
        if set(mine) != set(ZONES):
            said.append(f"{name}: no numbers")
            continue
        said.append(f"{name}: full {_side(mine['full'])}, subnets {_side(mine['subnets'])}")
    return "; ".join(said) + " than the paper's"


def _described(row: Any) -> str:
    """`share 0.05 -> 0.9, phases 0.30 : 0.50 : 0.20, cosine`."""
    start, end = row[PARAMETERS[0]], row[PARAMETERS[1]]
    if start == end:
        return f"fixed share {start:.2f}"
    first = row[PARAMETERS[2]]
    ramp = row[PARAMETERS[3]] * (1 - first)
    return (
        f"share {start:.2f} to {end:.2f}, phases {first:.2f} : {ramp:.2f} : "
        f"{1 - first - ramp:.2f}, ramp {row[PARAMETERS[4]]}"
    )


def _answer(
    record: ScheduleRecord,
    trials: pd.DataFrame,
    chosen: Mapping[str, int],
    found: Sequence[Retrained],
) -> list:
    parts: list = []
    if record.quick:
        parts.append("A quick run on tiny data: nothing here is a result. ")
    failed = len(record.trials) - len(trials)
    parts.append(
        f"{words.counted(len(trials), 'schedule')} of {record.budget_images:,} image passes were "
        f"scored on {record.score_images:,} select images"
        + (f" ({words.counted(failed, 'trial')} did not finish). " if failed else ". ")
    )
    by_number = trials.set_index("number")
    for name, number in chosen.items():
        row = by_number.loc[number]
        label = f" ({row['label']})" if isinstance(row["label"], str) else ""
        parts += [strong(f"{name}: "), f"trial {number}{label}, {_described(row)}. "]
        differences = []
        for zone, said in ZONES.items():
            one = next(
                (
                    r
                    for r in found
                    if (r.schedule, r.zone) == (name, zone) and r.metric.kind == "nll"
                ),
                None,
            )
            if one is not None:
                value = words.estimate(one.damage.estimate, one.damage.low, one.damage.high)
                differences.append(f"{said} {value} ({words.p_value(one.p_holm)})")
        if differences:
            parts.append(
                "Retrained, against the paper's in nats/token of test NLL, negative being better: "
                f"{', '.join(differences)}, p after Holm. "
            )
    if not chosen:
        parts.append(
            "No trial had a better mean of both objectives, or better subnets with a full network "
            "as good as the paper's."
        )
    return parts


def _search_plates(
    record: ScheduleRecord, trials: pd.DataFrame, chosen: Mapping[str, int]
) -> dict[str, FigureBytes]:
    curves = {trial["number"]: trial["curve"] for trial in record.trials}
    paper = trials.loc[trials["label"] == PAPER, "number"]
    with style():
        plane = new_figure(height=2.9, constrained=False)
        left = plane.add_axes((0.07, 0.16, 0.34, 0.72))
        right = plane.add_axes((0.58, 0.16, 0.36, 0.72))
        draw_objectives(left, trials, chosen)
        draw_schedules(right, trials, curves, paper=int(paper.iloc[0]) if len(paper) else None)
        slices = new_figure(height=2.7)
        axes = slices.subplots(len(OBJECTIVES), len(PARAMETERS), sharey="row", sharex="col")
        for i, objective in enumerate(OBJECTIVES):
            for j, parameter in enumerate(PARAMETERS):
                draw_slice(axes[i, j], trials, parameter, objective)
                if i == 0:
                    axes[i, j].set_title(parameter, fontsize=7, loc="center")
            axes[i, 0].set_ylabel(f"NLL of {objective}", fontsize=7)
        if record.quick:
            mark_quick(plane)
            mark_quick(slices)
        return {"search": figure_bytes(plane), "slices": figure_bytes(slices)}


def _search_captions(record: ScheduleRecord, trials: pd.DataFrame) -> dict[str, Text]:
    seen = f"on {record.score_images:,} select images, seed {record.fact('search_seed')}"
    return {
        "search": [
            strong("What the search saw, "),
            f"{seen}: it chooses and is no result. Left: trials "
            "by both objectives (squares: the fixed points; line: no other trial is better in "
            "both; rings: trained again). Right: their schedules. Dark is best by the mean of "
            "both objectives.",
        ],
        "slices": [
            strong("Objectives against each parameter, "),
            f"{seen}, in nats/token; dark is the "
            "best rank. The ramp takes its share of what the first phase leaves.",
        ],
    }


def _importance_plate(record: ScheduleRecord) -> FigureBytes:
    with style():
        figure_ = new_figure(height=1.9)
        draw_importances(figure_.subplots(), record.importances)
        if record.quick:
            mark_quick(figure_)
        return figure_bytes(figure_)


def _lay_out(
    record: ScheduleRecord,
    frame: pd.DataFrame,
    levels: pd.DataFrame,
    plates: dict[str, FigureBytes],
    captions: dict[str, Text],
    trials: pd.DataFrame,
    found: Sequence[Retrained],
    verdict: str,
    parts: list,
) -> dict[str, Any]:
    def shown(*names: str) -> list[dict[str, Any]]:
        return [
            figure(path=f"figures/{name}.svg", caption=captions[name], alt=name)
            for name in names
            if name in plates
        ]

    blocks = [
        heading("Question and answer"),
        paragraph(str(record.fact("question") or "")),
        answer(verdict, parts),
        heading("Retrained with fresh seeds, on test images"),
        _retrained_rows(found),
        heading("The search"),
        *shown("search", "slices", "importances"),
        _trial_rows(trials),
        *([heading("Samples"), *shown("samples")] if "samples" in plates else []),
        heading("Protocol"),
        protocol_table(record, frame),
        heading("Retrained models"),
        pareto_tables.model_rows(record),
        heading("Cells without numbers"),
        pareto_tables.unfinished_rows(unfinished(frame), record),
        heading("Limits"),
        bullets(_limits(record)),
        heading("All plans"),
        *pareto_tables.plan_tables(levels, record.schedules),
    ]
    return {
        "title": "Which training schedule?",
        "subtitle": (
            f"Schedule study on {record.dataset}: {words.counted(len(record.trials), 'trial')} of "
            f"{record.budget_images:,} image passes, "
            f"{words.counted(len(record.seeds), 'fresh seed')}"
        ),
        "date": str(record.fact("created") or "")[:10],
        "quick": record.quick,
        "blocks": blocks,
    }


def _retrained_rows(found: Sequence[Retrained]) -> dict[str, Any]:
    if not found:
        return paragraph("No schedule was trained again beside the paper's.")
    rows: list[list[Text]] = [
        [
            [strong(row.schedule)],
            row.zone,
            row.metric.short,
            words.estimate(row.damage.estimate, row.damage.low, row.damage.high),
            words.p_value(row.p_holm),
            _side(row.sign),
        ]
        for row in found
    ]
    seeds = found[0].seeds
    over = words.counted(seeds, "training seed") if seeds > 1 else "disjoint sets of one seed"
    return table(
        caption=(
            "Winners against the paper's schedule: paired difference with 95 % interval by t over "
            f"{over}; positive is worse. Subnets: the mean over depths at the trained switch "
            "point. p after Holm's correction over the rows of a metric."
        ),
        columns=["Schedule", "Of", "Metric", "Difference", "p", "Than the paper's"],
        rows=rows,
        numeric_from=3,
        small=True,
    )


def _trial_rows(trials: pd.DataFrame) -> dict[str, Any]:
    rows: list[list[Text]] = []
    for _, row in trials.iterrows():
        name = f"{row['number']}" + (f" {row['label']}" if isinstance(row["label"], str) else "")
        rows.append(
            [
                str(row["rank"]),
                words.unbroken(name),
                _described(row),
                words.fixed(row["full"], 3),
                words.fixed(row["subnets"], 3),
                "yes" if row["front"] else "",
            ]
        )
    return table(
        caption=(
            "Trials by the mean of both objectives: NLL of the full network and mean NLL of the "
            "subnets, in nats/token on select images, one training each. No results: they chose."
        ),
        columns=["Rank", "Trial", "Schedule", "Full", "Subnets", "Front"],
        rows=rows,
        numeric_from=3,
        small=True,
    )


def _limits(record: ScheduleRecord) -> list[Text]:
    items: list[Text] = []
    if record.quick:
        items.append([strong("This was a quick run on tiny data: nothing in it is a result.")])
    if len(record.seeds) == 1:
        items.append("One fresh seed: how much models trained alike differ is not measured here.")
    items += [
        "Every trial is one training with one seed: ranks that are near each other may be luck, "
        "which is why winners are trained again.",
        "One base network and one budget. A cosine learning rate starves the last phase of a "
        "schedule, and so favours schedules that do their work early; --lr-schedule constant "
        "removes that.",
        "The paper's point with this budget is a small-scale analogue of its 30 epochs from a "
        "trained VAR-d30.",
        "Importances describe the surrogate forests of a few trials, not causes.",
    ]
    return items
