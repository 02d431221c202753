"""The report of the noise study: how far metrics move when nothing of interest changes."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.figures.points import draw_components
from analysis.figures.theme import new_figure
from analysis.frame import load_frame
from analysis.instrument_file import NoiseFile
from analysis.metrics import Metric
from analysis.statistics.noise import Ends, Noise, Quantity, Resolution, deviation
from analysis.study_file import FRAME_FILE
from reports.parts import words
from reports.parts.figures import add_samples
from reports.parts.page import Page
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report, picked
from reports.parts.tables import add_failed_cells, unfinished

LABELS = {"base": "base networks", "training": "training seeds", "evaluation": "evaluation"}
LIMITS = (
    "Components hold for these networks, this budget and these feature spaces. With few units the "
    "interval of the first is wide, and what is planned from it is as uncertain.",
    "Units that have a cell without numbers are left out.",
)


def make_report(folder: Path, study: NoiseFile) -> Report:
    frame = load_frame(folder / FRAME_FILE, training=True)
    noise = Noise(
        frame,
        depth=study.geometry.depth,
        switch=study.train_switch,
        default_switch=study.default_switch,
    )
    found = noise.quantities
    page = Page(
        study,
        "How far do these metrics move?",
        words.counted(len(study.units), "unit"),
        f"{words.counted(study.draws, 'draw')} a network and count",
    )
    shown = _headline(study, found)
    page.answer(study.question, _verdict(shown), " ".join(map(_sentence, shown)))
    _add_figure(page, found)
    _add_components(page, found)
    _add_checks(page, study, found)
    _add_resolutions(page, noise.resolutions)
    add_samples(page, folder, "The first unit's base, and the first network trained from it.")
    supernet_protocol(page, study, frame)
    add_failed_cells(page, unfinished(frame))
    page.limits(LIMITS)
    return page.report(answer={}, summary=_summary(found))


def _headline(study: NoiseFile, found: Sequence[Quantity]) -> list[Quantity]:
    """Loss of half the layers by the deciding distance and by likelihood."""
    half = [q for q in found if q.quantity == "loss half" and q.kind in ("fd", "fid", "nll")]
    return [q for q in half if q.extractor in (study.extractors[0].name, None)]


def _named(metric: Metric, said: str) -> str:
    """With its feature space."""
    return " ".join(filter(None, (said, metric.extractor)))


def _deviations(quantity: Quantity) -> dict[str, float]:
    """Those that are known."""
    known = {name: ends[0] for name, ends in quantity.deviations.items()}
    return {name: value for name, value in known.items() if not math.isnan(value)}


def _verdict(shown: Sequence[Quantity]) -> str:
    said = []
    for quantity in shown:
        parts = _deviations(quantity)
        largest = max(parts, key=lambda name: parts[name])
        said.append(f"{quantity.metric.short} moves most with {LABELS[largest]}")
    return "; ".join(said) or "nothing was measured"


def _sentence(quantity: Quantity) -> str:
    parts = (f"{LABELS[n]} {numbers.number(d)}" for n, d in _deviations(quantity).items())
    unit = f" {quantity.metric.unit}" if quantity.metric.unit else ""
    return (
        f"Loss of half the layers, {quantity.metric.label}: a value from one unit, seed and draw "
        f"of {quantity.samples:,} moves by standard deviations of {', '.join(parts)}{unit}."
    )


def _add_figure(page: Page, found: Sequence[Quantity]) -> None:
    page.heading("Components")
    page.figure(
        "components",
        partial(_plate, [q for q in found if q.quantity == "loss half"]),
        "What a loss of half the layers moves with. ",
        "Standard deviation that each component adds to one value, with 95 % interval "
        "(generalised confidence intervals); zero is what cannot be told from nothing.",
    )


def _plate(shown: Sequence[Quantity]) -> Figure:
    columns = min(3, max(1, len(shown)))
    rows = math.ceil(len(shown) / columns) or 1
    figure = new_figure(height=0.3 + 1.15 * rows)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax, one in zip(axes.flat, shown, strict=False):
        ends = [(LABELS[name], *ends) for name, ends in one.deviations.items()]
        table = pd.DataFrame(ends, columns=["name", "value", "low", "high"])
        draw_components(ax, table, title=_named(one.metric, one.metric.heading))
        if ax not in axes[:, 0]:
            ax.set_yticklabels([])
    for ax in axes.flat[len(shown) :]:
        ax.set_axis_off()
    return figure


def _add_components(page: Page, found: Sequence[Quantity]) -> None:
    shared = any(q.common for q in found)
    rows = [
        {
            "Metric": _named(q.metric, q.metric.short),
            "Quantity": q.quantity,
            "Mean": numbers.number(q.mean),
            **{label.capitalize(): _text(q.deviations[name]) for name, label in LABELS.items()},
            **({"What all share": _shared(q)} if shared else {}),
        }
        for q in found
    ]
    page.table(
        pd.DataFrame(rows),
        "Standard deviations that one value moves by, with 95 % intervals. Level: of trained "
        "networks. Loss: against the base's full network, less the claim's margin times the "
        "untrained damage. Retrained: of two trainings that differ in their seed; their spread is "
        "under base networks. What all share: test images of a finite data set, by which the mean "
        "over units moves. Asymmetry: early less late damage of half the layers, untrained.",
        grouped=True,
        numeric_from=2,
    )


def _shared(q: Quantity) -> str:
    count = q.samples if q.metric.kind == "nll" else 1
    return "" if q.common is None else _text(deviation(q.common, count))


def _text(ends: Ends) -> str:
    return numbers.estimate(*ends, signed=False)


def _add_checks(page: Page, study: NoiseFile, found: Sequence[Quantity]) -> None:
    page.heading("Evaluation: samples, and the jackknife")
    rows = [
        {
            "Metric": _named(q.metric, q.metric.short),
            "Quantity": q.quantity,
            **{f"n = {n:,}": numbers.number(q.by_count.get(n, math.nan)) for n in study.counts},
            "1 / n": {None: numbers.NOTHING, True: "holds", False: "refused"}[q.inverse],
            "Jackknife / repeats": numbers.number(q.jackknife_ratio),
        }
        for q in found
        if q.by_count
    ]
    page.table(
        pd.DataFrame(rows),
        "Variance of repeated evaluations times the number of samples, at each number: one number "
        "if the variance falls as 1 / n (F test of the largest and the least, 5 %). And the "
        "jackknife's variance over the repeats': 1 if the jackknife is right.",
        grouped=True,
        numeric_from=2,
    )


def _add_resolutions(page: Page, found: Sequence[Resolution]) -> None:
    rows = [
        {
            "Metric": _named(one.metric, one.metric.short),
            "n": f"{one.samples:,}",
            "Full": numbers.number(one.full),
            "Half": numbers.number(one.half),
            "Bias": numbers.percent(one.bias),
            "Half less full, in its deviations": numbers.estimate(
                one.deviations, one.low, one.high, signed=False
            ),
        }
        for one in found
    ]
    page.table(
        pd.DataFrame(rows),
        "What so many samples can tell: mean levels of trained networks of all and of half the "
        "layers; by which share the full network's lies above its limit, on a line in 1 / n "
        "through the next fewer samples; and how many standard deviations of a difference "
        "evaluated once lie between the two, with its 95 % interval (noncentral t).",
        grouped=True,
        numeric_from=1,
    )


def _summary(quantities: Sequence[Quantity]) -> pd.DataFrame:
    """A row a quantity and component; variances, that of evaluation of one sample."""
    rows = [
        {"metric": q.metric.name, "quantity": q.quantity}
        | picked(q, "mean", "untrained", "margin")
        | {"component": name, "variance": one.estimate}
        | picked(one, "low", "high", "degrees_of_freedom")
        for q in quantities
        for name, one in q.components.items()
    ]
    columns = "metric quantity mean untrained margin component variance low high degrees_of_freedom"
    return pd.DataFrame(rows, columns=columns.split())
