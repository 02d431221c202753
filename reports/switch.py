"""The report of the switch study: where may I switch, and does training at N matter?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from analysis.claims.ledger import deciding_metrics
from analysis.figures.fronts import OTHERS, draw_lines
from analysis.figures.theme import FigureBytes, figure_bytes, mark_quick, new_figure, style
from analysis.frame import load_frame
from analysis.maps.scale_depth import Heatmap
from analysis.maps.switch_depth import SwitchLoss, earliest, switch_losses, trained_at, transfer_map
from analysis.metrics import Metric
from analysis.statistics.fronts import NON_INFERIORITY_NATS
from analysis.statistics.levels import level_table, unfinished
from reports.pareto import tables as pareto_tables
from reports.parts import words
from reports.parts.blocks import Text, answer, bullets, figure, heading, paragraph, strong, table
from reports.parts.figures import heatmap_plate, sample_plate
from reports.parts.protocol import protocol_table
from reports.parts.record import SwitchRecord
from reports.parts.report import Report
from reports.parts.sheet import load_sheet


def make_report(folder: Path, record: SwitchRecord) -> Report:
    """The report of a switch study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    sheet = load_sheet(folder / "samples.npz")
    metrics = deciding_metrics(frame)
    nll = next((m for m in metrics if m.kind == "nll"), None)
    losses = {m.name: switch_losses(frame, m, record.depths) for m in metrics}
    maps = {m.name: [transfer_map(frame, m, depth) for depth in record.depths] for m in metrics}
    plates: dict[str, FigureBytes] = {}
    captions: dict[str, Text] = {}
    for metric in metrics:
        name = f"transfer_{metric.kind}"
        plates[name] = heatmap_plate(_rows_of(maps[metric.name]), quick=record.quick)
        captions[name] = _transfer_caption(metric, maps[metric.name], record)
        if losses[metric.name]:
            name = f"switch_{metric.kind}"
            plates[name] = _loss_plate(losses[metric.name], metric, record)
            captions[name] = _loss_caption(metric, record)
    if sheet is not None:
        plates["samples"] = sample_plate(sheet, quick=record.quick)
        captions["samples"] = [
            strong("Samples. "),
            "The same random numbers in every row; first training seed.",
        ]
    mine = losses[nll.name] if nll is not None else []
    verdict = _verdict(mine, maps[nll.name] if nll is not None else [], record)
    levels = level_table(frame)
    return Report(
        content=_lay_out(record, frame, levels, plates, captions, losses, metrics, mine, verdict),
        plates=plates,
        summary=levels,
        answer={
            "verdict": verdict,
            "answer": _plain(_answer_text(mine, maps[nll.name] if nll else [], record)),
            "quick": record.quick,
            "earliest": {
                str(depth): one.switch if (one := earliest(mine, depth)) else None
                for depth in record.depths
            },
            "trained_at": {str(n): label for n, label in trained_at(frame).items()},
        },
        verdict=verdict,
    )


def _rows_of(maps: Sequence[Heatmap]) -> list[list[Heatmap]]:
    return [list(maps[i : i + 2]) for i in range(0, len(maps), 2)]


def _mismatches(maps: Sequence[Heatmap]) -> tuple[int, int, float]:
    """Pairs that are significantly worse than matched training, all pairs, and the largest loss."""
    worse = sum(int((m.significant & (m.values > 0)).sum()) for m in maps)
    pairs = sum(m.tests for m in maps)
    largest = max((float(np.nanmax(m.values)) for m in maps), default=float("nan"))
    return worse, pairs, largest


def _verdict(losses: Sequence[SwitchLoss], maps: Sequence[Heatmap], record: SwitchRecord) -> str:
    said = []
    for depth in sorted(record.depths, reverse=True):
        one = earliest(losses, depth)
        said.append(f"d{depth} from switch {one.switch}" if one else f"d{depth} nowhere")
    worse, pairs, _ = _mismatches(maps)
    return f"{', '.join(said)}; training elsewhere costs in {worse} of {pairs} pairs"


def _answer_text(
    losses: Sequence[SwitchLoss], maps: Sequence[Heatmap], record: SwitchRecord
) -> list:
    parts: list = []
    if record.quick:
        parts.append("A quick run on tiny data: nothing here is a result. ")
    if len(record.seeds) == 1:
        parts.append(
            "One training seed: intervals are over disjoint sets of one model each, and training "
            "variance is not measured. "
        )
    limit = f"{NON_INFERIORITY_NATS} nats/token of NLL"
    parts.append(strong("Where may I switch? "))
    for depth in sorted(record.depths, reverse=True):
        one = earliest(losses, depth)
        if one is None:
            parts.append(f"With {depth} layers at no switch point is a loss of {limit} excluded. ")
        else:
            parts.append(
                f"With {depth} layers from scale {one.switch} on a loss of {limit} against the "
                f"control's full network is excluded (one-sided 95 %), for "
                f"{words.percent(one.kv_share)} of its KV and {words.percent(one.flops_share)} of "
                "its FLOPs. "
            )
    worse, pairs, largest = _mismatches(maps)
    parts += [
        strong("Does training at N matter? "),
        f"Used at another switch point than the one that it was trained for, a model is "
        f"significantly worse than one trained there in {worse} of {pairs} pairs (Holm within a "
        f"depth), at most by {words.number(largest)} nats/token.",
    ]
    return parts


def _plain(parts: Sequence[Any]) -> str:
    return "".join(p if isinstance(p, str) else p.text for p in parts).strip()


def _transfer_caption(metric: Metric, maps: Sequence[Heatmap], record: SwitchRecord) -> Text:
    over = "training seeds" if len(record.seeds) > 1 else "disjoint sets of one model each"
    return [
        strong(f"Trained at against used at, {metric.short}. "),
        "How much worse a model is than the one trained for the switch point that both are used "
        "at; negative is better. In brackets: not different from zero at p < 0.05 after Holm's "
        f"correction over the map, by t over {over}.",
    ]


def _loss_plate(losses: Sequence[SwitchLoss], metric: Metric, record: SwitchRecord) -> FigureBytes:
    colours = {d: OTHERS[i % len(OTHERS)] for i, d in enumerate(sorted({x.depth for x in losses}))}

    def lines(value, spread) -> dict[str, tuple]:
        found = {}
        for depth in sorted(colours, reverse=True):
            mine = [x for x in losses if x.depth == depth]
            found[f"d{depth}"] = (
                [x.switch for x in mine],
                [value(x) for x in mine],
                [spread(x) for x in mine],
                colours[depth],
            )
        return found

    unit = f" [{metric.unit}]" if metric.unit else ""
    panels = [
        (
            f"loss in {metric.short}{unit}",
            lines(lambda x: x.loss.estimate, lambda x: (x.loss.low, x.loss.high)),
        ),
        ("peak KV, share of full", lines(lambda x: x.kv_share, lambda x: None)),
        ("FLOPs, share of full", lines(lambda x: x.flops_share, lambda x: None)),
    ]
    with style():
        figure_ = new_figure(height=2.15, constrained=False)
        for i, (title, drawn) in enumerate(panels):
            ax = figure_.add_axes((0.07 + 0.33 * i, 0.2, 0.21, 0.62))
            draw_lines(ax, drawn, title=title, x_label="switch point N")
        if record.quick:
            mark_quick(figure_)
        return figure_bytes(figure_)


def _loss_caption(metric: Metric, record: SwitchRecord) -> Text:
    over = "training seeds" if len(record.seeds) > 1 else "disjoint sets of one model"
    return [
        strong(f"{metric.short}, KV and FLOPs against the switch point. "),
        "Each point is a model of its own, trained for the switch point that it is used at. Loss: "
        "paired difference from the full network of the control, with 95 % interval over "
        f"{over}; positive is worse. KV and FLOPs are exact.",
    ]


def _lay_out(
    record: SwitchRecord,
    frame: pd.DataFrame,
    levels: pd.DataFrame,
    plates: dict[str, FigureBytes],
    captions: dict[str, Text],
    losses: dict[str, list[SwitchLoss]],
    metrics: Sequence[Metric],
    nll: Sequence[SwitchLoss],
    verdict: str,
) -> dict[str, Any]:
    def shown(title: str, prefix: str) -> list[dict[str, Any]]:
        drawn = [
            figure(path=f"figures/{n}.svg", caption=captions[n], alt=n.replace("_", " "))
            for n in plates
            if n.startswith(prefix)
        ]
        return [heading(title), *drawn] if drawn else []

    maps = [transfer_map(frame, m, d) for m in metrics if m.kind == "nll" for d in record.depths]
    blocks = [
        heading("Question and answer"),
        paragraph(str(record.fact("question") or "")),
        answer(verdict, _answer_text(nll, maps, record)),
        *shown("Where may I switch?", "switch_"),
        _loss_rows(losses, metrics),
        *shown("Does training at N matter?", "transfer_"),
        *shown("Samples", "samples"),
        heading("Protocol"),
        protocol_table(record, frame),
        heading("Models"),
        pareto_tables.model_rows(record),
        heading("Cells without numbers"),
        pareto_tables.unfinished_rows(unfinished(frame), record),
        heading("Limits"),
        bullets(_limits(record)),
        heading("All plans"),
        *pareto_tables.plan_tables(levels, record.schedules),
    ]
    return {
        "title": "Where may I switch?",
        "subtitle": (
            f"Switch study on {record.dataset}: {words.counted(len(record.models), 'model')} of "
            f"{record.budget_images:,} image passes, "
            f"{words.counted(len(record.seeds), 'training seed')}"
        ),
        "date": str(record.fact("created") or "")[:10],
        "quick": record.quick,
        "blocks": blocks,
    }


def _loss_rows(losses: dict[str, list[SwitchLoss]], metrics: Sequence[Metric]) -> dict[str, Any]:
    rows: list[list[Text]] = []
    groups: list[int] = []
    places = sorted(
        {(x.depth, x.switch) for found in losses.values() for x in found},
        key=lambda place: (-place[0], place[1]),
    )
    for depth in dict.fromkeys(d for d, _ in places):
        mine = [place for place in places if place[0] == depth]
        groups.append(len(mine))
        for i, place in enumerate(mine):
            by_metric = {
                m.name: next((x for x in losses[m.name] if (x.depth, x.switch) == place), None)
                for m in metrics
            }
            known = next(x for x in by_metric.values() if x is not None)
            nll = next((x for m, x in by_metric.items() if m.startswith("nll") and x), None)
            rows.append(
                [
                    [strong(f"d{depth}")] if i == 0 else "",
                    str(place[1]),
                    *(
                        words.estimate(x.loss.estimate, x.loss.low, x.loss.high)
                        if x
                        else words.NOTHING
                        for x in by_metric.values()
                    ),
                    ("yes" if nll.acceptable else "no") if nll else words.NOTHING,
                    words.percent(known.kv_share),
                    words.percent(known.flops_share),
                ]
            )
    if not rows:
        return paragraph("No model has numbers to compare with the control.")
    return table(
        caption=(
            "Models at the switch point that they were trained for, against the control's full "
            "network: paired difference with 95 % interval, positive is worse. Within: a loss of "
            f"{NON_INFERIORITY_NATS} nats/token of NLL is excluded (one-sided test at 5 %). KV "
            "and FLOPs as shares of the full network's."
        ),
        columns=["Depth", "N", *(m.damage for m in metrics), "Within", "KV", "FLOPs"],
        rows=rows,
        numeric_from=1,
        small=True,
        groups=groups,
    )


def _limits(record: SwitchRecord) -> list[Text]:
    items: list[Text] = []
    if record.quick:
        items.append([strong("This was a quick run on tiny data: nothing in it is a result.")])
    if len(record.seeds) == 1:
        items.append(
            "One training seed: how much models trained alike differ is not measured here."
        )
    items += [
        "One base network, and one schedule for all models; the best schedule may differ from "
        "switch point to switch point.",
        "The Fréchet distance on a small network's features is not FID and compares only with "
        "itself at equal counts.",
    ]
    return items
