"""Plates of the pareto report: which panels share a figure, at what size, and their captions."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.claims.ledger import deciding_metrics
from analysis.figures.fronts import (
    FrontierPanel,
    TradePanel,
    colours_of,
    draw_curves,
    draw_frontier,
    draw_hypervolume,
    draw_trade,
)
from analysis.figures.theme import (
    FigureBytes,
    SampleSheet,
    figure_bytes,
    mark_quick,
    new_figure,
    style,
)
from analysis.metrics import Metric, parse_metric
from analysis.statistics.fronts import (
    KV,
    attainment,
    is_fixed,
    mean_plane,
    non_dominated,
    plane,
    trade_plane,
)
from analysis.statistics.intervals import paired_t
from analysis.statistics.levels import CONTROL
from reports.pareto.findings import ParetoFindings
from reports.parts import words
from reports.parts.blocks import Text, strong
from reports.parts.figures import sample_plate

COLUMNS = 3  # small multiples a row


def draw(
    found: ParetoFindings, sheet: SampleSheet | None
) -> tuple[dict[str, FigureBytes], dict[str, Text]]:
    """Every figure that the frame has data for, and its caption, by file name."""
    plates: dict[str, FigureBytes] = {}
    captions: dict[str, Text] = {}
    quick = found.record.quick
    for metric in deciding_metrics(found.frame):
        if not (found.frame["metric"] == KV).any():
            break
        name = f"frontier_{metric.kind}"
        plates[name] = _frontier_plate(found, metric)
        captions[name] = _frontier_caption(found, metric)
    for metric in deciding_metrics(found.frame):
        drawn = _trade_plate(found, metric)
        if drawn is not None:
            name = f"trade_{metric.kind}"
            plates[name] = drawn
            captions[name] = _trade_caption(found, metric)
    if not found.hypervolumes.empty:
        plates["hypervolume"] = _hypervolume_plate(found)
        captions["hypervolume"] = _hypervolume_caption(found)
    if found.curves is not None and not found.curves.empty:
        plates["curves"] = _curves_plate(found)
        images = int(found.curves["images"].iloc[0])
        captions["curves"] = [
            strong("Curves over training. "),
            f"Teacher-forced NLL in nats/token on {images:,} images of the select split, which "
            "chooses nothing here; mean over seeds, with their range. Image passes in thousands.",
        ]
    if sheet is not None:
        plates["samples"] = sample_plate(sheet, quick=quick)
        captions["samples"] = [
            strong("Samples. "),
            "A row a model and plan, a column a class; the same random numbers in every row. First "
            "training seed.",
        ]
    return plates, captions


def _frontier_plate(found: ParetoFindings, metric: Metric) -> FigureBytes:
    record = found.record
    points = mean_plane(plane(found.frame, metric, full_kv=found.record.kv_full_bytes))
    trained = points[points["trained"]]
    mask = non_dominated(trained[["kv_share", "damage"]].to_numpy(dtype=float))
    front = trained.loc[mask, ["kv_share", "value"]].to_numpy(dtype=float)
    colours = colours_of(record.schedules)
    shown = [s for s in record.schedules if (points["schedule"] == s).any()]
    rows = math.ceil(len(shown) / COLUMNS)
    low, high = _limits(points)
    with style():
        figure = new_figure(height=1.75 * rows + 0.3)
        axes = figure.subplots(rows, COLUMNS, squeeze=False, sharex=True, sharey=True)
        for ax in axes.flat[len(shown) :]:
            ax.set_axis_off()
        for i, (ax, schedule) in enumerate(zip(axes.flat, shown, strict=False)):
            surfaces = (
                attainment(found.frame, metric, schedule, full_kv=record.kv_full_bytes)
                if len(record.seeds) > 1
                else {}
            )
            signed = {k: v * [1.0, metric.damage_sign] for k, v in surfaces.items()}
            panel = FrontierPanel(
                schedule=schedule,
                colour=colours[schedule],
                points=points[points["schedule"] == schedule],
                front=front,
                budgets=record.kv_budgets,
                surfaces=signed,
            )
            draw_frontier(ax, panel, limits=(low, high))
            if i % COLUMNS == 0:
                ax.set_ylabel(_axis(metric))
            if i + COLUMNS >= len(shown):
                ax.set_xlabel("peak KV, share of the full network's")
                ax.tick_params(labelbottom=True)
        if record.quick:
            mark_quick(figure)
        return figure_bytes(figure)


def _limits(points: pd.DataFrame) -> tuple[float, float]:
    """Limits that hold every filled point; bad hollow ones fall off the top, as captions say."""
    values = points.loc[points["trained"], "value"]
    low, high = float(values.min()), float(values.max())
    room = 0.12 * (high - low) or 0.1 * abs(high) or 1.0
    return low - room, high + room


def _axis(metric: Metric) -> str:
    return metric.short + (f" [{metric.unit}]" if metric.unit else "")


def _basis(found: ParetoFindings, metric: Metric) -> str:
    row = found.levels[found.levels["metric"] == metric.name].iloc[0]
    seeds = words.counted(int(row["seeds"]), "training seed")
    each = int(row["count"]) // max(1, int(row["seeds"]))
    what = f"{metric.label} ({metric.name})" if metric.extractor else metric.label
    return f"{what}: {each:,} images or samples a model in {int(row['sets'])} sets, {seeds}."


def _frontier_caption(found: ParetoFindings, metric: Metric) -> Text:
    points = mean_plane(plane(found.frame, metric, full_kv=found.record.kv_full_bytes))
    low, high = _limits(points)
    beyond = int(((points["value"] > high) | (points["value"] < low)).sum())
    budgets = words.listed([words.percent(share) for share in found.record.kv_budgets])
    parts: list = [
        strong(f"{metric.short[0].upper()}{metric.short[1:]} against KV memory. "),
        "A panel a schedule. Filled: plans that its models were trained for; hollow: other switch "
        "points, which decide nothing. Grey staircase: the non-dominated front of all schedules' "
        "filled points. Dotted line: the full network's own peak KV "
        f"({words.size(found.record.kv_full_bytes)} an image); pale lines: the memory limits "
        f"{budgets}. ",
    ]
    if len(found.record.seeds) > 1:
        parts.append(
            "Coloured staircases: attainment surfaces over the seeds, the median solid, best and "
            "worst dotted. "
        )
    if beyond:
        parts.append(f"{words.counted(beyond, 'point')} lie above the panels. ")
    parts.append(_basis(found, metric))
    return parts


def _trade_plate(found: ParetoFindings, metric: Metric) -> FigureBytes | None:
    panels = []
    for subnet in found.subnets:
        seeds = trade_plane(found.frame, metric, subnet)
        if (seeds["schedule"] != CONTROL).any():
            panels.append(_trade_panel(found, metric, subnet, seeds))
    if not panels:
        return None
    with style():
        height = 2.0 * len(panels) + 0.45
        figure = new_figure(height=height, constrained=False)
        for i, panel in enumerate(panels):
            bottom = height - 0.45 - 2.0 * i - 1.35  # inches
            ax = figure.add_axes((0.11, bottom / height, 0.68, 1.35 / height))
            draw_trade(ax, panel)
        if found.record.quick:
            mark_quick(figure)
        return figure_bytes(figure)


def _trade_panel(
    found: ParetoFindings, metric: Metric, subnet: str, seeds: pd.DataFrame
) -> TradePanel:
    control = seeds[seeds["schedule"] == CONTROL]["full"]
    signed = seeds[seeds["schedule"] != CONTROL]  # it trains no subnet to show
    rows = []
    for schedule, mine in signed.groupby("schedule", sort=False):
        full, small = (paired_t(mine[name].to_numpy(dtype=float)) for name in ("full", "subnet"))
        rows.append(
            {
                "schedule": schedule,
                "full": full.estimate,
                "subnet": small.estimate,
                "full_half": full.high - full.estimate,
                "subnet_half": small.high - small.estimate,
            }
        )
    points = pd.DataFrame(rows)
    fixed = points[points["schedule"].map(is_fixed)]
    corners = fixed[["full", "subnet"]].to_numpy(dtype=float)
    front = corners[non_dominated(corners)] if len(corners) else corners
    return TradePanel(
        title=f"full network against {subnet}",
        x_label=f"full: {_axis(metric)}" + (" (dotted: the control's)" if len(control) else ""),
        y_label=f"{subnet}",
        points=points,
        seeds=signed,
        front=front[np.argsort(front[:, 0])] if len(front) else front,
        colours=colours_of(found.record.schedules),
        control=float(control.mean()) if len(control) else None,
    )


def _trade_caption(found: ParetoFindings, metric: Metric) -> Text:
    several = len(found.record.seeds) > 1
    bars = "crosses: 95 % intervals over seeds, dots: seeds" if several else "one seed, no interval"
    return [
        strong(f"The trade between full network and subnets, {metric.short}. "),
        "A point a schedule, lower left is better; the control trains no subnet. Grey line: the "
        f"interpolated front of the fixed shares (claims C2 and C3); {bars}. ",
        _basis(found, metric),
    ]


def _hypervolume_plate(found: ParetoFindings) -> FigureBytes:
    tables = [
        (parse_metric(name), table)
        for name, table in found.hypervolumes.groupby("metric", sort=False)
    ]
    colours = colours_of(found.record.schedules)
    rows = max(len(table) for _, table in tables)
    with style():
        figure = new_figure(height=0.75 + 0.2 * rows)
        axes = figure.subplots(1, len(tables), squeeze=False)[0]
        for i, (ax, (metric, table)) in enumerate(zip(axes, tables, strict=True)):
            draw_hypervolume(ax, table, colours, title=_axis(metric), names=i == 0)
            ax.set_xlabel("hypervolume, share of the rectangle")
        if found.record.quick:
            mark_quick(figure)
        return figure_bytes(figure)


def _hypervolume_caption(found: ParetoFindings) -> Text:
    point = ", ".join(f"{k} {words.number(v)}" for k, v in found.record.reference_point.items())
    counts = sorted(set(found.hypervolumes["points"]))
    return [
        strong("Hypervolume. "),
        "Area between the front of a model's trained plans and a reference point, as a share of "
        f"the reference rectangle; more is better. Reference point, fixed in the config: {point}. "
        f"Each schedule enters with the same {words.listed([str(c) for c in counts])} plans; the "
        "control trains no subnets and has no front. Ticks: seeds; bars: 95 % interval over them.",
    ]


def _curves_plate(found: ParetoFindings) -> FigureBytes:
    curves = found.curves
    plans = [p for p in ("full", *found.subnets) if (curves["plan"] == p).any()]
    colours = colours_of(found.record.schedules)
    with style():
        height = 1.65 * len(plans) + 0.6
        figure = new_figure(height=height, constrained=False)
        for i, plan in enumerate(plans):
            bottom = height - 0.45 - 1.65 * i - 1.2  # inches
            ax = figure.add_axes((0.09, bottom / height, 0.70, 1.2 / height))
            draw_curves(ax, curves[curves["plan"] == plan], colours, title=plan)
            if i + 1 == len(plans):
                ax.set_xlabel("image passes [thousands]")
        if found.record.quick:
            mark_quick(figure)
        return figure_bytes(figure)
