"""The report of the switch study: where may I switch, and does training at N matter?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis.claims.rules import deciding_metrics
from analysis.figures.points import draw_lines
from analysis.figures.theme import new_figure
from analysis.frame import load_frame
from analysis.maps.heatmap import Heatmap
from analysis.maps.switch_depth import SwitchLoss, earliest, switch_losses, trained_at, transfer_map
from analysis.metrics import Metric
from analysis.statistics.fronts import NON_INFERIORITY_NATS
from analysis.statistics.levels import Levels
from analysis.study_file import SwitchFile
from reports.parts import supernet_tables, words
from reports.parts.blocks import Text, strong
from reports.parts.figures import heatmap_plate
from reports.parts.page import Page
from reports.parts.protocol import supernet_protocol
from reports.parts.report import Report
from reports.parts.sheet import add_samples

LIMITS = (
    "One base network, and one schedule for all models; the best schedule may differ from "
    "switch point to switch point.",
    "The Fréchet distance on a small network's features is not FID and compares only with "
    "itself at equal counts.",
)
ONE_SEED = "One training seed: how much models trained alike differ is not measured here."


@dataclass(frozen=True, kw_only=True)
class MetricFindings:
    """What one metric says: losses at the switch point trained for, and a transfer map a depth."""

    metric: Metric
    losses: Sequence[SwitchLoss]
    maps: Sequence[Heatmap]

    @cached_property
    def worse(self) -> int:
        """Pairs that are significantly worse than matched training, of `pairs`."""
        return sum(int((m.significant & (m.values > 0)).sum()) for m in self.maps)

    @property
    def pairs(self) -> int:
        return sum(m.tests for m in self.maps)

    @property
    def largest(self) -> float:
        """The largest loss by training elsewhere."""
        return max((float(np.nanmax(m.values)) for m in self.maps), default=float("nan"))


def make_report(folder: Path, study: SwitchFile) -> Report:
    """The report of a switch study's folder; see `reports.build.build`."""
    frame = load_frame(folder / "frame.parquet", training=True, full=False)
    levels = Levels(frame)
    found = [
        MetricFindings(
            metric=metric,
            losses=switch_losses(levels, metric, study.depths),
            maps=[transfer_map(levels, metric, depth) for depth in study.depths],
        )
        for metric in deciding_metrics(levels.metrics)
    ]
    nll = next((one for one in found if one.metric.kind == "nll"), None)
    first = {depth: earliest(nll.losses if nll else (), depth) for depth in study.depths}
    verdict, text = _verdict(first, nll), _answer(study, first, nll)
    page = Page(
        study,
        title="Where may I switch?",
        subtitle=(
            f"Switch study on {study.dataset.name}: {words.counted(len(study.models), 'model')} of "
            f"{study.budget_images:,} image passes, "
            f"{words.counted(len(study.seeds), 'training seed')}"
        ),
    )
    page.heading("Question and answer")
    page.paragraph(study.question)
    page.answer(verdict, text)
    page.heading("Where may I switch?")
    _add_losses(page, study, found)
    page.heading("Does training at N matter?")
    over = "training seeds" if len(study.seeds) > 1 else "disjoint sets of one model each"
    for one in found:
        page.figure(
            f"transfer_{one.metric.kind}",
            partial(heatmap_plate, [one.maps[i : i + 2] for i in range(0, len(one.maps), 2)]),
            [
                strong(f"Trained at against used at, {one.metric.short}. "),
                "How much worse a model is than the one trained for the switch point that both are "
                "used at; negative is better. In brackets: not different from zero at p < 0.05 "
                f"after Holm's correction over the map, by t over {over}.",
            ],
        )
    page.heading("Samples")
    add_samples(
        page,
        folder,
        [strong("Samples. "), "The same random numbers in every row; first training seed."],
    )
    supernet_protocol(page, study, frame)
    page.heading("Models")
    supernet_tables.models(page, study)
    supernet_tables.unfinished(page, levels, study)
    page.limits([*([ONE_SEED] if len(study.seeds) == 1 else []), *LIMITS])
    supernet_tables.every_plan(page, levels)
    return page.report(
        verdict=verdict,
        answer={
            "earliest": {str(depth): one and one.switch for depth, one in first.items()},
            "trained_at": {str(switch): name for switch, name in trained_at(levels).items()},
        },
        summary=levels.table,
    )


def _verdict(first: Mapping[int, SwitchLoss | None], nll: MetricFindings | None) -> str:
    said = [
        f"d{depth} from switch {one.switch}" if one else f"d{depth} nowhere"
        for depth, one in sorted(first.items(), reverse=True)
    ]
    worse, pairs = (nll.worse, nll.pairs) if nll else (0, 0)
    return f"{', '.join(said)}; training elsewhere costs in {worse} of {pairs} pairs"


def _answer(
    study: SwitchFile, first: Mapping[int, SwitchLoss | None], nll: MetricFindings | None
) -> Text:
    parts: list[Any] = []
    if len(study.seeds) == 1:
        parts.append(
            "One training seed: intervals are over disjoint sets of one model each, and training "
            "variance is not measured. "
        )
    limit = f"{NON_INFERIORITY_NATS} nats/token of NLL"
    parts.append(strong("Where may I switch? "))
    for depth, one in sorted(first.items(), reverse=True):
        parts.append(
            f"With {depth} layers from scale {one.switch} on a loss of {limit} against the "
            "control's full network is excluded (one-sided 95 %), for "
            f"{words.percent(one.kv_share)} of its KV and {words.percent(one.flops_share)} of its "
            "FLOPs. "
            if one
            else f"With {depth} layers at no switch point is a loss of {limit} excluded. "
        )
    if nll is not None:
        parts += [
            strong("Does training at N matter? "),
            "Used at another switch point than the one that it was trained for, a model is "
            f"significantly worse than one trained there in {nll.worse} of {nll.pairs} pairs (Holm "
            f"within a depth), at most by {words.number(nll.largest)} nats/token.",
        ]
    return parts


def _add_losses(page: Page, study: SwitchFile, found: Sequence[MetricFindings]) -> None:
    """What switching costs: a figure a metric, and a table of all."""
    over = "training seeds" if len(study.seeds) > 1 else "disjoint sets of one model"
    for one in found:
        if one.losses:
            page.figure(
                f"switch_{one.metric.kind}",
                partial(_loss_figure, one),
                [
                    strong(f"{one.metric.short}, KV and FLOPs against the switch point. "),
                    "Each point is a model of its own, trained for the switch point that it is "
                    "used at. Loss: paired difference from the full network of the control, with "
                    f"95 % interval over {over}; positive is worse. KV and FLOPs are exact.",
                ],
            )
    rows = _loss_rows(found)
    if rows.empty:
        page.paragraph("No model has numbers to compare with the control.")
    page.table(
        rows,
        "Models at the switch point that they were trained for, against the control's full "
        "network: paired difference with 95 % interval, positive is worse. Within: a loss of "
        f"{NON_INFERIORITY_NATS} nats/token of NLL is excluded (one-sided test at 5 %). KV "
        "and FLOPs as shares of the full network's.",
        grouped=True,
    )


def _loss_rows(found: Sequence[MetricFindings]) -> pd.DataFrame:
    """A row a depth and switch point, deep ones first."""
    by_place = {(x.depth, x.switch): x for one in found for x in one.losses}
    places = sorted(by_place, key=lambda place: (-place[0], place[1]))
    columns: dict[str, list[str]] = {
        "Depth": [f"d{depth}" for depth, _ in places],
        "N": [str(switch) for _, switch in places],
    }
    within = [words.NOTHING] * len(places)
    for one in found:
        mine = {(x.depth, x.switch): x for x in one.losses}
        columns[one.metric.damage] = [
            words.interval(mine[place].loss if place in mine else None) for place in places
        ]
        if one.metric.kind == "nll":
            said = {place: "yes" if x.acceptable else "no" for place, x in mine.items()}
            within = [said.get(place, words.NOTHING) for place in places]
    columns["Within"] = within
    columns["KV"] = [words.percent(by_place[place].kv_share) for place in places]
    columns["FLOPs"] = [words.percent(by_place[place].flops_share) for place in places]
    return pd.DataFrame(columns)


def _loss_figure(found: MetricFindings) -> Figure:
    """A panel a quantity, a line a depth."""
    places = [(f"d{x.depth}", x.switch) for x in found.losses]
    losses = [x.loss for x in found.losses]
    panels = {
        f"loss in {found.metric.heading}": [(i.estimate, i.low, i.high) for i in losses],
        "peak KV, share of full": [(x.kv_share, np.nan, np.nan) for x in found.losses],
        "FLOPs, share of full": [(x.flops_share, np.nan, np.nan) for x in found.losses],
    }
    figure = new_figure(height=2.15, constrained=False)
    for i, (title, values) in enumerate(panels.items()):
        rows = [(*place, *value) for place, value in zip(places, values, strict=True)]
        table = pd.DataFrame(rows, columns=["name", "x", "y", "low", "high"])
        ax = figure.add_axes((0.07 + 0.33 * i, 0.2, 0.21, 0.62))
        draw_lines(ax, table, title=title, x_label="switch point N")
    return figure
