"""The figures of the sensitivity report: plates and captions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from matplotlib.figure import Figure

from analysis.figures.asymmetry import draw_asymmetry, draw_window_damage
from analysis.figures.heatmap import draw_heatmap
from analysis.figures.theme import PAGE_WIDTH, new_figure
from analysis.maps.heatmap import Heatmap
from analysis.statistics.asymmetry import Normalisation
from reports.parts.figures import heatmap_plate
from reports.parts.page import Page
from reports.sensitivity import words as sentences
from reports.sensitivity.findings import Findings, SelectorFindings
from reports.sensitivity.words import Caption


def asymmetry_plate(found: Findings, mine: SelectorFindings) -> Figure:
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


def propagation_plate(data: Heatmap) -> Figure:
    """The propagation map alone, near square."""
    scales = len(data.rows)
    figure = new_figure(width=min(PAGE_WIDTH, 1.2 + 0.58 * scales), height=0.75 + 0.29 * scales)
    draw_heatmap(figure.subplots(), data)
    return figure


def add_figures(page: Page, found: Findings, mine: SelectorFindings) -> None:
    """Every figure that the study has data for; those of other selectors bear their names."""
    main, label = mine is found.main, found.metrics[0].label

    def add(name: str, draw: Callable[[], Figure], caption: Caption, basis: str) -> None:
        lead, rest = caption
        if not main:
            name, lead = f"{name}_{mine.selector}", f"Selector {mine.selector}. {lead}"
        page.figure(name, draw, lead, rest, basis)

    basis = sentences.basis(found)
    draw = partial(asymmetry_plate, found, mine)
    add("asymmetry", draw, sentences.asymmetry_caption(mine.asymmetry), basis)
    if main:
        page.heading("Scale by scale")
    if mine.scales:
        draw = partial(heatmap_plate, [panel for pair in mine.scales for panel in pair])
        caption = sentences.scale_depth_caption(label, mine.scales)
        add("scale_depth_heatmap", draw, caption, basis)
    if mine.propagation is not None:
        draw = partial(propagation_plate, mine.propagation)
        nll = sentences.basis(found, [m for m in found.metrics if m.kind == "nll"])
        add("propagation", draw, sentences.propagation_caption(mine.propagation), nll)
    if main:
        page.heading("Where to switch")
    if mine.switches:
        draw = partial(heatmap_plate, [*mine.switches, *mine.savings])
        add("switch_depth_heatmap", draw, sentences.switch_depth_caption(label, mine), basis)
