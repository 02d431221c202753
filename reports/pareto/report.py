"""The report of the pareto study: its order, its tables and figures; words are beside it."""

import math
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.colours import colours_of
from analysis.figures.frontier import draw_frontier, draw_hypervolume, draw_trade
from analysis.figures.points import draw_curves
from analysis.figures.theme import new_figure
from analysis.frame import load_frame
from analysis.metrics import Metric, parse_metric
from analysis.statistics.fronts import NON_INFERIORITY_NATS, Frontier
from analysis.study_file import ParetoFile
from reports.pareto import words as sentences
from reports.pareto.findings import ParetoFindings, load_curves
from reports.parts import words
from reports.parts.figures import add_samples
from reports.parts.page import Page, strong
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report, check_together
from reports.parts.tables import add_every_plan, add_models, by_plan, with_texts

COLUMNS = 3  # small multiples a row
SIGNS = {1: "supports", 0: "open", -1: "contradicts"}


def make_report(folder: Path, study: ParetoFile) -> Report:
    """The report of a pareto study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    check_together(folder, frame, {"schedule": [one.label for one in study.schedules]})
    found = ParetoFindings(study, frame, load_curves(folder / "curves.parquet"))
    page = Page(
        study,
        "How deep, where to switch, how to train?",
        f"{words.counted(len(study.schedules), 'schedule')} of {study.budget_images:,} image "
        "passes a model",
        words.counted(len(study.seeds), "training seed"),
    )
    page.answer(
        study.question, sentences.verdict_words(found.ledger), sentences.answer_words(found)
    )
    _add_ledger(page, found)
    page.heading("Quality against memory")
    for data in found.frontiers:
        draw = partial(_frontier_plate, found, data)
        name, caption = data.metric.short, sentences.frontier_caption(found, data)
        lead = f"{name[0].upper()}{name[1:]} against KV memory. "
        page.figure(f"frontier_{data.metric.kind}", draw, lead, caption)
    _add_chosen(page, found)
    page.heading("Full network against subnets")
    for metric in found.metrics:
        if found.trades[metric.name]:
            draw = partial(_trade_plate, found, metric)
            lead = f"The trade between full network and subnets, {metric.short}. "
            page.figure(f"trade_{metric.kind}", draw, lead, sentences.trade_caption(found, metric))
    _add_levels(page, found)
    if not found.hypervolumes.empty:
        page.heading("Hypervolume")
        draw = partial(_hypervolume_plate, found)
        page.figure("hypervolume", draw, "Hypervolume. ", sentences.hypervolume_caption(found))
    if found.curves is not None:
        page.heading("Training")
        page.figure(
            "curves",
            partial(_curves_plate, found, found.curves),
            "Curves over training. ",
            f"Teacher-forced NLL in nats/token on {found.curves['images'].iloc[0]:,} images of the "
            "select split, which chooses nothing here; mean over seeds, with their range. Image "
            "passes in thousands.",
        )
    add_samples(
        page,
        folder,
        "A row a model and plan, a column a class; the same random numbers in every row. First "
        "training seed.",
    )
    page.heading("Negative results")
    none = "None: every claim tested here was reproduced."
    page.bullets(sentences.negative_results(found), none=none)
    trained_for = f"every switch point; trained for {study.train_switch}"
    supernet_protocol(page, study, frame, plans=trained_for)
    page.heading("Cost")
    page.paragraph(sentences.cost_words(study))
    add_models(page, study, found.levels)
    page.limits(sentences.limits(found))
    add_every_plan(page, found.levels, found.frontiers)
    return page.report(answer=sentences.answer_json(found), summary=found.levels.table)


def _add_ledger(page: Page, found: ParetoFindings) -> None:
    """What was claimed and published, what we found and where, and every test behind a verdict."""
    rows = [
        {
            "": strong(row.claim.id),
            "Claim": row.claim.sentence,
            "Published": row.claim.published,
            "Ours": sentences.ours(row) or row.reason,
            "Setting, and what it rests on": ": ".join(filter(None, (row.setting, row.rests_on))),
            "Verdict": [
                strong(row.verdict.value),
                f" ({row.reason})" if row.reason and row.components else "",
            ],
        }
        for row in found.ledger
    ]
    page.table(
        pd.DataFrame(rows),
        "Claim ledger. Ours: paired differences with 95 % interval (positive is worse), gaps "
        "beyond a front (positive is beyond), shares of memory. Margins and rules were fixed "
        "before any run (analysis/claims).",
        widths=[0.05, 0.19, 0.17, 0.28, 0.18, 0.15],
    )
    tests = [
        {
            "": row.claim.id,
            "Estimate of": c.label + (f" ({c.note})" if c.note else ""),
            "Metric": c.metric.short,
            "Value": sentences.measured(c.interval),
            "Tested": "difference" if c.margin is None else f"within ±{words.number(c.margin)}",
            "p": words.p_value(c.p_holm),
            "Seeds": str(len(c.seeds)),
            "Says": SIGNS[c.outcome],
        }
        for row in found.ledger
        for c in row.components
        if c.metric is not None
    ]
    page.table(
        pd.DataFrame(tests),
        "The tests behind the ledger. NLL in nats/token on test images, FD without unit. "
        "Student's t with 95 % interval over training seeds (over the sets of one model where "
        "there is one seed); a margin is tested by two one-sided tests; p is Holm-adjusted "
        "over the tests of its claim.",
        widths=[0.05, 0.29, 0.08, 0.2, 0.13, 0.12, 0.06, 0.12],
        grouped=True,
    )


def _add_chosen(page: Page, found: ParetoFindings) -> None:
    """The best plan for each memory budget."""
    rows = [
        {
            "KV up to": words.percent(plan.kv_share_limit),
            "Plan": words.unbroken(f"{plan.schedule} {plan.plan.label}"),
            "KV": words.percent(plan.kv_share),
            "select NLL": words.fixed(plan.select_nll, 3),
            **{
                m.short: words.unbroken(words.interval(plan.test.get(m.name), signed=False))
                for m in found.metrics
            },
            "Loss": words.unbroken(words.interval(plan.loss)),
            "No worse": {True: "yes", False: "no", None: words.NOTHING}[plan.non_inferior],
        }
        for plan in found.chosen
    ]
    if not rows:
        page.paragraph("No plan fits any of the memory budgets.")
    page.table(
        pd.DataFrame(rows),
        "The best plan within each share of the full network's peak KV: chosen by mean NLL on "
        "select images over all schedules and plans, reported on test images with 95 % "
        "interval. Loss: paired test NLL against the control's full network with its 90 % "
        f"interval; no worse: that interval ends below {NON_INFERIORITY_NATS} nats/token "
        "(one-sided test at 5 %). Exported as plan-*.json.",
        numeric_from=2,
    )


def _add_levels(page: Page, found: ParetoFindings) -> None:
    """Every schedule's full network and trained subnets: levels, spreads, and against the control.

    There is no table of spreads for one seed.
    """
    metrics, levels = found.levels.metrics, _shown(found, found.levels.table)
    over = sentences.over(levels)
    hollow = np.where(levels["trained"], "", " (untrained)")
    rows = with_texts(levels.assign(plan=levels["plan"] + hollow), "value")
    page.table(
        by_plan(rows, {m.name: m.heading for m in metrics}),
        f"Levels on test images and samples: mean and 95 % interval (Student's t over {over}). The "
        "control trains no subnet: its subnets are the base's, trained on.",
        numeric_from=2,
        grouped=True,
    )
    trained = levels[levels["trained"]]
    if "seeds" in set(trained["over"]):
        squares = trained[["seed_sd", "sample_sd"]] ** 2
        spreads = squares.groupby([trained["plan"], trained["metric"]], sort=False).mean() ** 0.5
        said = spreads.map(partial(words.number, digits=2))
        rows = said.assign(text=said["seed_sd"] + " / " + said["sample_sd"], schedule="")
        columns = {m.name: f"{m.short}: seeds / samples" for m in metrics}
        page.table(
            by_plan(rows.reset_index(), columns).drop(columns="Schedule"),
            "Two spreads apart, pooled over schedules: standard deviation between models of one "
            "schedule that differ in the training seed, and standard error of measuring one model "
            "from its disjoint sets, which the former contains.",
        )
    differences = _shown(found, found.levels.differences)
    over = sentences.over(differences)
    page.table(
        by_plan(with_texts(differences, "damage"), {m.name: m.damage_heading for m in metrics}),
        "Against the control, the base trained on without subnet steps: paired difference of the "
        f"same plan, positive is worse (for accuracy: lost), 95 % interval over {over}; "
        f"{words.STAR} marks p < 0.05 after Holm's correction over the schedules.",
        numeric_from=2,
        grouped=True,
    )


def _shown(found: ParetoFindings, table: pd.DataFrame) -> pd.DataFrame:
    """The headline metrics of the shown plans, plan after plan of each schedule."""
    names = [metric.name for metric in found.levels.metrics]
    table = table[table["metric"].isin(names) & table["plan"].isin(found.shown)]
    order = {"schedule": [way.name for way in found.levels.ways], "plan": found.shown}
    return table.sort_values(
        list(order), key=lambda names: names.map(order[str(names.name)].index), kind="stable"
    )


def _frontier_plate(found: ParetoFindings, data: Frontier) -> Figure:
    """A panel a schedule in the (KV, quality) plane."""
    colours = colours_of(found.levels.ways)
    shown = list(dict.fromkeys(data.plans["schedule"]))
    rows = math.ceil(len(shown) / COLUMNS)
    figure = new_figure(height=1.75 * rows + 0.3)
    axes = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True).flat
    for i, ax in enumerate(axes):
        if i >= len(shown):
            ax.set_axis_off()
            continue
        budgets = found.study.kv_budgets
        draw_frontier(ax, data, shown[i], colour=colours[shown[i]], budgets=budgets)
        if i % COLUMNS == 0:
            ax.set_ylabel(data.metric.heading)
        if i + COLUMNS >= len(shown):
            ax.set_xlabel("peak KV, share of the full network's")
            ax.tick_params(labelbottom=True)
    return figure


def _trade_plate(found: ParetoFindings, metric: Metric) -> Figure:
    """A panel a subnet in the (full, subnet) plane."""
    panels = found.trades[metric.name]
    figure, axes = _stack(len(panels), panel=1.35, step=2.0)
    for ax, data in zip(axes, panels, strict=True):
        draw_trade(ax, data, colours_of(found.levels.ways))
        dotted = "" if data.control is None else " (dotted: the control's)"
        ax.set_title(f"full network against {data.subnet.label}")
        ax.set_xlabel(f"full: {metric.heading}{dotted}")
        ax.set_ylabel(data.subnet.label)
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
        ax.set_title(metric.heading)
    return figure


def _curves_plate(found: ParetoFindings, lines: pd.DataFrame) -> Figure:
    """A panel a plan: select NLL over training."""
    plans = [plan for plan in found.shown if (lines["plan"] == plan).any()]
    figure, axes = _stack(len(plans), panel=1.2, step=1.65)
    for ax, plan in zip(axes, plans, strict=True):
        draw_curves(ax, lines[lines["plan"] == plan], colours_of(found.levels.ways))
        ax.set_title(plan)
    axes[-1].set_xlabel("image passes [thousands]")
    return figure


def _stack(count: int, *, panel: float, step: float) -> tuple[Figure, list[Axes]]:
    """Axes above each other, `panel` inches high, one each `step`, with a column for names."""
    height = step * count + 0.25
    figure = new_figure(height=height, constrained=False)
    bottoms = [height - 0.25 - step * i - panel for i in range(count)]
    return figure, [figure.add_axes((0.1, b / height, 0.69, panel / height)) for b in bottoms]
