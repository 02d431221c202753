"""The report of the search study: does the found front beat two zones?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.claims.ledger import deciding_metrics
from analysis.figures.fronts import draw_fronts, draw_plan
from analysis.figures.theme import FigureBytes, figure_bytes, mark_quick, new_figure, style
from analysis.frame import load_frame
from analysis.metrics import Metric
from analysis.searches.plans import group_values, hypervolume_difference, kv_shares
from analysis.statistics.damage import failed_cells
from analysis.statistics.fronts import NON_INFERIORITY_NATS
from analysis.statistics.intervals import Interval, paired_t
from reports.general import cell_table, cell_tables
from reports.parts import words
from reports.parts.blocks import (
    Text,
    answer,
    bullets,
    code,
    figure,
    heading,
    paragraph,
    strong,
    table,
)
from reports.parts.figures import sample_plate
from reports.parts.protocol import protocol_table
from reports.parts.record import SearchRecord
from reports.parts.report import Report
from reports.parts.sheet import load_sheet

GROUPS = {"two-zone": "#0072b2", "found": "#d55e00"}
MOST_GRIDS = 12  # plans that are drawn


def make_report(folder: Path, record: SearchRecord) -> Report:
    """The report of a search study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=False, full=False)
    sheet = load_sheet(folder / "samples.npz")
    metrics = deciding_metrics(frame)
    gains = {m.name: _gain(frame, m, record) for m in metrics}
    best = _best_against_best(frame, metrics, record)
    plates: dict[str, FigureBytes] = {}
    captions: dict[str, Text] = {}
    if metrics:
        plates["fronts"] = _fronts_plate(frame, metrics, record)
        captions["fronts"] = [
            strong("The two fronts on test images. "),
            "Each was chosen on select images among the plans within the limit (dotted): two-zone "
            "plans, and all plans that the search scored. Lower left is better.",
        ]
    if record.fronts.get("found"):
        plates["plans"] = _plans_plate(record)
        captions["plans"] = [
            strong("The plans. "),
            "Rows are layers (the first on top), columns are scales; filled: the layer runs. "
            "Above: the two-zone front, below: the found front, by ascending KV "
            f"(at most {MOST_GRIDS} each).",
        ]
    if sheet is not None:
        plates["samples"] = sample_plate(sheet, quick=record.quick)
        captions["samples"] = [strong("Samples. "), "The same random numbers in every row."]
    summary = cell_table(frame, baseline="full")
    verdict = _verdict(gains, metrics)
    parts = _answer(record, gains, best, metrics)
    return Report(
        content=_lay_out(record, frame, summary, plates, captions, parts, metrics, verdict),
        plates=plates,
        summary=summary,
        answer={
            "verdict": verdict,
            "answer": "".join(p if isinstance(p, str) else p.text for p in parts).strip(),
            "quick": record.quick,
            "hypervolume_difference": {
                name: None
                if gain is None
                else {"estimate": gain.estimate, "low": gain.low, "high": gain.high}
                for name, gain in gains.items()
            },
            "best_found_minus_best_two_zone": {
                name: {"estimate": b.estimate, "low": b.low, "high": b.high}
                for name, b in best.items()
            },
            "plans_scored": record.trials,
        },
        verdict=verdict,
    )


def _best(record: SearchRecord, group: str) -> str | None:
    """The plan of a group with the least select NLL."""
    plans = record.fronts.get(group, ())
    return min(plans, key=lambda p: p["select_nll"])["plan"] if plans else None


def _best_against_best(
    frame: pd.DataFrame, metrics: Sequence[Metric], record: SearchRecord
) -> dict[str, Interval]:
    """Best found plan minus best two-zone plan, each by select NLL, on test images; by metric."""
    names = {group: _best(record, group) for group in GROUPS}
    found = {}
    for metric in metrics:
        values = {group: group_values(frame, metric, group) for group in GROUPS}
        cells = {group: f"{group} {name}" for group, name in names.items()}
        if all(cells[group] in values[group].index for group in GROUPS):
            one, other = (values[group].loc[cells[group]] for group in ("found", "two-zone"))
            found[metric.name] = paired_t((one - other).to_numpy(dtype=float))
    return found


def _reference(metric: Metric, record: SearchRecord) -> float:
    return record.reference_nll if metric.kind == "nll" else record.reference_fd


def _gain(frame: pd.DataFrame, metric: Metric, record: SearchRecord) -> Interval | None:
    limit = record.kv_limit_bytes / record.kv_full_bytes
    return hypervolume_difference(
        frame,
        metric,
        one="found",
        other="two-zone",
        corner=(1.05 * limit, _reference(metric, record)),
        full_kv=record.kv_full_bytes,
    )


def _said(gain: Interval | None) -> str:
    if gain is None:
        return "cannot be compared with"
    if not gain.low <= gain.high:
        return "differs without interval from"
    if gain.low > 0:
        return "beats"
    return "loses to" if gain.high < 0 else "does not differ from"


def _verdict(gains: Mapping[str, Interval | None], metrics: Sequence[Metric]) -> str:
    said = [f"the found front {_said(gains[m.name])} two zones in {m.short}" for m in metrics]
    return "; ".join(said) or "nothing was measured"


def _answer(
    record: SearchRecord,
    gains: Mapping[str, Interval | None],
    best: Mapping[str, Interval],
    metrics: Sequence[Metric],
) -> list:
    parts: list = []
    if record.quick:
        parts.append("A quick run on tiny data: nothing here is a result. ")
    limit = record.kv_limit_bytes / record.kv_full_bytes
    parts.append(
        f"Within {words.percent(limit)} of the full network's peak KV "
        f"({words.size(record.kv_limit_bytes)} an image), {record.trials} different plans were "
        f"scored on {record.score_images} select images. "
    )
    for metric in metrics:
        gain = gains[metric.name]
        if gain is None:
            continue
        value = words.estimate(gain.estimate, gain.low, gain.high)
        parts += [
            strong(metric.short),
            f": the found front's hypervolume minus the two-zone front's is {value} of the "
            "reference rectangle (positive: found is better; paired over disjoint test sets). ",
        ]
    found, two_zone = (_best(record, group) for group in ("found", "two-zone"))
    if found is not None:
        parts.append(f"The best plan by select NLL is {found} (plan-best.json). ")
    if best and found != two_zone:
        said = [
            f"{m.short} {words.estimate(b.estimate, b.low, b.high)}"
            for m in metrics
            if (b := best.get(m.name)) is not None
        ]
        parts.append(
            f"On test images it differs from the best two-zone plan, {two_zone}, by "
            f"{', '.join(said)} (positive is worse)."
        )
    return parts


def _fronts_plate(
    frame: pd.DataFrame, metrics: Sequence[Metric], record: SearchRecord
) -> FigureBytes:
    shares = kv_shares(frame, record.kv_full_bytes)
    with style():
        figure_ = new_figure(height=2.5)
        axes = figure_.subplots(1, len(metrics), squeeze=False)[0]
        for ax, metric in zip(axes, metrics, strict=True):
            drawn = {}
            for group, colour in GROUPS.items():
                values = metric.damage_sign * group_values(frame, metric, group)
                x = shares.reindex(values.index).to_numpy(dtype=float)
                drawn[group] = (x, values.mean(axis=1).to_numpy(dtype=float), colour)
            draw_fronts(
                ax,
                drawn,
                limit=record.kv_limit_bytes / record.kv_full_bytes,
                title=metric.short + (f" [{metric.unit}]" if metric.unit else ""),
            )
        if record.quick:
            mark_quick(figure_)
        return figure_bytes(figure_)


def _plans_plate(record: SearchRecord) -> FigureBytes:
    groups = [sorted(record.fronts.get(g, ()), key=lambda p: p["kv"])[:MOST_GRIDS] for g in GROUPS]
    columns = max(1, *(len(g) for g in groups))
    with style():
        figure_ = new_figure(height=2.6)
        axes = figure_.subplots(2, max(columns, 6), squeeze=False)
        for row, (group, plans) in enumerate(zip(GROUPS, groups, strict=True)):
            for j, ax in enumerate(axes[row]):
                if j >= len(plans):
                    ax.set_axis_off()
                    continue
                draw_plan(ax, plans[j]["layers"], record.depth, colour=GROUPS[group])
                ax.set_title(
                    words.percent(plans[j]["kv"] / record.kv_full_bytes), fontsize=7, loc="center"
                )
            if plans:
                axes[row][0].set_ylabel(group)
        if record.quick:
            mark_quick(figure_)
        return figure_bytes(figure_)


def _lay_out(
    record: SearchRecord,
    frame: pd.DataFrame,
    summary: pd.DataFrame,
    plates: dict[str, FigureBytes],
    captions: dict[str, Text],
    parts: list,
    metrics: Sequence[Metric],
    verdict: str,
) -> dict[str, Any]:
    def shown(title: str, name: str) -> list[dict[str, Any]]:
        if name not in plates:
            return []
        return [
            heading(title),
            figure(path=f"figures/{name}.svg", caption=captions[name], alt=name),
        ]

    failed = failed_cells(frame)
    blocks = [
        heading("Question and answer"),
        paragraph(str(record.fact("question") or "")),
        answer(verdict, parts),
        *shown("Fronts", "fronts"),
        *shown("Plans", "plans"),
        *_selector_blocks(frame, record, metrics),
        *shown("Samples", "samples"),
        heading("Protocol"),
        protocol_table(record, frame),
        heading("Failed cells"),
        paragraph("None: every cell of the study finished.")
        if failed.empty
        else paragraph(f"No numbers: {', '.join(failed['cell'])}."),
        heading("Limits"),
        bullets(_limits(record)),
        heading("All measured plans"),
        *cell_tables(summary, frame, baseline="full"),
    ]
    return {
        "title": "A better plan than two zones?",
        "subtitle": f"Search study on {record.dataset}: {record.trials} plans scored",
        "date": str(record.fact("created") or "")[:10],
        "quick": record.quick,
        "blocks": blocks,
    }


def _selector_blocks(
    frame: pd.DataFrame, record: SearchRecord, metrics: Sequence[Metric]
) -> list[dict[str, Any]]:
    """Which layers to keep at equal depth, against equidistant ones."""
    mine = frame[frame["family"] == "selector"]
    if mine.empty:
        return []
    digests = mine.drop_duplicates("cell").set_index("cell")["cell_digest"]
    rows: list[list[Text]] = []
    for cell in mine["cell"].unique():
        place = cell.split(" ")[0]
        reference = f"{place} equidistant"
        row: list[Text] = [words.unbroken(cell)]
        for metric in metrics:
            values = group_values(frame, metric, "selector")
            if cell not in values.index:
                row += ["failed", words.NOTHING]
                continue
            level = paired_t(metric.damage_sign * values.loc[cell].to_numpy(dtype=float))
            row.append(words.estimate(level.estimate, level.low, level.high, signed=False))
            if cell == reference or reference not in values.index:
                row.append(words.NOTHING)
                continue
            if digests[cell] == digests[reference]:
                row.append("same layers")
                continue
            damage = paired_t((values.loc[cell] - values.loc[reference]).to_numpy(dtype=float))
            row.append(words.estimate(damage.estimate, damage.low, damage.high))
        rows.append(row)
    columns = ["Plan"]
    for metric in metrics:
        columns += [metric.short, f"{metric.damage} against equidistant"]
    ranked = record.fact("ranked") or {}
    kept = "; ".join(f"{d}: {', '.join(map(str, layers))}" for d, layers in ranked.items())
    blocks = [
        heading("Which layers to keep"),
        table(
            caption=(
                "The same depth after the same switch point, other layers: levels on test images "
                "and paired differences from equidistant ones with 95 % interval over disjoint "
                "sets; positive is worse. The supernet was trained for one choice of layers, which "
                "has the advantage."
            ),
            columns=columns,
            rows=rows,
            numeric_from=1,
            small=True,
        ),
    ]
    if kept:
        blocks.append(paragraph(["Layers that ranking kept, by depth (from 0): ", code(kept)]))
    return blocks


def _limits(record: SearchRecord) -> list[Text]:
    items: list[Text] = []
    if record.quick:
        items.append([strong("This was a quick run on tiny data: nothing in it is a result.")])
    items += [
        "One supernet: intervals run over disjoint sets of test images or samples and speak of it "
        "alone. Another training seed may prefer other plans.",
        "The supernet was trained for two-zone plans at one switch point; plans found here were "
        "not trained for, and training for them may change their order.",
        "The search looked at teacher-forced NLL on select images only, which hides how errors "
        f"propagate. A difference below {NON_INFERIORITY_NATS} nats/token matters little elsewhere "
        "in these studies.",
    ]
    return items
