"""The report of the search study: do found plans beat two zones, at equal memory?"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.claims.rules import EVERY, undecided
from analysis.figures.plans import draw_fronts, draw_plan
from analysis.figures.theme import FAINT, new_figure
from analysis.frame import headline_metrics
from analysis.search_file import SearchFile
from analysis.searches.plans import PlanValues, difference, plan_values
from analysis.statistics.units import LEAST_UNITS
from reports.parts import words
from reports.parts.figures import add_samples
from reports.parts.metrics import judging_metrics
from reports.parts.page import Page, Text, code, strong
from reports.parts.protocol import grid, protocol_table
from reports.parts.report import Report, picked, study_frame
from reports.parts.tables import (
    add_cell_tables,
    add_failed_cells,
    cell_table,
    level_texts,
    unfinished,
)

GROUPS = {"two-zone": "#0072b2", "found": "#d55e00"}
LOOKS: dict[str, dict[str, Any]] = {
    "two-zone": {"color": GROUPS["two-zone"], "markersize": 7.0},  # shows around what both share
    "found": {"color": GROUPS["found"]},
}
MOST_GRIDS = 12  # plans that are drawn
LIMITS = (
    "One supernet: intervals are its jackknife's and speak of it alone, against these reference "
    "images, whose own chance is not in them. Another training seed may "
    "prefer other plans.",
    "The supernet was trained for two-zone plans at one switch point; plans found here were "
    "not trained for, and training for them may change their order.",
)
SEEN = {
    "nll": "The search looked at teacher-forced NLL on select images only, which hides how errors "
    "propagate.",
    "distance": "The search looked at a distance of few samples, so its winner is partly luck: "
    "test images and samples of other uniforms say what it is worth.",
}


def make_report(folder: Path, study: SearchFile) -> Report:
    frame = study_frame(folder, study)
    deciding = judging_metrics(study, headline_metrics(frame))
    found, cells = plan_values(study, frame, deciding), cell_table(frame)
    page = Page(study, "A better plan than two zones?", f"{len(study.scored)} plans scored")
    page.answer(study.question, _verdict(study, found), _answer(study, found))
    if any(group in one.points for one in found for group in GROUPS):
        page.heading("Fronts")
        page.figure(
            "fronts",
            partial(_fronts, study, found),
            "The two fronts on test images. ",
            "Each was chosen on select images among the plans within the limit (dotted): "
            "two-zone plans, and all plans that the search scored; lines join them by memory, and "
            "no front is picked on test images. Lower left is better. Bars: 95 "
            "% intervals, the jackknife's of this network; band: real images.",
        )
        _add_matches(page, study, found)
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
    training = (
        f"{study.image_passes:,} image passes by the progressive schedule, switch after scale "
        f"{study.trained_switch}, subnets of a quarter, half and three quarters of the layers"
        if study.image_passes
        else None
    )
    plans = grid(study, (), study.selectors)
    compared = "compared as the first distance is"
    protocol_table(page, study, frame, likelihood=compared, plans=plans, training=training)
    add_failed_cells(page, unfinished(frame))
    page.limits((*LIMITS, SEEN[study.objective]))
    page.heading("All measured plans")
    add_cell_tables(page, study, cells, deciding)
    answer = {
        "matches": {
            one.metric.name: [
                {"found": match.found.plan, "two_zone": match.zones.plan, "kv": match.found.kv}
                | {"difference": d and picked(d, "estimate", "low", "high"), "p_holm": match.p_holm}
                for match in one.matches
                for d in [match.difference]
            ]
            for one in found
        },
        "plans_scored": len(study.scored),
    }
    return page.report(answer=answer, summary=cells)


def _counts(one: PlanValues) -> str:
    """How many found plans are better and worse than their matches, of how many compared."""
    signs = [match.sign for match in one.matches if match.difference]
    if not signs:
        return "none could be compared"
    better, worse = signs.count(-1), signs.count(1)
    return f"better at {better} and worse at {worse} of {len(signs)} memory sizes"


def _verdict(study: SearchFile, found: Sequence[PlanValues]) -> str:
    """Of one network, whatever the metric, there is none; of each, whether it sees what is asked.

    A found plan may drop layers at any scale.
    """
    why = {one.metric: undecided(study, one.metric, LEAST_UNITS, EVERY) for one in found}
    said = [f"{o.metric.short} {words.unless(why[o.metric], _counts(o))}" for o in found]
    if not said:
        return "nothing was measured"
    return f"descriptive, of this one network: found plans against two zones, {'; '.join(said)}"


def _answer(study: SearchFile, found: Sequence[PlanValues]) -> Text:
    limit, best = numbers.percent(study.kv_limit_bytes / study.kv_full_bytes), study.best
    against = f"{study.score_samples:,} samples against all {study.dataset.select_images:,} of them"
    drawn = f" and by {against}" if study.score_samples else ""
    parts: list[Text] = [
        f"Within {limit} of the full network's peak KV ({numbers.size(study.kv_limit_bytes)} an "
        f"image), {len(study.scored)} different plans were scored by the NLL of "
        f"{study.score_images} select images{drawn}. "
    ]
    if "found" in best:
        parts.append(
            f"The best plan by {study.chosen_by} is {best['found'].plan} (plan-best.json). "
        )
    for one in found:
        if any(match.difference for match in one.matches):
            last = one.matches[-1]
            parts += [
                strong(one.metric.short),
                f": on test images {_counts(one)}; the largest found plan, {last.found.plan}, "
                f"differs from {last.zones.plan} by {numbers.interval(last.difference)}. ",
            ]
    if any(one.matches for one in found):
        parts.append(
            "Each found plan is held against the two-zone plan that select images chose within "
            "its memory; positive is worse; p after Holm's correction over the pairs. "
            "Descriptive: they are tests of one network."
        )
    return parts


def _add_matches(page: Page, study: SearchFile, found: Sequence[PlanValues]) -> None:
    rows = [
        {
            "KV up to": numbers.size(matches[0].found.kv),
            "Share": numbers.percent(matches[0].found.kv / study.kv_full_bytes),
            "Found": matches[0].found.plan,
            "Two zones": matches[0].zones.plan,
        }
        | {
            one.metric.damage: numbers.interval(match.difference) + words.STAR * abs(match.sign)
            for one, match in zip(found, matches, strict=True)
        }
        for matches in zip(*(one.matches for one in found), strict=True)
    ]
    page.table(
        pd.DataFrame(rows),
        "Point by point, at no more memory, on test images: each found plan against the "
        f"two-zone plan of at most its peak KV that is best by {study.chosen_by}; paired, positive "
        "is worse for the found plan. 95 % interval by the jackknife over the samples of this one "
        "network; "
        f"{words.STAR} marks p < 0.05 after Holm's correction over the column, descriptive. No "
        "front is picked on test images.",
        numeric_from=4,
    )


def _fronts(study: SearchFile, found: Sequence[PlanValues]) -> Figure:
    figure = new_figure(height=2.7)
    axes = figure.subplots(1, len(found), squeeze=False)[0]
    for ax, one in zip(axes, found, strict=True):
        ax.set_xlim(0, 1.06 * study.kv_limit_bytes)
        ax.axvline(study.kv_limit_bytes, color=FAINT, lw=0.8, linestyle=(0, (1, 1.5)), zorder=0)
        fronts = {group: one.points[group] for group in GROUPS if group in one.points}
        draw_fronts(ax, fronts, LOOKS, full_kv=study.kv_full_bytes, floor=one.floor)
        ax.set_ylabel(one.metric.heading)
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncol=2, frameon=False, fontsize=7.5)
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
            ax.set_title(numbers.percent(plan.kv / study.kv_full_bytes), fontsize=7, loc="center")
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
            if digest == reference and digest in one.values
            else numbers.interval(difference(one.values, digest, reference))
            for digest, reference in zip(mine["cell_digest"], references, strict=True)
        ]
        rows.insert(2 * i + 2, f"{one.metric.damage} against equidistant", texts)
    page.heading("Which layers to keep")
    page.table(
        rows,
        "The same depth after the same switch point, other layers: levels on test images and "
        "paired differences from equidistant ones with 95 % interval by the jackknife over "
        "samples of this network; positive is worse. The supernet was trained for one choice of "
        "layers, which has the advantage.",
    )
    if study.ranked:
        kept = "; ".join(f"{d}: {', '.join(map(str, ls))}" for d, ls in study.ranked.items())
        page.paragraph(["Layers that ranking kept, by depth (from 0): ", code(kept)])
