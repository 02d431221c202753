"""The report of the search study: does the found front beat two zones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.rules import deciding_metrics
from analysis.figures.plans import FrontGroup, draw_fronts, draw_plan
from analysis.figures.theme import new_figure
from analysis.frame import headline_metrics, load_frame
from analysis.metrics import Metric
from analysis.searches.plans import (
    PlanValues,
    SelectorPlan,
    hypervolume_difference,
    plan_values,
    selector_plans,
)
from analysis.statistics.fronts import NON_INFERIORITY_NATS, staircase
from analysis.statistics.intervals import Interval
from analysis.study_file import ScoredPlan, SearchFile
from reports.parts import words
from reports.parts.blocks import Text, code, plain, strong
from reports.parts.cell_tables import add_cell_tables, add_failed_cells, cell_table
from reports.parts.figures import sample_plate
from reports.parts.page import Page
from reports.parts.protocol import grid, protocol_table
from reports.parts.report import Report
from reports.parts.sheet import load_sheet

GROUPS = {"two-zone": "#0072b2", "found": "#d55e00"}
MOST_GRIDS = 12  # plans that are drawn
LIMITS = (
    "One supernet: intervals run over disjoint sets of test images or samples and speak of it "
    "alone. Another training seed may prefer other plans.",
    "The supernet was trained for two-zone plans at one switch point; plans found here were "
    "not trained for, and training for them may change their order.",
    "The search looked at teacher-forced NLL on select images only, which hides how errors "
    f"propagate. A difference below {NON_INFERIORITY_NATS} nats/token matters little elsewhere "
    "in these studies.",
)


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What the study found.

    Attributes:
        plans: every measured plan, by deciding metric.
        best: group to its plan with the least select NLL.
        gains: metric name to the found front's hypervolume minus the two-zone front's.
        differences: metric name to the best found plan minus the best two-zone plan.
        limit: of the KV share.
    """

    plans: tuple[PlanValues, ...]
    best: Mapping[str, ScoredPlan]
    gains: Mapping[str, Interval | None]
    differences: Mapping[str, Interval]
    selectors: Sequence[SelectorPlan]
    limit: float

    @property
    def metrics(self) -> tuple[Metric, ...]:
        return tuple(found.metric for found in self.plans)


def findings_of(study: SearchFile, frame: pd.DataFrame) -> Findings:
    """Everything that the report says, computed once."""
    limit = study.kv_limit_bytes / study.kv_full_bytes
    plans = tuple(
        plan_values(frame, metric, full_kv=study.kv_full_bytes)
        for metric in deciding_metrics(headline_metrics(frame))
    )
    best = {
        group: min(front, key=lambda plan: plan.select_nll)
        for group, front in study.fronts.items()
        if front
    }
    measured = set(frame["cell_digest"])
    digests = {layers: d for d, layers in study.plans.items() if d in measured}
    two_zone, found = (
        digests.get(best[group].layers) if group in best else None for group in GROUPS
    )
    gains, differences = {}, {}
    for one in plans:
        name, kind = one.metric.name, one.metric.kind
        reference = study.reference_nll if kind == "nll" else study.reference_fd
        gains[name] = hypervolume_difference(
            one, "found", "two-zone", corner=(1.05 * limit, reference)
        )
        difference = one.difference(found, two_zone)
        if difference is not None:
            differences[name] = difference
    return Findings(
        plans=plans,
        best=best,
        gains=gains,
        differences=differences,
        selectors=selector_plans(frame, plans),
        limit=limit,
    )


def make_report(folder: Path, study: SearchFile) -> Report:
    """The report of a search study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", full=False)
    sheet = load_sheet(folder / "samples.npz")
    found = findings_of(study, frame)
    cells = cell_table(frame)
    verdict, text = _verdict(found), _answer(study, found)
    scored = f"{len(study.scored)} plans scored"
    page = Page(
        study,
        title="A better plan than two zones?",
        subtitle=f"Search study on {study.dataset.name}: {scored}",
    )
    page.heading("Question and answer")
    page.paragraph(study.question)
    page.answer(verdict, text)
    if found.plans:
        page.heading("Fronts")
        page.figure(
            "fronts",
            partial(_fronts, found),
            [
                strong("The two fronts on test images. "),
                "Each was chosen on select images among the plans within the limit (dotted): "
                "two-zone plans, and all plans that the search scored. Lower left is better.",
            ],
        )
    if study.fronts.get("found"):
        page.heading("Plans")
        page.figure(
            "plans",
            partial(_plans, study),
            [
                strong("The plans. "),
                "Rows are layers (the first on top), columns are scales; filled: the layer runs. "
                "Above: the two-zone front, below: the found front, by ascending KV "
                f"(at most {MOST_GRIDS} each).",
            ],
        )
    _add_selectors(page, study, found)
    if sheet is not None:
        page.heading("Samples")
        page.figure(
            "samples",
            partial(sample_plate, sheet),
            [strong("Samples. "), "The same random numbers in every row."],
        )
    protocol_table(
        page, study, frame, deciding=found.metrics, plans=grid(study, (), study.selectors)
    )
    add_failed_cells(page, cells)
    page.limits(LIMITS)
    page.heading("All measured plans")
    add_cell_tables(page, cells, headline_metrics(frame))
    return page.report(
        verdict=verdict,
        answer={
            "answer": plain(text),
            "hypervolume_difference": {name: _ends(gain) for name, gain in found.gains.items()},
            "best_found_minus_best_two_zone": {
                name: _ends(difference) for name, difference in found.differences.items()
            },
            "plans_scored": len(study.scored),
        },
        summary=cells,
    )


def _ends(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _said(gain: Interval | None) -> str:
    if gain is None:
        return "cannot be compared with"
    if not gain.low <= gain.high:
        return "differs without interval from"
    if gain.low > 0:
        return "beats"
    return "loses to" if gain.high < 0 else "does not differ from"


def _verdict(found: Findings) -> str:
    said = [
        f"the found front {_said(found.gains[m.name])} two zones in {m.short}"
        for m in found.metrics
    ]
    return "; ".join(said) or "nothing was measured"


def _answer(study: SearchFile, found: Findings) -> Text:
    parts: list[Any] = [
        f"Within {words.percent(found.limit)} of the full network's peak KV "
        f"({words.size(study.kv_limit_bytes)} an image), {len(study.scored)} different plans were "
        f"scored on {study.score_images} select images. "
    ]
    for metric in found.metrics:
        gain = found.gains[metric.name]
        if gain is not None:
            parts += [
                strong(metric.short),
                f": the found front's hypervolume minus the two-zone front's is "
                f"{words.interval(gain)} of the reference rectangle (positive: found is better; "
                "paired over disjoint test sets). ",
            ]
    best, two_zone = found.best.get("found"), found.best.get("two-zone")
    if best is not None:
        parts.append(f"The best plan by select NLL is {best.plan} (plan-best.json). ")
    if found.differences and best.layers != two_zone.layers:
        said = [
            f"{m.short} {words.interval(found.differences[m.name])}"
            for m in found.metrics
            if m.name in found.differences
        ]
        parts.append(
            f"On test images it differs from the best two-zone plan, {two_zone.plan}, by "
            f"{', '.join(said)} (positive is worse)."
        )
    return parts


def _fronts(found: Findings) -> Figure:
    figure = new_figure(height=2.5)
    axes = figure.subplots(1, len(found.plans), squeeze=False)[0]
    for ax, plans in zip(axes, found.plans, strict=True):
        groups = {}
        for group, colour in GROUPS.items():
            points = plans.points(group)
            groups[group] = FrontGroup(points=points, front=staircase(points), colour=colour)
        draw_fronts(ax, groups, limit=found.limit, title=plans.metric.heading)
    return figure


def _plans(study: SearchFile) -> Figure:
    fronts = {
        group: sorted(study.fronts.get(group, ()), key=lambda plan: plan.kv)[:MOST_GRIDS]
        for group in GROUPS
    }
    figure = new_figure(height=2.6)
    axes = figure.subplots(2, max(6, *map(len, fronts.values())))
    for row, (group, plans) in zip(axes, fronts.items(), strict=True):
        for ax, plan in zip(row, plans, strict=False):
            draw_plan(ax, plan.layers, study.geometry.depth, colour=GROUPS[group])
            share = words.percent(plan.kv / study.kv_full_bytes)
            ax.set_title(share, fontsize=7, loc="center")
        for ax in row[len(plans) :]:
            ax.set_axis_off()
        if plans:
            row[0].set_ylabel(group)
    return figure


def _add_selectors(page: Page, study: SearchFile, found: Findings) -> None:
    """Which layers to keep at equal depth, against equidistant ones."""
    if not found.selectors:
        return
    columns: dict[str, list[str]] = {
        "Plan": [words.unbroken(f"{row.plan} {row.selector}") for row in found.selectors]
    }
    for m in found.metrics:
        levels = [row.levels[m.name] for row in found.selectors]
        columns[m.short] = [
            words.interval(level, signed=False) if level else "failed" for level in levels
        ]
        columns[f"{m.damage} against equidistant"] = [
            "same layers" if row.same_layers and level else words.interval(row.damages[m.name])
            for row, level in zip(found.selectors, levels, strict=True)
        ]
    page.heading("Which layers to keep")
    page.table(
        pd.DataFrame(columns),
        "The same depth after the same switch point, other layers: levels on test images and "
        "paired differences from equidistant ones with 95 % interval over disjoint sets; positive "
        "is worse. The supernet was trained for one choice of layers, which has the advantage.",
    )
    if study.ranked:
        kept = "; ".join(f"{d}: {', '.join(map(str, ls))}" for d, ls in study.ranked.items())
        page.paragraph(["Layers that ranking kept, by depth (from 0): ", code(kept)])
