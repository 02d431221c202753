"""The report of a study that has none of its own: every cell, every interval, the protocol."""

import math
from functools import partial
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.figures.floor import draw_floor
from analysis.figures.labels import EDGE, memory_axes
from analysis.figures.points import draw_scatter
from analysis.figures.theme import new_figure
from analysis.frame import FINISHED, headline_metrics
from analysis.metrics import Metric
from analysis.statistics.intervals import Interval
from analysis.statistics.units import NOTHING, observed
from analysis.study_file import REAL, StudyFile
from reports.parts import words
from reports.parts.figures import add_samples
from reports.parts.page import Page
from reports.parts.protocol import protocol_table
from reports.parts.report import Report, study_frame
from reports.parts.tables import (
    add_cell_tables,
    add_failed_cells,
    cell_table,
    over_words,
    unfinished,
)

LIMITS = ("Distances on a small network's features compare only with themselves at equal counts.",)


def make_report(folder: Path, study: StudyFile) -> Report:
    frame = study_frame(folder, study)
    metrics = headline_metrics(frame)
    cells = cell_table(frame)
    of_study = cells[cells["family"] != REAL]
    finished = int((of_study["status"] == FINISHED).sum())
    page = Page(study, study.title or study.study)
    verdict = f"{finished} of {len(of_study)} plans measured"
    page.answer(study.question, verdict, _finding(of_study, metrics))
    add_cell_tables(page, study, cells, metrics)
    page.heading("Figures")
    full_kv = float(cells.loc[cells["family"] == "full", "kv"].max())  # NaN where none finished
    floors = observed(frame[frame["family"] == REAL], ["metric"])
    for metric in metrics:
        floor = floors.get((metric.name,), NOTHING).bounds()
        shown = cells.dropna(subset=[metric.name, "kv"]) if metric.name in cells else cells[:0]
        if len(shown):
            page.figure(
                f"memory_{metric.kind}",
                partial(_scatter, shown, metric, floor, full_kv),
                f"{metric.short} against KV memory. ",
                f"{metric.label}, 95 % interval by {over_words(cells)}.",
            )
    add_samples(page, folder)
    protocol_table(page, study, frame)
    add_failed_cells(page, unfinished(frame))
    page.limits([words.ONE_UNIT if frame["unit"].nunique() == 1 else "", *LIMITS])
    return page.report(answer={}, summary=cells)


def _scatter(cells: pd.DataFrame, metric: Metric, floor: Interval | None, full_kv: float) -> Figure:
    height = max(2.2, 0.8 + 0.14 * len(cells))
    figure = new_figure(height=height, constrained=False)
    ax = figure.add_axes((0.1, 0.45 / height, 0.6, 1 - 0.95 / height))
    draw_floor(ax, floor)
    ends = {metric.name: "y", f"{metric.name} low": "low", f"{metric.name} high": "high"}
    known = not math.isnan(full_kv)
    table = cells.assign(x=cells["kv"] / (1 if known else 1024)).rename(columns=ends)
    ax.set_xlim(0, EDGE * table["x"].max())  # before names, whose leaders keep to it
    draw_scatter(ax, table, title=metric.heading, x_label="peak KV an image [KiB]")
    if known:
        memory_axes(ax, full_kv)
    return figure


def _finding(cells: pd.DataFrame, metrics: tuple[Metric, ...]) -> str:
    said = []
    for metric in metrics:
        if metric.name in cells:
            best = cells.loc[(metric.damage_sign * cells[metric.name]).idxmin()]
            ends = (best[f"{metric.name} {end}"] for end in ("low", "high"))
            level = numbers.estimate(best[metric.name], *ends, signed=False)
            said.append(f"{metric.short} {best['name']} ({level})")
    return f"Best by each metric: {'; '.join(said)}." if said else "No cell was measured."
