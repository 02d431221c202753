"""The report of the search study: does the found front beat two zones?"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.rules import deciding_metrics
from analysis.figures.plans import draw_fronts, draw_plan
from analysis.figures.theme import new_figure
from analysis.frame import headline_metrics, load_frame
from analysis.search_file import SearchFile
from analysis.searches.plans import PlanValues, plan_values
from analysis.statistics.fronts import NON_INFERIORITY_NATS
from analysis.statistics.intervals import Interval
from reports.parts import words
from reports.parts.figures import add_samples
from reports.parts.page import Page, Text, code, strong
from reports.parts.protocol import grid, protocol_table
from reports.parts.report import Report, picked
from reports.parts.tables import (
    add_cell_tables,
    add_failed_cells,
    cell_table,
    level_texts,
    unfinished,
)

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


def make_report(folder: Path, study: SearchFile) -> Report:
    """The report of a search study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", full=False)
    deciding = deciding_metrics(headline_metrics(frame))
    found, cells = [plan_values(study, frame, metric) for metric in deciding], cell_table(frame)
    page = Page(study, "A better plan than two zones?", f"{len(study.scored)} plans scored")
    page.answer(study.question, _verdict(found), _answer(study, found))
    if any(one.groups.get(group) for one in found for group in GROUPS):
        page.heading("Fronts")
        page.figure(
            "fronts",
            partial(_fronts, study, found),
            "The two fronts on test images. ",
            "Each was chosen on select images among the plans within the limit (dotted): "
            "two-zone plans, and all plans that the search scored. Lower left is better.",
        )
    if study.fronts.get("found"):
        page.heading("Plans")
        page.figure(
            "plans",
            partial(_plans, study),
            "The plans. ",
            "Rows are layers (the first on top), columns are scales; filled: the layer runs. "
            "Above: the two-zone front, below: the found front, by ascending KV "
            f"(at most {MOST_GRIDS} each).",
        )
    _add_selectors(page, study, frame, found)
    add_samples(page, folder)
    protocol_table(page, study, frame, deciding=deciding, plans=grid(study, (), study.selectors))
    add_failed_cells(page, unfinished(cells))
    page.limits(LIMITS)
    page.heading("All measured plans")
    add_cell_tables(page, cells, headline_metrics(frame))
    answer = {
        "hypervolume_difference": {one.metric.name: _ends(one.gain) for one in found},
        "best_found_minus_best_two_zone": {
            one.metric.name: _ends(one.best_difference) for one in found if one.best_difference
        },
        "plans_scored": len(study.scored),
    }
    return page.report(answer=answer, summary=cells)


def _ends(interval: Interval | None) -> dict[str, float] | None:
    return None if interval is None else picked(interval, "estimate", "low", "high")


def _said(gain: Interval | None) -> str:
    if gain is None:
        return "cannot be compared with"
    if not gain.low <= gain.high:
        return "differs without interval from"
    if gain.low > 0:
        return "beats"
    return "loses to" if gain.high < 0 else "does not differ from"


def _verdict(found: Sequence[PlanValues]) -> str:
    said = [f"the found front {_said(one.gain)} two zones in {one.metric.short}" for one in found]
    return "; ".join(said) or "nothing was measured"


def _answer(study: SearchFile, found: Sequence[PlanValues]) -> Text:
    limit, best = words.percent(study.kv_limit_bytes / study.kv_full_bytes), study.best
    parts: list[Text] = [
        f"Within {limit} of the full network's peak KV ({words.size(study.kv_limit_bytes)} an "
        f"image), {len(study.scored)} different plans were scored on {study.score_images} select "
        "images. "
    ]
    for one in found:
        if one.gain is not None:
            parts += [
                strong(one.metric.short),
                ": the found front's hypervolume minus the two-zone front's is "
                f"{words.interval(one.gain)} of the reference rectangle (positive: found is "
                "better; paired over disjoint test sets). ",
            ]
    if "found" in best:
        parts.append(f"The best plan by select NLL is {best['found'].plan} (plan-best.json). ")
    differences = [
        f"{one.metric.short} {words.interval(one.best_difference)}"
        for one in found
        if one.best_difference
    ]
    if differences and best["found"].layers != best["two-zone"].layers:
        parts.append(
            f"On test images it differs from the best two-zone plan, {best['two-zone'].plan}, by "
            f"{', '.join(differences)} (positive is worse)."
        )
    return parts


def _fronts(study: SearchFile, found: Sequence[PlanValues]) -> Figure:
    figure, limit = new_figure(height=2.5), study.kv_limit_bytes / study.kv_full_bytes
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for ax, one in zip(axes, found, strict=True):
        draw_fronts(ax, {group: one.points(group) for group in GROUPS}, GROUPS, limit=limit)
        ax.set_title(one.metric.heading)
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
            ax.set_title(words.percent(plan.kv / study.kv_full_bytes), fontsize=7, loc="center")
        for ax in row[len(plans) :]:
            ax.set_axis_off()
        if plans:
            row[0].set_ylabel(group)
    return figure


def _add_selectors(
    page: Page, study: SearchFile, frame: pd.DataFrame, found: Sequence[PlanValues]
) -> None:
    """Which layers to keep at equal depth, against equidistant ones."""
    every = frame[frame["family"] == "selector"]
    if every.empty:
        return
    mine = every.drop_duplicates(["subnet_depth", "selector"])
    own = mine["selector"] == "equidistant"
    equidistant = dict(mine.loc[own, ["subnet_depth", "cell_digest"]].itertuples(index=False))
    references = [equidistant.get(depth) for depth in mine["subnet_depth"].mask(own)]
    rows = level_texts(cell_table(every), [one.metric for one in found])
    for i, one in enumerate(found):
        texts = [
            "same layers"
            if digest == reference and digest in one.values.index
            else words.interval(one.difference(digest, reference))
            for digest, reference in zip(mine["cell_digest"], references, strict=True)
        ]
        rows.insert(2 * i + 2, f"{one.metric.damage} against equidistant", texts)
    page.heading("Which layers to keep")
    page.table(
        rows,
        "The same depth after the same switch point, other layers: levels on test images and "
        "paired differences from equidistant ones with 95 % interval over disjoint sets; positive "
        "is worse. The supernet was trained for one choice of layers, which has the advantage.",
    )
    if study.ranked:
        kept = "; ".join(f"{d}: {', '.join(map(str, ls))}" for d, ls in study.ranked.items())
        page.paragraph(["Layers that ranking kept, by depth (from 0): ", code(kept)])
