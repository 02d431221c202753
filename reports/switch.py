"""The report of the switch study: where may I switch, and does training at N matter?"""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.claims.rules import deciding, undecided
from analysis.figures.floor import draw_floor
from analysis.figures.points import draw_lines
from analysis.figures.theme import new_figure
from analysis.maps.heatmap import Heatmap
from analysis.maps.switch_depth import Row, earliest, switch_losses, trained_at, transfer_map
from analysis.metrics import Metric
from analysis.statistics.choices import half_of
from analysis.statistics.intervals import Interval
from analysis.statistics.levels import Levels
from analysis.study_file import SupernetFile
from reports.parts import words
from reports.parts.figures import add_samples, heatmap_plate
from reports.parts.metrics import basis, judging_metrics, main_metrics
from reports.parts.page import Page, Text, strong
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report, study_frame
from reports.parts.tables import add_every_plan, add_models

First = Mapping[int, Mapping[Metric, Row | None]]
"""Of each depth and metric the earliest switch point that stands in for the full network."""
LIMITS = (
    "One schedule for all models; the best schedule may differ from switch point to switch point.",
    "The Fréchet distance on a small network's features is not FID and compares only with "
    "itself at equal counts.",
)


def make_report(folder: Path, study: SupernetFile) -> Report:
    frame = study_frame(folder, study, training=True)
    levels = Levels(frame)
    metrics = judging_metrics(study, levels.metrics)
    half = half_of(study.geometry.depth, study.depths, study.train_switch)
    floors = {metric: levels.floor_loss(metric.name).bounds() for metric in metrics}
    votes = deciding(study, metrics)
    losses = {
        m: switch_losses(levels, m, study.depths, half, decides=m.name in votes) for m in metrics
    }
    maps = {m: [transfer_map(levels, m, depth) for depth in study.depths] for m in metrics}
    page = Page(
        study,
        "Where may I switch?",
        f"{words.counted(len(study.models), 'model')} of {study.budget_images:,} image passes",
        words.counted(len(study.units), "unit"),
    )
    depths = sorted(study.depths, reverse=True)
    first = {depth: {m: earliest(losses[m], depth) for m in metrics} for depth in depths}
    why = {
        m: undecided(study, m, int(t["units"].min()) if len(t) else 0) for m, t in losses.items()
    }
    said = [f"{m.short}: " + words.unless(why[m], _verdict(m, first, maps[m])) for m in metrics]
    page.answer(study.question, "; ".join(said), _answer(study, first, maps, why))
    page.heading("Where may I switch?")
    over = words.over(len(study.units))
    rests = " ".join(basis(levels, metric) for metric, table in losses.items() if len(table))
    _add_losses(page, study, losses, floors, over=over, rests=rests)
    page.heading("Does training at N matter?")
    panels = [panel for both in zip(*maps.values(), strict=True) for panel in both]
    if panels:
        page.figure(
            "transfer",
            partial(heatmap_plate, panels),
            "Trained at against used at. ",
            "How much worse a model is than the one trained for the switch point that both are "
            "used at; negative is better. In brackets: not different from zero at p < 0.05 "
            f"after Holm's correction over the map, by {over}.",
        )
    add_samples(page, folder, "The same random numbers in every row; first unit.")
    supernet_protocol(page, study, frame)
    page.heading("Models")
    add_models(page, study, levels)
    page.limits(["" if len(study.units) > 1 else words.ONE_UNIT, *LIMITS])
    add_every_plan(page, levels, main_metrics(study, levels.metrics))
    answer = {
        "earliest": {
            str(depth): {metric.name: row and row["switch"] for metric, row in by_metric.items()}
            for depth, by_metric in first.items()
        },
        "trained_at": {str(switch): name for switch, name in trained_at(levels).items()},
    }
    return page.report(answer=answer, summary=levels.table)


def _pairs(maps: Sequence[Heatmap]) -> str:
    """How many are significantly worse than matched training, by the side on which they are used;
    and better, if any."""
    sides = {"earlier": partial(np.tril, k=-1), "later": partial(np.triu, k=1)}
    counts = [
        f"{sum(side(m.worse).sum() for m in maps)} of "
        f"{sum(side(m.measured).sum() for m in maps)} {name}"
        for name, side in sides.items()
    ]
    better = sum(m.better.sum() for m in maps)
    return words.listed(counts) + (f", and better in {better}" if better else "")


def _verdict(metric: Metric, first: First, maps: Sequence[Heatmap]) -> str:
    """What a metric says, if it may decide."""
    said = []
    for depth, by_metric in first.items():
        row = by_metric[metric]
        said.append(f"d{depth} from switch {row['switch']}" if row else f"d{depth} shown nowhere")
    if maps:
        said.append(f"worse elsewhere than trained in {_pairs(maps)}")
    return ", ".join(said)


def _answer(
    study: SupernetFile,
    first: First,
    maps: Mapping[Metric, Sequence[Heatmap]],
    why: Mapping[Metric, str],
) -> Text:
    """By the metrics that may decide; of others, why they may not."""
    told = [f"by {m.short} in {_pairs(of)}" for m, of in maps.items() if of and not why[m]]
    return [
        f"{words.ONE_UNIT} " if len(study.units) == 1 else "",
        strong("Where may I switch? "),
        f"Where a loss of {words.excluded_loss(study)} against the base's full network is "
        "excluded, there and at every later switch point (one-sided 95 %). ",
        [
            f"{depth} layers, by {metric.short}: from scale {row['switch']} on, for "
            f"{numbers.percent(row['kv_share'])} of its KV and "
            f"{numbers.percent(row['flops_share'])} of its FLOPs. "
            if row
            else f"{depth} layers, by {metric.short}: shown at no switch point. "
            for depth, by_metric in first.items()
            for metric, row in by_metric.items()
            if not why[metric]
        ],
        [
            strong("Does training at N matter? "),
            "Used at another switch point than the one that it was trained for, a model is "
            "significantly worse than one trained there (pairs used earlier, or later, than "
            "trained; Holm within a depth): ",
            words.listed(told) + ". ",
        ]
        if told
        else "",
        [f"{m.short} decides nothing here: {reason}. " for m, reason in why.items() if reason],
    ]


def _add_losses(
    page: Page,
    study: SupernetFile,
    losses: Mapping[Metric, pd.DataFrame],
    floors: Mapping[Metric, Interval | None],
    *,
    over: str,
    rests: str,
) -> None:
    """What switching costs: a figure a metric, and a table of all.

    Args:
        over: what intervals run over.
        rests: counts and feature space.
    """
    shown = {metric: table for metric, table in losses.items() if len(table)}
    if shown:
        page.figure(
            "switch",
            partial(_loss_figure, shown, floors),
            "Loss, KV and FLOPs against the switch point. ",
            "Each point is a model of its own, trained for the switch point that it is used at. "
            "Loss: paired difference from the full network that training began from, with 95 % "
            f"interval by {over}; positive is worse. Band: real images, the floor, against the "
            "same network, with their 95 % interval. KV and FLOPs are exact, as shares of the full "
            f"network's. {rests}",
        )
    rows = _loss_rows(losses)
    if rows.empty:
        page.paragraph("No model has numbers to compare with the base.")
    page.table(
        rows,
        "Models at the switch point that they were trained for, against the base's full network: "
        f"paired difference with 95 % interval by {over}, positive is worse. Within: a loss of "
        f"{words.excluded_loss(study)} is excluded (one-sided test at 5 %); none where the metric "
        f"may not decide. KV and FLOPs as shares of the full network's. {rests}",
        grouped=True,
    )


def _loss_rows(losses: Mapping[Metric, pd.DataFrame]) -> pd.DataFrame:
    """A row a depth and switch point, deep ones first."""
    rows: dict[tuple[int, int], dict[str, str]] = {}
    for metric, table in losses.items():
        for x in table.itertuples():
            row = rows.setdefault((-x.depth, x.switch), {})
            row |= {"Depth": f"d{x.depth}", "N": str(x.switch)}
            row |= {"KV": numbers.percent(x.kv_share), "FLOPs": numbers.percent(x.flops_share)}
            row[metric.damage] = numbers.estimate(x.damage, x.low, x.high)
            row[f"{metric.short} within"] = words.YES_NO[x.acceptable]
    judged = [name for m in losses for name in (m.damage, f"{m.short} within")]
    columns = ["Depth", "N", *judged, "KV", "FLOPs"]
    return pd.DataFrame([rows[at] for at in sorted(rows)], columns=columns).fillna(numbers.NOTHING)


def _loss_figure(
    losses: Mapping[Metric, pd.DataFrame], floors: Mapping[Metric, Interval | None]
) -> Figure:
    """A panel a quantity, a line a depth."""
    panels, bands = {}, {}
    for metric, table in losses.items():
        named = table.assign(x=table["switch"], name=[f"d{depth}" for depth in table["depth"]])
        bands[f"loss in {metric.heading}"] = floors[metric]
        panels[f"loss in {metric.heading}"] = named.assign(y=named["damage"])
    exact = named.assign(low=np.nan, high=np.nan)
    panels |= {"peak KV": exact.assign(y=exact["kv_share"])}
    panels |= {"FLOPs": exact.assign(y=exact["flops_share"])}
    figure = new_figure(height=2.0, constrained=False)
    wide = 1 / len(panels)
    for i, (title, shown) in enumerate(panels.items()):
        ax = figure.add_axes((0.06 + wide * i, 0.21, wide - 0.12, 0.62))
        draw_floor(ax, bands.get(title))
        draw_lines(ax, shown, title=title, x_label="switch point N")
    return figure
