"""The report of the ladder: what each metric sees, and about which zones it may decide."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.figures.heatmap import draw_ladder
from analysis.figures.theme import new_figure
from analysis.frame import load_frame
from analysis.instrument_file import LadderFile
from analysis.metrics import Metric
from analysis.statistics.ladder import LEAST_REPEATS, REJECTED, Step, climb, part_spread, passes
from analysis.study_file import FRAME_FILE, REAL, ScaleZone
from reports.parts import words
from reports.parts.figures import add_samples
from reports.parts.page import Page
from reports.parts.protocol import protocol_table
from reports.parts.report import Report, check_together
from reports.parts.tables import add_failed_cells, unfinished

Passed = Mapping[Metric, Mapping[ScaleZone, bool]]
ROLES = ("decides", "knows nothing of classes")
RULE = (
    "A repeat rejects a rung where its score is worse than the one-sided 95 % prediction limit of "
    f"real images; a metric passes for a zone where at least {REJECTED:.0%} of at least "
    f"{LEAST_REPEATS} repeats reject that zone's last scale swapped."
)
LIMITS = (
    "It holds for these images, this tokenizer, these feature networks and this count alone; "
    "other settings need a ladder of their own.",
    "Damage of token maps is not what a network without depth does: to see the one is needed to "
    "see the other, and no proof of it.",
)


def make_report(folder: Path, study: LadderFile) -> Report:
    frame = load_frame(folder / FRAME_FILE, full=False)
    check_together(folder, frame, {"window": study.windows})
    steps = climb(frame, part_spread(study.sampling.samples, study.shared_images))
    passed = passes(steps)
    repeats = max(len(step.observed.units) for step in steps) if steps else 0
    samples = f"{study.sampling.samples:,} images a score"
    page = Page(study, "What can these metrics see?", words.counted(repeats, "repeat"), samples)
    page.answer(study.question, _verdict(study, passed), f"{_answer(study, passed)} {RULE}")
    _add_figure(page, study, steps)
    _add_zones(page, study, passed)
    _add_rungs(page, study, steps, repeats)
    add_samples(page, folder, "The first unit's real images, as they are and damaged.")
    protocol_table(page, study, frame)
    add_failed_cells(page, unfinished(frame))
    few = f"Below {LEAST_REPEATS} repeats nothing passes." if repeats < LEAST_REPEATS else ""
    page.limits([few, *LIMITS])
    answer = {"passes": {m.name: dict(zones) for m, zones in passed.items()}}
    return page.report(answer=answer, summary=_summary(steps))


def _spaces(study: LadderFile, metrics: Sequence[Metric]) -> dict[str, tuple[Metric, ...]]:
    """The metrics of each feature space that has any, the deciding space first; a metric without
    one is the first's."""
    first, *_ = names = [extractor.name for extractor in study.extractors]
    every = dict.fromkeys(metrics)
    spaces = {name: tuple(m for m in every if (m.extractor or first) == name) for name in names}
    return {name: of for name, of in spaces.items() if of}


def _deciding(study: LadderFile, passed: Passed) -> list[Metric]:
    """Those that may decide at all, of the deciding space."""
    metrics = _spaces(study, list(passed)).get(study.extractors[0].name, ())
    return [metric for metric in metrics if metric.decides]


def _seen(zones: Mapping[ScaleZone, bool]) -> str:
    return words.listed([zone for zone, passed in zones.items() if passed]) or "nothing"


def _verdict(study: LadderFile, passed: Passed) -> str:
    said = [f"{metric.short} {_seen(passed[metric])}" for metric in _deciding(study, passed)]
    return f"may decide: {'; '.join(said)}"


def _answer(study: LadderFile, passed: Passed) -> str:
    deciding = _deciding(study, passed)
    said = [f"{metric.label} sees {_seen(passed[metric])}" for metric in deciding]
    blind = [
        f"{zone} scales (to scale {scales[-1]})"
        for zone, scales in study.windows.items()
        if not any(passed[metric].get(zone) for metric in deciding)
    ]
    none = f" None of them sees the {words.listed(blind)}." if blind else ""
    return f"In the space that decides, {words.listed(said)}.{none}"


def _add_figure(page: Page, study: LadderFile, steps: Sequence[Step]) -> None:
    page.heading("What each metric sees")
    page.figure(
        "ladder",
        partial(_plate, study, steps),
        "Known damage by metric, both feature spaces. ",
        "Per cent of repeats in which the damage is told from real images; 5 are expected of "
        "undamaged ones. Framed: the metric passes for the zone that ends with this scale ",
        f"({', '.join(f'{zone} {scales[-1]}' for zone, scales in study.windows.items())}).",
    )


def _plate(study: LadderFile, steps: Sequence[Step]) -> Figure:
    table = pd.DataFrame(
        [(s.rung, s.metric.name, s.rejected, s.zone is not None and s.passed) for s in steps],
        columns=["rung", "metric", "rejected", "passed"],
    )
    rungs = [rung for rung in dict.fromkeys(table["rung"]) if rung != REAL]
    spaces = _spaces(study, [step.metric for step in steps])
    figure = new_figure(height=0.9 + 0.22 * len(rungs))
    ratios = [len(metrics) for metrics in spaces.values()]
    axes = figure.subplots(1, len(spaces), squeeze=False, width_ratios=ratios)[0]
    for ax, (name, metrics), role in zip(axes, spaces.items(), ROLES, strict=False):
        grids = (
            table.pivot(index="rung", columns="metric", values=column)
            .reindex(index=rungs, columns=[m.name for m in metrics])
            .set_axis([m.short for m in metrics], axis=1)
            for column in ("rejected", "passed")
        )
        draw_ladder(ax, *grids, title=f"{name}: {role}")
        if ax is not axes[0]:
            ax.set_yticks([])
    return figure


def _add_zones(page: Page, study: LadderFile, passed: Passed) -> None:
    rows = [
        {"Space": name, "Metric": metric.short}
        | {
            f"{zone} (to scale {scales[-1]})": "yes" if passed[metric].get(zone) else "no"
            for zone, scales in study.windows.items()
        }
        for name, metrics in _spaces(study, list(passed)).items()
        for metric in metrics
    ]
    page.table(
        pd.DataFrame(rows),
        "Which metrics may decide about which zone: those that reject its last scale swapped in at "
        f"least {REJECTED:.0%} of the repeats.",
        grouped=True,
        numeric_from=2,
    )


def _add_rungs(page: Page, study: LadderFile, steps: Sequence[Step], repeats: int) -> None:
    page.heading("Scores")
    for name, metrics in _spaces(study, [step.metric for step in steps]).items():
        cells: dict[str, dict[str, str]] = {}
        for step in (step for step in steps if step.metric in metrics):
            text = numbers.interval(step.observed.interval(), signed=False)
            cells.setdefault(step.rung, {})[step.metric.short] = text
        rows = pd.DataFrame.from_dict(cells, orient="index").rename_axis("Rung").reset_index()
        rows = rows.loc[sorted(rows.index, key=lambda i: rows["Rung"][i] != REAL)]
        page.table(
            rows.fillna(numbers.NOTHING),
            f"{name}: mean score with 95 % interval by {words.over(repeats)}.",
        )


def _summary(steps: Sequence[Step]) -> pd.DataFrame:
    rows = []
    for step in steps:
        found = (*step.observed.interval().ends, step.limit, step.distance, step.rejected)
        repeats = len(step.observed.units)
        rows.append((step.metric.name, step.rung, step.zone, *found, repeats))
    names = "metric rung zone mean low high limit distance rejected repeats"
    return pd.DataFrame(rows, columns=names.split())
