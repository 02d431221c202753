"""The report of a study that has none of its own: every cell, every interval, the protocol."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.figures.fronts import ScatterPanel, draw_scatter
from analysis.figures.theme import FigureBytes, figure_bytes, mark_quick, new_figure, style
from analysis.frame import FINISHED, headline_metrics, load_frame
from analysis.metrics import parse_metric
from analysis.statistics.damage import failed_cells
from analysis.statistics.intervals import SIGNIFICANCE, holm, paired_t
from reports.parts import words
from reports.parts.blocks import Text, answer, bullets, figure, heading, paragraph, strong, table
from reports.parts.figures import sample_plate
from reports.parts.protocol import protocol_table
from reports.parts.record import StudyRecord
from reports.parts.report import Report
from reports.parts.sheet import load_sheet

STAR = "*"
LABEL = ["schedule", "seed", "base_seed", "cell", "selector"]


def make_report(folder: Path, record: StudyRecord) -> Report:
    """The report of any study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", full=False)
    sheet = load_sheet(folder / "samples.npz")
    summary = cell_table(frame, baseline=record.fact("baseline"))
    plates: dict[str, FigureBytes] = {}
    captions: dict[str, Text] = {}
    for metric in headline_metrics(frame):
        drawn = _scatter(summary, metric, quick=record.quick)
        if drawn is not None:
            plates[f"memory_{metric.kind}"] = drawn
            captions[f"memory_{metric.kind}"] = [
                strong(f"{metric.short} against KV memory. "),
                f"{metric.label}, 95 % interval over disjoint sets.",
            ]
    if sheet is not None:
        plates["samples"] = sample_plate(sheet, quick=record.quick)
        captions["samples"] = [strong("Samples. "), "The same random numbers in every row."]
    finished = int((summary["status"] == FINISHED).sum())
    verdict = f"{finished} of {len(summary)} cells measured"
    return Report(
        content=_lay_out(record, frame, summary, plates, captions, verdict),
        plates=plates,
        summary=summary,
        answer={"verdict": verdict, "answer": _finding(summary, frame), "quick": record.quick},
        verdict=verdict,
    )


def cell_table(frame: pd.DataFrame, *, baseline: str | None) -> pd.DataFrame:
    """One row a cell: mean, interval, and paired damage against the baseline, for each metric.

    Columns: `name`, `status`, `kv` (bytes, NaN where not measured), and for each headline metric
    `<metric>`, `<metric> low`, `<metric> high`, `<metric> damage`, `... damage low`, `... damage
    high`, `... damage p` (Holm-adjusted over the cells).
    """
    rows = []
    several = {name for name in LABEL if frame[name].nunique(dropna=True) > 1} - {"selector"}
    for key, mine in frame.groupby(LABEL, dropna=False, sort=False):
        labels = dict(zip(LABEL, key, strict=True))
        parts = []
        if "schedule" in several or pd.notna(labels["schedule"]):
            parts.append(str(labels["schedule"]))
        parts += [f"s{labels[n]}" for n in ("seed", "base_seed") if n in several]
        row: dict[str, Any] = {
            "name": " ".join([*parts, str(labels["cell"])]),
            "status": mine["status"].iloc[0],
            "kv": mine.loc[mine["metric"] == "kv_bytes/peak", "value"].mean(),
        }
        other = frame[
            (frame["cell"] == baseline)
            & (frame["base_seed"] == labels["base_seed"])
            & _same(frame["schedule"], labels["schedule"])
            & _same(frame["seed"], labels["seed"])
        ]
        for metric in headline_metrics(frame):
            values = mine[mine["metric"] == metric.name].set_index("set")["value"]
            if values.empty:
                continue
            interval = paired_t(values.to_numpy(dtype=float))
            row |= {
                metric.name: interval.estimate,
                f"{metric.name} low": interval.low,
                f"{metric.name} high": interval.high,
            }
            against = other[other["metric"] == metric.name].set_index("set")["value"]
            if labels["cell"] == baseline or against.empty:
                continue
            difference = (metric.damage_sign * (values - against)).dropna()
            if len(difference):
                damage = paired_t(difference.to_numpy(dtype=float))
                row |= {
                    f"{metric.name} damage": damage.estimate,
                    f"{metric.name} damage low": damage.low,
                    f"{metric.name} damage high": damage.high,
                    f"{metric.name} damage p": damage.p_value,
                }
        rows.append(row)
    table_ = pd.DataFrame(rows)
    for column in [c for c in table_.columns if c.endswith(" damage p")]:
        table_[column] = holm(table_[column].to_numpy(dtype=float))
    return table_


def _same(column: pd.Series, value: object) -> pd.Series:
    return column.isna() if pd.isna(value) else (column == value).fillna(False)


def _scatter(summary: pd.DataFrame, metric, *, quick: bool) -> FigureBytes | None:
    if metric.name not in summary or summary["kv"].isna().all():
        return None
    shown = summary.dropna(subset=[metric.name, "kv"])
    with style():
        figure_ = new_figure(height=max(2.0, 0.6 + 0.14 * len(shown)), constrained=False)
        height = figure_.get_figheight()
        ax = figure_.add_axes((0.1, 0.45 / height, 0.6, 1 - 0.75 / height))
        draw_scatter(
            ax,
            ScatterPanel(
                title=metric.short + (f" [{metric.unit}]" if metric.unit else ""),
                x_label="peak KV cache an image [KiB]",
                names=list(shown["name"]),
                x=list(shown["kv"] / 1024),
                y=list(shown[metric.name]),
                low=list(shown[f"{metric.name} low"]),
                high=list(shown[f"{metric.name} high"]),
            ),
        )
        if quick:
            mark_quick(figure_)
        return figure_bytes(figure_)


def _finding(summary: pd.DataFrame, frame: pd.DataFrame) -> str:
    """The best cell by each metric, in a sentence."""
    said = []
    for metric in headline_metrics(frame):
        if metric.name not in summary:
            continue
        values = metric.damage_sign * summary[metric.name]
        best = summary.loc[values.idxmin()]
        level = words.estimate(
            best[metric.name], best[f"{metric.name} low"], best[f"{metric.name} high"], signed=False
        )
        said.append(f"{metric.short} {best['name']} ({level})")
    return f"Best by each metric: {'; '.join(said)}." if said else "No cell was measured."


def _lay_out(
    record: StudyRecord,
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    plates: dict[str, FigureBytes],
    captions: dict[str, Text],
    verdict: str,
) -> dict[str, Any]:
    question = str(record.fact("question") or f"Study {record.study}.")
    blocks = [heading("Question and answer")]
    blocks += [paragraph(" ".join(p.split())) for p in question.strip().split("\n\n")]
    blocks.append(answer(verdict, _finding(summary, frame)))
    blocks += cell_tables(summary, frame, baseline=record.fact("baseline"))
    if plates:
        blocks.append(heading("Figures"))
        blocks += [
            figure(path=f"figures/{n}.svg", caption=captions[n], alt=n.replace("_", " "))
            for n in plates
        ]
    blocks += [heading("Protocol"), protocol_table(record, frame), heading("Failed cells")]
    failed = failed_cells(frame)
    blocks.append(
        paragraph("None: every cell of the study finished.")
        if failed.empty
        else paragraph(f"No numbers: {', '.join(failed['cell'])}.")
    )
    blocks += [heading("Limits"), bullets(_limits(record))]
    return {
        "title": str(record.fact("title") or record.study),
        "subtitle": f"Study {record.study} on {record.dataset}",
        "date": str(record.fact("created") or "")[:10],
        "quick": record.quick,
        "blocks": blocks,
    }


def _limits(record: StudyRecord) -> list[Text]:
    items: list[Text] = []
    if record.quick:
        items.append([strong("This was a quick run on tiny data: nothing in it is a result.")])
    items += [
        "Intervals run over disjoint sets of images or samples of one network: they say how well "
        "it was measured, not how much networks trained alike differ.",
        "Distances on a small network's features compare only with themselves at equal counts.",
    ]
    return items


def cell_tables(
    summary: pd.DataFrame, frame: pd.DataFrame, *, baseline: str | None
) -> list[dict[str, Any]]:
    """Every cell that `cell_table` made: levels, and damage where there is a baseline."""
    metrics = [m for m in headline_metrics(frame) if m.name in summary]
    rows = [
        [words.unbroken(row["name"]), *(_level(row, metric.name) for metric in metrics)]
        for row in summary.to_dict("records")
    ]
    units = [f" [{metric.unit}]" if metric.unit else "" for metric in metrics]
    tables = [
        table(
            caption="Every cell: mean with 95 % interval (Student's t over disjoint sets).",
            columns=["Cell", *(m.short + unit for m, unit in zip(metrics, units, strict=True))],
            rows=rows,
            numeric_from=1,
            small=True,
        )
    ]
    damaged = [m for m in metrics if f"{m.name} damage" in summary]
    if not damaged:
        return tables
    compared = summary[summary[[f"{m.name} damage" for m in damaged]].notna().any(axis=1)]
    rows = [
        [words.unbroken(row["name"]), *(_damage(row, metric.name) for metric in damaged)]
        for row in compared.to_dict("records")
    ]
    tables.append(
        table(
            caption=(
                f"Every cell against {baseline}: paired damage, positive being worse, with 95 % "
                f"interval over disjoint sets; {STAR} marks p < 0.05 after Holm's correction over "
                "the cells."
            ),
            columns=["Cell", *(parse_metric(m.name).damage for m in damaged)],
            rows=rows,
            numeric_from=1,
            small=True,
        )
    )
    return tables


def _level(row: Mapping[str, Any], name: str) -> str:
    if pd.isna(row.get(name)):
        return str(row["status"])
    return words.unbroken(
        words.estimate(row[name], row[f"{name} low"], row[f"{name} high"], signed=False)
    )


def _damage(row: Mapping[str, Any], name: str) -> str:
    damage = row.get(f"{name} damage")
    if damage is None or pd.isna(damage):
        return words.NOTHING
    mark = STAR if row[f"{name} damage p"] < SIGNIFICANCE else ""
    low, high = row[f"{name} damage low"], row[f"{name} damage high"]
    return words.unbroken(words.estimate(damage, low, high) + mark)
