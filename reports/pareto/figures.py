"""Plates of the pareto report: which panels share a figure, and at what size."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.figures.colours import colours_of
from analysis.figures.curves import draw_curves, draw_hypervolume
from analysis.figures.frontier import draw_frontier
from analysis.figures.theme import new_figure
from analysis.figures.trade import draw_trade
from analysis.metrics import Metric, parse_metric
from analysis.statistics.fronts import Frontier
from reports.pareto.findings import ParetoFindings

COLUMNS = 3  # small multiples a row


def frontier_plate(found: ParetoFindings, data: Frontier) -> Figure:
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


def trade_plate(found: ParetoFindings, metric: Metric) -> Figure:
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


def hypervolume_plate(found: ParetoFindings) -> Figure:
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


def curves_plate(found: ParetoFindings, lines: pd.DataFrame) -> Figure:
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
