"""The report of the sensitivity study: its order, its tables and figures; words are beside it."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.claims.c1 import judge_c1
from analysis.claims.rows import LedgerRow
from analysis.claims.rules import EVERY
from analysis.figures.asymmetry import draw_asymmetry, draw_window_damage, scale_range
from analysis.figures.heatmap import draw_heatmap, draw_triangle, exponent_of
from analysis.figures.theme import PAGE_WIDTH, new_figure
from analysis.maps.heatmap import Heatmap
from analysis.statistics.asymmetry import PRIMARY, Asymmetry, AsymmetryStudy, asymmetry_study
from analysis.statistics.damage import Damages, cells_by
from analysis.statistics.intervals import Interval
from analysis.statistics.units import NOTHING
from analysis.study_file import EQUIDISTANT, REAL, ScaleZone, SensitivityFile
from reports.parts import words
from reports.parts.figures import add_samples, heatmap_plate
from reports.parts.ledger import add_ledger, add_rules, add_tests, ledger_json, verdict_words
from reports.parts.page import Page, code, strong
from reports.parts.protocol import protocol_table
from reports.parts.report import Report, check_together, picked, study_frame
from reports.parts.tables import add_failed_cells, estimate_texts, votes
from reports.sensitivity import words as sentences
from reports.sensitivity.findings import SAVINGS, Findings, SelectorFindings
from reports.sensitivity.words import Caption

NOTE = {PRIMARY: " (the claim's)"}
FAMILIES = {
    "scale": "one scale loses depth",
    "switch": "two-zone plans",
    "prefix": "the first scales lose depth",
}


def make_report(folder: Path, study: SensitivityFile) -> Report:
    frame, g = study_frame(folder, study, full=True), study.geometry
    scales = len(g.patch_nums)
    allowed = {"scale": range(1, scales + 1), "switch": range(scales + 1), "window": study.windows}
    allowed |= {"subnet_depth": range(1, g.depth + 1), "selector": study.selectors}
    placed = frame.loc[~frame["family"].isin(("full", REAL)), list(allowed)]
    check_together(folder, placed, allowed)
    found = Findings(study, frame)
    units = words.counted(len(found.units), "unit")
    page = Page(study, "Which scales need depth?", f"{scales} scales", f"{g.depth} layers", units)
    ledger = (found.main.claim,)
    said = sentences.answer_text(found)
    page.answer(sentences.QUESTION, verdict_words(ledger), said, label="Verdict")
    add_ledger(page, study, ledger)
    page.figure(
        "windows",
        partial(_windows_plate, found),
        "What windows of scales cost, and every other split. ",
        sentences.windows_caption(found),
        sentences.basis(found, found.judging) + sentences.splits(found),
    )
    page.heading("Early against late scales")
    _add_windows(page, found)
    _add_asymmetry(page, found, found.main.asymmetry)
    _add_figures(page, found, found.main)
    shown = sentences.sample_caption(found)
    add_samples(page, folder, shown, lead="What the plans generate. ", name="sample_sheet")
    add_tests(page, study, ledger)
    add_rules(page, ledger)
    protocol_table(page, study, frame, plans=sentences.plans_measured(study))
    _add_levels(page, found)
    add_failed_cells(page, found.failed)
    page.limits(sentences.limits(found))
    page.heading("Other selectors")
    for mine in found.selectors[1:]:
        _add_asymmetry(page, found, mine.asymmetry)
        _add_figures(page, found, mine)
    page.heading("All cells")
    _add_cells(page, found)
    return page.report(answer=_answer(found), summary=found.damages.table)


def judge(study: SensitivityFile, frame: pd.DataFrame) -> tuple[LedgerRow, ...]:
    damages = Damages(frame)
    found = asymmetry_study(damages, frame, study, selector=study.selector)
    return (judge_c1(found, study),)


def _answer(found: Findings) -> dict[str, Any]:
    """What `answer.json` says beside the answer: verdicts, asymmetries, failures."""
    return {
        "ledger": ledger_json((found.main.claim,)),
        "verdicts": {mine.selector: mine.claim.verdict.value for mine in found.selectors},
        "failed_cells": found.failed,
        "asymmetry": [
            {"selector": mine.selector, "normalisation": a.normalisation.value}
            | {"metric": a.metric.name, "decides": a.metric in found.judging and a.metric.decides}
            | {"early": a.early.estimate, "late": a.late.estimate}
            | {"asymmetry": a.difference.estimate, "units": a.observed.units}
            | picked(a.difference, "low", "high", "standard_error", "degrees_of_freedom", "p_value")
            | picked(a, "early_divisor", "late_divisor")
            for mine in found.selectors
            for a in mine.asymmetry.estimates
        ],
    }


def _windows_plate(found: Findings) -> Figure:
    """For each metric that has a line in the ledger: damage by window, and the triangle."""
    mine, scales = found.main, len(found.study.geometry.patch_nums)
    triangles = [m for m in found.judging if mine.asymmetry.triangle.get(m.name)]
    figure = new_figure(height=2.2)
    axes = figure.subplots(1, len(found.judging) + len(triangles), squeeze=False)[0]
    for ax, metric in zip(axes, found.judging, strict=False):
        draw_window_damage(ax, metric, mine.windows.loc[metric.name], mine.asymmetry.windows)
    for ax, metric in zip(axes[len(found.judging) :], triangles, strict=True):
        draw_triangle(ax, mine.asymmetry.triangle[metric.name], scales)
        ax.set_title(f"{metric.short}: signs{sentences.place(found, 'prefix')}")
    return figure


def _add_asymmetry(page: Page, found: Findings, study: AsymmetryStudy) -> None:
    """A under each normalisation, with its terms, interval and p."""
    if not study.estimates:
        page.paragraph(
            f"Selector {study.selector}: no early and late window finished in the same unit, so "
            "the asymmetry A is not known."
        )
        return
    rows = [
        {
            "Normalisation": normalisation.value + NOTE.get(normalisation, ""),
            "Metric": a.metric.short,
            "Early": _term(a, a.early),
            "Late": _term(a, a.late),
            "A [95 % interval]": numbers.interval(a.difference),
            "p": numbers.p_value(a.difference.p_value),
        }
        for normalisation in study.normalisations
        for a in study.under(normalisation)
        if a.metric in found.judging
    ]
    selector = f" Selector {study.selector}." if study.selector != EQUIDISTANT else ""
    page.table(
        pd.DataFrame(rows),
        f"The asymmetry A = early term {numbers.MINUS} late term, at depth {study.half_depth}."
        f"{selector} A term is the window's damage (FD has no unit, NLL is in nats/token), as "
        "published undivided, or divided by the "
        "window's scales, its tokens, the MiB of peak KV cache or the GFLOP that its plan saves: "
        "rates, which are statements about efficiency and decide nothing. Intervals are by "
        f"{words.over(len(found.units))}; p is not adjusted. {sentences.basis(found)}",
        widths=[0.27, 0.12, 0.12, 0.12, 0.25, 0.12],
        numeric_from=2,
        grouped=True,
    )


def _term(a: Asymmetry, term: Interval) -> str:
    """With as many decimals as A itself."""
    decimals = numbers.decimals_for(a.difference.low, a.difference.high)
    if decimals is None:
        return numbers.number(term.estimate, signed=True)
    return numbers.fixed(term.estimate, decimals, signed=True)


def _add_windows(page: Page, found: Findings) -> None:
    study, sides = found.study, found.study.geometry.patch_nums
    zones = [tuple(zone for zone in EVERY if zone == name) for name in study.windows]
    texts = _cost_texts(found, found.main.windows, zones)
    scales = [
        f"{scale_range(scales)} ({sum(sides[s - 1] ** 2 for s in scales)} tokens)"
        for scales in study.windows.values()
    ]
    texts.insert(0, "Window", [strong(name) for name in study.windows])
    texts.insert(1, "Scales", scales)
    page.table(
        texts,
        "What a window costs and saves: damage against the full network when its scales run at "
        f"depth {study.half_depth}, with 95 % interval (positive is worse), and the share of the "
        f"full network's peak KV cache and FLOPs that it saves. {words.STAR} marks p < 0.05 after "
        f"Holm's correction over the column, {words.UNMARKED}. {sentences.basis(found)}",
        numeric_from=2,
    )


def _cost_texts(
    found: Findings, cells: pd.DataFrame, zones: Sequence[tuple[ScaleZone, ...]]
) -> pd.DataFrame:
    """Damage and savings as texts: a row a name and a column a metric of `cells_by`.

    Args:
        zones: that each name touches, whose damage a metric that is marked has seen.
    """
    columns = []  # two metrics may have one heading
    for metric in found.metrics:
        mine = cells.loc[metric.name]
        exponent = exponent_of(mine["damage"])
        factor = f", {numbers.power_of_ten(exponent)}" if exponent else ""
        scaled = mine[["damage", "low", "high"]] / 10.0**exponent
        may = [votes(found.study, metric.name, len(found.units), touched) for touched in zones]
        texts = estimate_texts(scaled.join(mine["p_holm"].where(may)))
        columns.append(texts.mask(mine["failed"], "failed").rename(metric.damage + factor))
    for metric in found.savings:
        mine = cells.loc[metric.name]
        share = -mine["damage"] / mine["full_value"]
        columns.append(share.map(numbers.percent).rename(SAVINGS[metric.name]))
    return pd.concat(columns, axis=1)


def _add_levels(page: Page, found: Findings) -> None:
    """The full network's own level of each metric, beside the floor."""
    rows = []
    for metric in (*found.every, *found.savings):
        own = found.damages.full.get(metric.name, NOTHING)
        floor = found.damages.floor.get(metric.name, NOTHING)
        above = own.minus(floor).times(metric.damage_sign)
        if metric.exact:
            value = numbers.size if metric.unit == "bytes" else numbers.number
            said, counted = value(own.mean), "exact"
        else:
            said, counted = numbers.interval(own.bounds(), signed=False), f"{own.count:,}"
        rows.append(
            {
                "Metric": code(metric.name),
                "Better": metric.better,
                "Value": said,
                "Real images": numbers.interval(floor.bounds(), signed=False),
                "Above floor": numbers.interval(above.bounds()),
                "Images or samples": counted,
            }
        )
    page.table(
        pd.DataFrame(rows),
        f"The full network itself, by {words.over(len(found.units))}: mean with 95 % interval. "
        "Real images are reconstructions of held-out ones, scored as samples are: the floor. "
        "Distances depend on feature space and sample count, and compare only at equal ones.",
        widths=[0.27, 0.09, 0.18, 0.18, 0.18, 0.1],
        numeric_from=2,
    )


def _add_cells(page: Page, found: Findings) -> None:
    """Every cell of the scale and switch families with intervals, one table a selector."""
    tables = (found.damages.table, found.damages.failures)
    for mine in found.selectors:
        of = f", selector {mine.selector}" if len(found.selectors) > 1 else ""
        for family, said in FAMILIES.items():
            own = {"family": family, "selector": mine.selector}
            damage, failed = (t[(t[list(own)] == pd.Series(own)).all(axis=1)] for t in tables)
            plans = pd.concat([damage, failed]).drop_duplicates("plan")
            if plans.empty:
                continue
            place = ["scale", "switch", "subnet_depth"]
            names = plans.sort_values(place, ascending=[True, True, False])["plan"]
            metrics = [*found.metrics, *found.savings]
            every = [EVERY] * len(names)
            texts = _cost_texts(found, cells_by(damage, failed, "plan", names, metrics), every)
            texts.insert(0, "Cell", texts.index.map(words.unbroken))
            page.table(
                texts,
                f"All cells, {said}{of}: damage against the full network with 95 % interval; "
                f"{words.STAR} marks p < 0.05 after Holm's correction over the column, "
                f"{words.UNMARKED}. "
                f"{sentences.basis(found, None, family)}",
            )


def _asymmetry_plate(found: Findings, mine: SelectorFindings) -> Figure:
    groups = [
        [a for a in mine.asymmetry.under(n) if a.metric in found.metrics]
        for n in mine.asymmetry.normalisations
    ]
    figure = new_figure(height=0.75 + 0.19 * len(found.metrics))
    figure.supxlabel("A divided by the sum of its two terms' sizes", fontsize=8)
    axes = figure.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for ax, group in zip(axes, groups, strict=True):
        draw_asymmetry(ax, group)
    return figure


def _propagation_plate(data: Heatmap) -> Figure:
    """The propagation map alone, near square."""
    scales = len(data.rows)
    figure = new_figure(width=min(PAGE_WIDTH, 1.2 + 0.58 * scales), height=0.75 + 0.29 * scales)
    draw_heatmap(figure.subplots(), data)
    return figure


def _add_figures(page: Page, found: Findings, mine: SelectorFindings) -> None:
    """Every figure that the study has data for; those of other selectors bear their names."""
    main, label = mine is found.main, found.metrics[0].label

    def add(name: str, draw: Callable[[], Figure], caption: Caption, basis: str) -> None:
        lead, rest = caption
        if not main:
            name, lead = f"{name}_{mine.selector}", f"Selector {mine.selector}. {lead}"
        page.figure(name, draw, lead, rest, basis)

    basis = sentences.basis(found)
    if mine.asymmetry.estimates:
        draw = partial(_asymmetry_plate, found, mine)
        add("asymmetry", draw, sentences.ASYMMETRY, basis)
    if main:
        page.heading("Scale by scale")
    if mine.scales:
        draw = partial(heatmap_plate, [panel for pair in mine.scales for panel in pair])
        caption = sentences.scale_depth_caption(label, mine.scales, sentences.place(found, "scale"))
        add("scale_depth_heatmap", draw, caption, sentences.basis(found, None, "scale"))
    if mine.propagation is not None:
        draw = partial(_propagation_plate, mine.propagation)
        nll = sentences.basis(found, [m for m in found.metrics if m.kind == "nll"], "scale")
        caption = sentences.propagation_caption(mine.propagation, sentences.place(found, "scale"))
        add("propagation", draw, caption, nll)
    if main:
        page.heading("Where to switch")
    if mine.switches:
        draw = partial(heatmap_plate, [*mine.switches, *mine.savings])
        of_switches = sentences.basis(found, None, "switch")
        caption = sentences.switch_depth_caption(label, mine, sentences.place(found, "switch"))
        add("switch_depth_heatmap", draw, caption, of_switches)
