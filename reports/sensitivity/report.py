"""The report of the sensitivity study: its order, its tables and figures; words are beside it."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.c1 import dissent, nll_dissent
from analysis.figures.asymmetry import draw_asymmetry, draw_window_damage, scale_range
from analysis.figures.heatmap import draw_heatmap, exponent_of
from analysis.figures.theme import PAGE_WIDTH, new_figure
from analysis.frame import load_frame
from analysis.maps.heatmap import Heatmap
from analysis.statistics.asymmetry import PRIMARY, Asymmetry, AsymmetryStudy, Normalisation
from analysis.statistics.damage import cells_by
from analysis.statistics.intervals import Interval
from analysis.study_file import SensitivityFile
from reports.parts import words
from reports.parts.figures import add_samples, heatmap_plate
from reports.parts.page import Page, code, strong
from reports.parts.protocol import protocol_table
from reports.parts.report import Report, check_together, picked
from reports.parts.tables import add_failed_cells, estimate_texts
from reports.sensitivity import words as sentences
from reports.sensitivity.findings import SAVINGS, Findings, SelectorFindings, analyse
from reports.sensitivity.words import Caption

NOTES = {PRIMARY: " (primary)", Normalisation.WINDOW: " (as published)"}
FAMILIES = {"scale": "one scale loses depth", "switch": "two-zone plans"}


def make_report(folder: Path, study: SensitivityFile) -> Report:
    """The report of a sensitivity study's folder; see `reports.build.build`."""
    frame, g = load_frame(folder / "frame.parquet"), study.geometry
    scales = len(g.patch_nums)
    allowed = {"scale": range(1, scales + 1), "switch": range(scales + 1), "window": study.windows}
    allowed |= {"subnet_depth": range(1, g.depth + 1), "selector": study.selectors}
    check_together(folder, frame[frame["family"] != "full"], allowed)
    found = analyse(study, frame)
    page = Page(study, "Which scales need depth?", f"{scales} scales", f"{g.depth} layers")
    text = sentences.answer_text(found)
    page.answer(sentences.QUESTION, sentences.verdict_words(found), text)
    _add_ledger(page, found)
    page.heading("Early against late scales")
    _add_windows(page, found)
    _add_asymmetry(page, found, found.main.asymmetry)
    _add_figures(page, found, found.main)
    said = sentences.sample_caption(found)
    add_samples(page, folder, said, lead="What the plans generate. ", name="sample_sheet")
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
    return page.report(answer=_answer(found), summary=found.damage)


def _answer(found: Findings) -> dict[str, Any]:
    """What `answer.json` says beside the answer: verdicts, asymmetries, failures."""
    claim, main = found.claim, found.main.asymmetry
    studies = [mine.asymmetry for mine in found.selectors]
    own = ("early_divisor", "late_divisor", "p_holm", "base_seeds", "sets", "count")
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
        "failed_cells": found.failed,
        "asymmetry": [
            {"selector": study.selector, "normalisation": a.normalisation.value}
            | {"metric": a.metric.name, "decides": a.metric.decides}
            | {"early": a.early.estimate, "late": a.late.estimate}
            | {"asymmetry": a.difference.estimate}
            | picked(a.difference, "low", "high", "standard_error", "degrees_of_freedom", "p_value")
            | picked(a, *own)
            for study in studies
            for a in study.estimates
        ],
    }


def _add_ledger(page: Page, found: Findings) -> None:
    """The claim, what was published, what we found, the verdict."""
    claim, published = found.claim, found.main.asymmetry.verdict(Normalisation.WINDOW)
    evidence = found.main.asymmetry.evidence
    estimates = [f"{a.metric.short} {words.interval(a.difference)}" for a in evidence]
    as_published = f"; per window, as published: {published.value}"
    row = {
        "": strong(claim.claim.id),
        "Claim of the paper": claim.claim.sentence,
        "Published": claim.claim.published,
        "Ours": f"{claim.setting}: {words.listed(estimates) or 'no estimate'}",
        "Verdict": [strong(sentences.verdict_words(found)), as_published if evidence else ""],
    }
    page.table(
        pd.DataFrame([row]),
        "Claim ledger. Our estimate is the asymmetry A with 95 % interval, for the verdict "
        f"{PRIMARY.value}; it rests on {claim.rests_on}.",
        widths=[0.05, 0.28, 0.22, 0.27, 0.18],
        small=False,
    )


def _add_asymmetry(page: Page, found: Findings, study: AsymmetryStudy) -> None:
    """A under each normalisation, with its terms, interval, p and verdict."""
    if not study.estimates:
        page.paragraph(
            f"Selector {study.selector}: no early and late window finished under the same base "
            "network, so the asymmetry A is not known."
        )
        return
    rows = [
        {
            "Normalisation": normalisation.value + NOTES.get(normalisation, ""),
            "Metric": a.metric.short,
            "Early": _term(a, a.early),
            "Late": _term(a, a.late),
            "A [95 % interval]": words.interval(a.difference),
            "p": words.p_value(a.p_value),
            "Verdict": "" if i else strong(verdict.value),
        }
        for normalisation, verdict in study.verdicts.items()
        for i, a in enumerate(study.under(normalisation))
    ]
    selector = f" Selector {study.selector}." if study.selector != "equidistant" else ""
    page.table(
        pd.DataFrame(rows),
        f"The asymmetry A = early term {words.MINUS} late term, at depth {study.half_depth}."
        f"{selector} A term is the window's damage (FD and KID have no unit, NLL is in "
        "nats/token, accuracy a share of samples) divided by the window's scales, by nothing, "
        "by its tokens, or by the MiB of peak KV cache that its plan saves: a rate, since the "
        "cache of a small network is less than one. Intervals are Student's t over "
        f"{'base networks' if study.over_seeds else 'the disjoint sets'}; p is "
        "Holm-adjusted over the deciding metrics; NLL does not decide and its p is not adjusted. "
        f"{sentences.basis(found)}",
        widths=[0.28, 0.11, 0.1, 0.1, 0.25, 0.12, 0.15],
        numeric_from=2,
        small=False,
        grouped=True,
    )


def _term(a: Asymmetry, term: Interval) -> str:
    """With as many decimals as A itself."""
    decimals = words.decimals_for(a.difference.low, a.difference.high)
    if decimals is None:
        return words.number(term.estimate, signed=True)
    return words.fixed(term.estimate, decimals, signed=True)


def _add_windows(page: Page, found: Findings) -> None:
    """What each window costs and saves."""
    study, sides = found.study, found.study.geometry.patch_nums
    texts = _cost_texts(found, found.main.windows)
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
        f"Holm's correction over the column. {sentences.basis(found)}",
        numeric_from=2,
    )


def _cost_texts(found: Findings, cells: pd.DataFrame) -> pd.DataFrame:
    """Damage and savings as texts: a row a name and a column a metric of `cells_by`."""
    columns = []  # two metrics may have one heading
    for metric in found.metrics:
        mine = cells.loc[metric.name]
        exponent = exponent_of(mine["damage"])
        factor = f", {words.power_of_ten(exponent)}" if exponent else ""
        scaled = mine[["damage", "low", "high"]] / 10.0**exponent
        texts = estimate_texts(scaled.join(mine["p_holm"]))
        columns.append(texts.mask(mine["failed"], "failed").rename(metric.damage + factor))
    for metric in found.savings:
        mine = cells.loc[metric.name]
        share = -mine["damage"] / mine["full_value"]
        columns.append(share.map(words.percent).rename(SAVINGS[metric.name]))
    return pd.concat(columns, axis=1)


def _add_levels(page: Page, found: Findings) -> None:
    """The full network's own level of each metric."""
    rows = []
    for metric in (*found.metrics, *found.savings):
        row = found.levels.loc[metric.name]
        if metric.exact:
            value = words.size if metric.unit == "bytes" else words.number
            said, counted = value(row["estimate"]), "exact"
        else:
            said = words.estimate(row["estimate"], row["low"], row["high"], signed=False)
            networks = f" x {row['base_seeds']:.0f} networks" if row["base_seeds"] > 1 else ""
            sets = "" if math.isnan(row["sets"]) else f" in {row['sets']:.0f} sets{networks}"
            counted = f"{row['count']:,.0f}{sets}"
        rows.append(
            {
                "Metric": code(metric.name),
                "Unit": metric.unit or words.NOTHING,
                "Better": metric.better,
                "Value": said,
                "Images or samples": counted,
            }
        )
    page.table(
        pd.DataFrame(rows),
        "The full network itself: mean and 95 % interval of the mean. Distances depend on the "
        "extractor and on the number of samples in a set, and compare only at equal counts.",
        widths=[0.32, 0.13, 0.11, 0.24, 0.25],
        numeric_from=3,
        small=False,
    )


def _add_cells(page: Page, found: Findings) -> None:
    """Every cell of the scale and switch families with intervals, one table a selector."""
    tables = (found.damage, found.failures)
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
            texts = _cost_texts(found, cells_by(damage, failed, "plan", names, metrics))
            texts.insert(0, "Cell", texts.index.map(words.unbroken))
            page.table(
                texts,
                f"All cells, {said}{of}: damage against the full network with 95 % interval; "
                f"{words.STAR} marks p < 0.05 after Holm's correction over the column. "
                f"{sentences.basis(found)}",
            )


def _asymmetry_plate(found: Findings, mine: SelectorFindings) -> Figure:
    """Above, what each window costs; below, the asymmetry statistic under each normalisation."""
    groups = [group for n in Normalisation if (group := mine.asymmetry.under(n))]
    above, below = 1.55, 0.75 + 0.19 * len(found.metrics)
    figure = new_figure(height=above + (below if groups else 0))
    top = bottom = figure
    if groups:
        top, bottom = figure.subfigures(2, 1, height_ratios=(above, below), squeeze=False)[:, 0]
    axes = top.subplots(1, len(found.metrics), squeeze=False)[0]
    for ax, metric in zip(axes, found.metrics, strict=True):
        draw_window_damage(ax, metric, mine.windows.loc[metric.name], mine.asymmetry.windows)
    if groups:
        bottom.supxlabel("A divided by the sum of its two terms' sizes", fontsize=8)
        axes = bottom.subplots(1, len(groups), sharey=True, squeeze=False)[0]
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
    draw = partial(_asymmetry_plate, found, mine)
    add("asymmetry", draw, sentences.asymmetry_caption(mine.asymmetry), basis)
    if main:
        page.heading("Scale by scale")
    if mine.scales:
        draw = partial(heatmap_plate, [panel for pair in mine.scales for panel in pair])
        caption = sentences.scale_depth_caption(label, mine.scales)
        add("scale_depth_heatmap", draw, caption, basis)
    if mine.propagation is not None:
        draw = partial(_propagation_plate, mine.propagation)
        nll = sentences.basis(found, [m for m in found.metrics if m.kind == "nll"])
        add("propagation", draw, sentences.propagation_caption(mine.propagation), nll)
    if main:
        page.heading("Where to switch")
    if mine.switches:
        draw = partial(heatmap_plate, [*mine.switches, *mine.savings])
        add("switch_depth_heatmap", draw, sentences.switch_depth_caption(label, mine), basis)
