"""The figures of the sensitivity report: plates and captions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from matplotlib.figure import Figure

from analysis.figures.asymmetry import draw_asymmetry, draw_window_damage
from analysis.figures.heatmap import draw_heatmap
from analysis.figures.theme import PAGE_WIDTH, new_figure
from analysis.maps.scale_depth import Heatmap
from analysis.statistics.asymmetry import PRIMARY, Normalisation
from reports.parts.blocks import Run, Text
from reports.parts.figures import heatmap_plate
from reports.sensitivity import words as sentences
from reports.sensitivity.findings import Findings, SelectorFindings


@dataclass(frozen=True, kw_only=True)
class Plate:
    """A figure that is to be drawn, and the name of its file."""

    name: str
    draw: Callable[[], Figure]
    caption: Text


def asymmetry_plate(found: Findings, mine: SelectorFindings) -> Figure:
    """Above, what each window costs; below, the asymmetry statistic under each normalisation."""
    groups = [group for n in Normalisation if (group := mine.asymmetry.under(n))]
    above, below = 1.55, 0.75 + 0.19 * len(found.metrics)
    figure = new_figure(height=above + (below if groups else 0))
    top, bottom = (
        figure.subfigures(2, 1, height_ratios=(above, below)) if groups else (figure, None)
    )
    axes = top.subplots(1, len(found.metrics), squeeze=False)[0]
    for ax, metric in zip(axes, found.metrics, strict=True):
        draw_window_damage(ax, metric, mine.windows.loc[metric.name], mine.asymmetry.windows)
    if bottom is None:
        return figure
    axes = bottom.subplots(1, len(groups), sharey=True, squeeze=False)[0]
    for ax, group in zip(axes, groups, strict=True):
        draw_asymmetry(ax, group)
        primary = group[0].normalisation is PRIMARY
        ax.set_title(
            group[0].normalisation.value + (" (primary)" if primary else ""),
            fontweight="bold" if primary else "normal",
        )
    bottom.supxlabel("A divided by the sum of its two terms' sizes", fontsize=8)
    return figure


def propagation_plate(data: Heatmap) -> Figure:
    """The propagation map alone, near square."""
    scales = len(data.rows)
    figure = new_figure(width=min(PAGE_WIDTH, 1.2 + 0.58 * scales), height=0.75 + 0.29 * scales)
    draw_heatmap(figure.subplots(), data)
    return figure


def plates_of(found: Findings, mine: SelectorFindings) -> dict[str, Plate]:
    """Every figure that the study has data for, by kind; other selectors' bear their names."""
    main = mine is found.main
    label, half = found.metrics[0].label, mine.asymmetry.half_depth
    plates: dict[str, Plate] = {}

    def add(kind: str, draw: Callable[[], Figure], caption: Sequence[str | Run], nll: bool = False):
        metrics = [m for m in found.metrics if m.kind == "nll"] if nll else found.metrics
        plates[kind] = Plate(
            name=kind if main else f"{kind}_{mine.selector}",
            draw=draw,
            caption=[
                "" if main else f"Selector {mine.selector}. ",
                *caption,
                sentences.basis(found, metrics),
            ],
        )

    add(
        "asymmetry",
        partial(asymmetry_plate, found, mine),
        sentences.asymmetry_caption(mine.asymmetry),
    )
    if mine.scales:
        caption = sentences.scale_depth_caption(label, mine.scales)
        add("scale_depth_heatmap", partial(heatmap_plate, mine.scales), caption)
    if mine.propagation is not None:
        caption = sentences.propagation_caption(mine.propagation)
        add("propagation", partial(propagation_plate, mine.propagation), caption, nll=True)
    if mine.switches:
        maps = [*mine.switches, *mine.savings]
        pairs = [maps[i : i + 2] for i in range(0, len(maps), 2)]
        caption = sentences.switch_depth_caption(label, mine.switches[0], mine.savings, depth=half)
        add("switch_depth_heatmap", partial(heatmap_plate, pairs), caption)
    return plates
