"""The report of the pareto study: its order, its tables and figures; words are beside it."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.claims.ledger import judge_claims
from analysis.claims.rows import LedgerRow
from analysis.claims.rules import EVERY, LATE
from analysis.figures.colours import colours_of
from analysis.figures.frontier import draw_frontier, draw_hypervolume
from analysis.figures.labels import memory_axes
from analysis.figures.points import draw_curves
from analysis.figures.shares import draw_shares
from analysis.figures.theme import new_figure
from analysis.frame import own_rows
from analysis.metrics import parse_metric
from analysis.statistics.fronts import Frontier
from analysis.statistics.levels import FULL, Levels
from analysis.study_file import BASE, CURVES_FILE, REAL, ParetoFile
from reports.pareto import words as sentences
from reports.pareto.findings import ParetoFindings, load_curves
from reports.pareto.rivals import RivalFindings, add_rivals
from reports.parts import words
from reports.parts.figures import add_samples, named_grid, trade_plate
from reports.parts.ledger import add_ledger, add_rules, add_tests, negative_results, verdict_words
from reports.parts.page import Page
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report, check_together, study_frame
from reports.parts.tables import (
    Of,
    add_every_plan,
    add_models,
    by_plan,
    level_columns,
    level_rows,
    votes,
    with_texts,
)

COLUMNS, MOST_COLUMNS = 3, 5  # small multiples a row, and where they all fit in one


def make_report(folder: Path, study: ParetoFile) -> Report:
    """The report of a pareto study's folder; see `reports.build.build`."""
    frame = study_frame(folder, study, training=True)
    own = own_rows(frame)
    labels = [BASE, REAL, *(one.label for one in study.schedules)]
    check_together(folder, own, {"schedule": labels})
    found = ParetoFindings(study, own, load_curves(folder / CURVES_FILE))
    rivals = RivalFindings(found, frame)
    page = Page(
        study,
        "How deep, where to switch, how to train?",
        f"{words.counted(len(study.schedules), 'schedule')} of {study.budget_images:,} image "
        "passes a model",
        words.counted(len(study.units), "unit"),
    )
    said = sentences.answer_words(found)
    page.answer(study.question, verdict_words(found.ledger), said, label="Verdict")
    add_ledger(page, study, found.ledger)
    if not found.shares.empty:
        draw, lead = partial(_shares_plate, found), "What is left of the untrained damage. "
        page.figure("remaining", draw, lead, sentences.shares_caption(found))
    page.heading("Quality against memory")
    for data in found.frontiers:
        draw = partial(_frontier_plate, found, data)
        name, caption = data.metric.short, sentences.frontier_caption(found, data)
        lead = f"{name[0].upper()}{name[1:]} against KV memory. "
        page.figure(f"frontier_{data.metric.kind}", draw, lead, caption)
    _add_chosen(page, found)
    add_rivals(page, rivals)
    page.heading("Full network against subnets")
    if found.trades:
        lead = "The trade between full network and subnets. "
        draw = partial(trade_plate, found.trades, colours_of(found.levels.ways))
        page.figure("trade", draw, lead, sentences.trade_caption(found))
    _add_levels(page, found)
    if not found.hypervolumes.empty:
        page.heading("Hypervolume")
        draw = partial(_hypervolume_plate, found)
        page.figure("hypervolume", draw, "Hypervolume. ", sentences.hypervolume_caption(found))
    add_tests(page, study, found.ledger)
    page.heading("Negative results")
    none = "None: every claim tested here was reproduced."
    page.bullets([*negative_results(found.ledger), *sentences.costly(found)], none=none)
    if found.curves is not None:
        page.heading("Training")
        page.figure(
            "curves",
            partial(_curves_plate, found, found.curves),
            "Curves over training. ",
            f"Teacher-forced NLL in nats/token on {found.curves['images'].iloc[0]:,} images of the "
            "select split, which chooses nothing here; mean over units, with their range. Image "
            "passes in thousands.",
        )
    add_samples(
        page,
        folder,
        "A row a model and plan, a column a class; the same random numbers in every row. First "
        "unit.",
    )
    switches = {plan.switch for plan in found.levels.plans if plan.switch is not None}
    every = "every switch point; " if switches - {study.train_switch} else ""
    trained_for = f"{every}trained for {study.train_switch}"
    supernet_protocol(page, study, own, plans=trained_for)
    page.heading("Cost")
    page.paragraph(sentences.cost_words(study))
    add_models(page, study, found.levels)
    page.limits(sentences.limits(found))
    add_rules(page, found.ledger)
    add_every_plan(page, found.levels, found.main, found.frontiers)
    return page.report(
        answer=sentences.answer_json(found) | rivals.answer(), summary=found.levels.table
    )


def judge(study: ParetoFile, frame: pd.DataFrame) -> tuple[LedgerRow, ...]:
    """Its ledger alone."""
    return judge_claims(study, Levels(frame))


def _add_chosen(page: Page, found: ParetoFindings) -> None:
    """A table of the plans that were chosen on select images, as test images judge them."""
    rows, named = [], ", ".join(m.short for m in found.metrics)
    for plan in found.chosen:
        row = {
            "KV up to": numbers.percent(plan.kv_share_limit),
            "Plan": words.unbroken(f"{plan.schedule} {plan.plan.label}")
            + ("" if found.trained_for(plan) else " (not trained for)"),
            "KV": numbers.percent(plan.kv_share),
        }
        for m in found.metrics:
            level, loss = plan.test.get(m.name), plan.losses.get(m.name)
            row[m.short] = words.interval(level, signed=False)
            row[m.damage] = words.interval(loss)
        within = (words.YES_NO[plan.stands_in.get(m.name)] for m in found.metrics)
        rows.append(row | {f"Within ({named})": ", ".join(within)})
    if not rows:
        page.paragraph("No plan fits any of the memory budgets.")
    page.table(
        pd.DataFrame(rows),
        "The best plan within each share of the full network's peak KV: chosen by mean NLL on "
        "select images over all schedules and plans, reported on test images with 95 % "
        "interval. Increase: paired, against the base's full network, with its 90 % interval. "
        f"Within: a loss of {words.excluded_loss(found.study)} is excluded (one-sided test at 5 %, "
        "five units or more), nothing where the metric may not decide. Exported as plan-*.json.",
        numeric_from=2,
    )


def _add_levels(page: Page, found: ParetoFindings) -> None:
    """Every schedule's full network and trained subnets: levels, spreads, and against the control.

    There is no table of spreads for one unit.
    """
    levels, over = found.levels, words.over(len(found.study.units))
    rows = _shown(found, level_rows(levels))
    hollow = np.where(rows["trained"], "", " (untrained)")
    page.table(
        by_plan(rows.assign(plan=rows["plan"] + hollow), level_columns(levels, found.metrics)),
        f"Levels on test images and samples: mean and 95 % interval by {over}. Above floor: how "
        "much worse than real images, reconstructed and scored as samples are. Base and control "
        "train no subnet.",
        numeric_from=2,
        grouped=True,
    )
    table = _shown(found, levels.table)
    trained = table[table["trained"] & (table["over"] == "units")]
    if len(trained):
        squares = trained[["unit_sd", "sample_sd"]] ** 2
        spreads = squares.groupby([trained["plan"], trained["metric"]], sort=False).mean() ** 0.5
        said = spreads.map(partial(numbers.number, digits=2))
        text = said["unit_sd"] + " / " + said["sample_sd"]
        texts = said.assign(text=text, schedule="", of="value")
        columns: dict[tuple[str, Of], str]
        columns = {(m.name, "value"): f"{m.short}: units / samples" for m in found.metrics}
        page.table(
            by_plan(texts.reset_index(), columns).drop(columns="Schedule"),
            "Two spreads apart, pooled over schedules: standard deviation between units, and what "
            "of it is measuring one unit's model (the jackknife's standard error).",
        )
    differences = _shown(found, levels.differences)
    may = [
        votes(found.study, row.metric, row.units, EVERY if row.plan == FULL.label else LATE)
        for row in differences.itertuples()
    ]
    page.table(
        by_plan(
            with_texts(differences.assign(p_holm=differences["p_holm"].where(may)), "damage"),
            {(m.name, "damage"): m.damage_heading for m in found.metrics},
        ),
        "Against the control, the base trained on without subnet steps: paired difference of the "
        f"same plan, positive is worse (for accuracy: lost), 95 % interval by {over}; "
        f"{words.STAR} marks p < 0.05 after Holm's correction over the schedules, "
        f"{words.UNMARKED}.",
        numeric_from=2,
        grouped=True,
    )


def _shown(found: ParetoFindings, table: pd.DataFrame) -> pd.DataFrame:
    """The deciding metrics of the shown plans, plan after plan of each schedule."""
    names, plans = {m.name for m in found.metrics}, [plan.label for plan in found.shown]
    table = table[table["metric"].isin(names) & table["plan"].isin(plans)]
    order = {"schedule": [way.name for way in found.levels.ways], "plan": plans}
    return table.sort_values(
        list(order), key=lambda names: names.map(order[str(names.name)].index), kind="stable"
    )


def _shares_plate(found: ParetoFindings) -> Figure:
    """A panel a plan: what is left of its untrained damage, by every schedule."""
    by_plan = dict(iter(found.shares.groupby("plan", sort=False)))
    plans = [plan for plan in found.shown if plan.label in by_plan]
    known, every = set(found.shares["schedule"]), colours_of(found.levels.ways)
    colours = {way.name: every[way.name] for way in found.levels.ways if way.name in known}
    figure = new_figure(height=0.55 + 0.165 * len(colours))
    axes = figure.subplots(1, len(plans), squeeze=False)[0]
    for i, (ax, plan) in enumerate(zip(axes, plans, strict=True)):
        mine = by_plan[plan.label]
        draw_shares(ax, mine, colours, margin=float(mine["margin"].iloc[0]), names=i == 0)
        half = f" of d{max(1, found.study.geometry.depth // 2)}'s damage" if plan.is_full else ""
        ax.set_title(f"{plan.label}: share{half or ' left'}")
    return figure


def _frontier_plate(found: ParetoFindings, data: Frontier) -> Figure:
    """A panel a schedule in the (KV, quality) plane."""
    colours = colours_of(found.levels.ways)
    every = list(dict.fromkeys(data.plans["schedule"]))
    anchors = {way.name for way in found.levels.ways if way.anchor}  # they train no subnet
    shown = [name for name in every if name not in anchors] or every
    columns = len(shown) if len(shown) <= MOST_COLUMNS else COLUMNS
    rows = math.ceil(len(shown) / columns)
    figure = new_figure(height=1.75 * rows + 0.55)
    axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True).flat
    for i, ax in enumerate(axes):
        if i >= len(shown):
            ax.set_axis_off()
            continue
        budgets = found.study.kv_budgets
        draw_frontier(ax, data, shown[i], colour=colours[shown[i]], budgets=budgets)
        last = i + columns >= len(shown)
        memory_axes(ax, data.full_kv, above=i == 0, below=last)
        ax.tick_params(labelbottom=last)
        if i % columns == 0:
            ax.set_ylabel(data.metric.heading)
    return figure


def _hypervolume_plate(found: ParetoFindings) -> Figure:
    """A panel a metric."""
    tables = list(found.hypervolumes.groupby("metric", sort=False))
    rows = max(len(table) for _, table in tables)
    figure = new_figure(height=0.75 + 0.2 * rows)
    axes = figure.subplots(1, len(tables), squeeze=False, sharey=True)[0]
    for ax, (name, table) in zip(axes, tables, strict=True):
        metric = parse_metric(str(name))
        draw_hypervolume(ax, table, colours_of(found.levels.ways))
        ax.set_title(metric.short)
    return figure


def _curves_plate(found: ParetoFindings, lines: pd.DataFrame) -> Figure:
    """A panel a plan: select NLL over training; names at the last of each row."""
    by_plan = dict(iter(lines.groupby("plan", sort=False)))
    plans = [plan.label for plan in found.shown if plan.label in by_plan]
    columns = len(plans) if len(plans) <= MOST_COLUMNS else COLUMNS
    figure, grid = named_grid(math.ceil(len(plans) / columns), columns, panel=1.3)
    for i, (ax, plan) in enumerate(zip(grid.flat, plans, strict=False)):
        last = i + 1 == len(plans) or (i + 1) % columns == 0
        draw_curves(ax, by_plan[plan], colours_of(found.levels.ways), names=last)
        ax.set_title(plan)
        ax.set_xlabel("thousand image passes", fontsize=7.5)
    for ax in grid.flat[len(plans) :]:
        ax.remove()
    return figure
