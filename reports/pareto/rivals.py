"""Rivals in the report of the pareto study: one table, one figure, how to read them."""

from functools import partial
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from analysis import numbers
from analysis.claims.rules import EVERY
from analysis.figures.colours import KINDS, OTHERS
from analysis.figures.labels import EDGE
from analysis.figures.plans import draw_fronts
from analysis.figures.theme import new_figure
from analysis.frame import FINISHED
from analysis.metrics import Metric
from analysis.statistics.fronts import KV
from analysis.statistics.rivals import compare_rivals, inherited_ranks, rival_fronts
from analysis.statistics.units import NOTHING, Observations
from analysis.study_file import EQUIDISTANT
from reports.pareto.findings import ParetoFindings
from reports.parts import words
from reports.parts.metrics import headings
from reports.parts.page import Page
from reports.parts.report import picked
from reports.parts.tables import votes

OWN = "this study"


class RivalFindings:
    """What the rivals of a study reach. Draws and writes nothing.

    Attributes:
        fronts: in the frame's order; () without rivals.
        compared: with the progressive schedule's trained plans.
        ranks: by metric; of inherited and stand-alone networks.
        lines: by metric, what `draw_fronts` draws of those that have numbers: the own trained
            plans, then every rival's front, whose intervals are left out.
        floors: by metric, what real images score.
    """

    def __init__(self, found: ParetoFindings, frame: pd.DataFrame) -> None:
        self.found, self.study = found, found.study
        self.names = [rival.name for rival in self.study.rivals]
        self.fronts = tuple(rival_fronts(frame))
        self.compared = tuple(compare_rivals(self.fronts, found.levels, found.metrics))
        self.ranks = inherited_ranks(frame, found.levels, found.metrics)
        self.lines = {metric.name: self._lines(metric) for metric in found.metrics}
        self.floors = {m.name: found.levels.floor(m.name).bounds() for m in found.metrics}
        self._bad = frame[frame["status"] != FINISHED]

    def _lines(self, metric: Metric) -> dict[str, np.ndarray]:
        levels = self.found.levels
        lines = {one.name: line for one in self.fronts if len(line := one.line(metric.name))}
        if not lines:
            return {}
        way = levels.progressive
        assert way is not None, "a study with rivals has it"
        plans = [plan for plan in levels.plans if way.trains(plan) and plan.selector == EQUIDISTANT]
        kv = {plan: levels.value((way.name, plan), KV) for plan in plans}
        reached = [(kv[plan], levels.observed((way.name, plan), metric.name)) for plan in plans]
        own = sorted((kv, *found.interval().ends) for kv, found in reached if found)
        return {OWN: np.array(own), **lines} if own else lines

    def rule(self, name: str) -> str:
        """What a rival does, what it took to train, and cells that have no numbers."""
        facts = next(rival for rival in self.study.rivals if rival.name == name)
        models = [model for model in self.study.models if model.rival == name]
        passes = sum(model.image_passes or 0 for model in models)
        trained = f"{words.counted(len(models), 'network')} of {passes:,} image passes in all"
        said = f"{name}: {facts.rule} ({facts.source}); {trained if models else 'no training'}"
        bad = self._bad[self._bad["rival"] == name].drop_duplicates("cell_digest")
        by_status = bad.groupby("status", observed=True).size()
        counts = [f"{count} {status}" for status, count in by_status.items()]
        return f"{said}{'; cells without numbers: ' if counts else ''}{', '.join(counts)}."

    def rows(self) -> pd.DataFrame:
        """A row a rival and an own plan, as texts."""
        rows = []
        for one in self.compared:
            row = {
                "Rival": one.front.name,
                "At the KV of": f"{one.plan.label} ({numbers.size(one.kv)})",
                "between": " and ".join(map(words.unbroken, one.between)),
                "FLOPs": numbers.percent(one.flops_share),
                "Weights": numbers.size(one.weight_bytes),
            }
            for name, heading in headings(self.found.metrics, "short").items():
                lost = one.damage.get(name, NOTHING)
                # A rival may save memory at any scale.
                may = votes(self.study, name, len(lost.units), EVERY)
                star = words.STAR * (may and one.significant(name))
                row[heading] = words.interval(lost.bounds()) + star
            rows.append(row)
        return pd.DataFrame(rows)

    def caption(self) -> str:
        """How to read the table."""
        weights = self.study.hardware.element_bytes * self.study.bases[0].parameters
        return (
            "Rivals against the progressive schedule at equal bytes of peak KV: at the KV of each "
            "of its trained plans, the rival's value there (linear in bytes between the two plans "
            "named, of its front by select NLL; above its largest plan, that one's) minus the own "
            f"plan's, positive being worse; 95 % interval by {words.over(len(self.study.units))}, "
            f"paired; {words.STAR} marks p < 0.05 after Holm over the differences of a metric, "
            f"{words.UNMARKED}. Below a rival's smallest plan there is no row. FLOPs: the "
            "rival's over the own plan's. Weights: bytes that its plans read, beside the cache; "
            f"the study's own network has {numbers.size(weights)}."
        )

    def ranks_words(self) -> str:
        """The rank correlation of inherited and stand-alone qualities."""
        said = [
            f"{metric.short} {numbers.fixed(sum(found.taus) / len(found.taus), 2)} "
            f"({numbers.fixed(min(found.taus), 2)} to {numbers.fixed(max(found.taus), 2)})"
            for metric in self.found.metrics
            if (found := self.ranks.get(metric.name))
        ]
        if not said:
            return ""
        plans = next(iter(self.ranks.values())).plans
        return (
            "Does a plan rank in the shared network as it does trained alone? Kendall's tau "
            f"between the progressive network's and stand-alone networks' qualities over {plans} "
            f"plans, mean over units (range): {'; '.join(said)}. So few plans have few orders."
        )

    def answer(self) -> dict[str, Any]:
        """What `answer.json` says; nothing without rivals."""
        if not self.names:
            return {}
        return {
            "rivals": self.names,
            "compared": [
                {"rival": one.front.name, "plan": one.plan.label}
                | picked(one, "kv", "flops_share", "weight_bytes")
                | {"damage": {name: _ends(lost) for name, lost in one.damage.items()}}
                | picked(one, "p_holm")
                for one in self.compared
            ],
            "kendall_tau": {name: list(found.taus) for name, found in self.ranks.items()},
        }


def _ends(lost: Observations) -> dict[str, float]:
    return picked(lost.interval(), "estimate", "low", "high")


def add_rivals(page: Page, rivals: RivalFindings) -> None:
    """Rules, figure, table and ranks; nothing without rivals."""
    if not rivals.names:
        return
    page.heading("Rivals")
    page.bullets([rivals.rule(name) for name in rivals.names])
    caption = (
        "Bold, with 95 % intervals over units: plans that the progressive schedule was trained "
        "for. Lines: the rivals' fronts, mean over units, each from its own plans. Band: real "
        "images, the floor."
    )
    if rivals.fronts:
        page.figure("rivals", partial(_plate, rivals), "Rivals at equal memory. ", caption)
    page.table(rivals.rows(), rivals.caption(), numeric_from=3, grouped=True)
    if text := rivals.ranks_words():
        page.paragraph(text)


def _plate(rivals: RivalFindings) -> Figure:
    """A panel a metric; the last panel that shows a line names it."""
    shown = [metric for metric in rivals.found.metrics if rivals.lines[metric.name]]
    figure = new_figure(height=2.6)
    axes = figure.subplots(1, len(shown), squeeze=False)[0]
    bold: dict[str, Any] = {"markersize": 5.5, "linewidth": 1.6, "zorder": 4}
    looks = {OWN: bold | {"color": KINDS["progressive"]}}
    for i, front in enumerate(rivals.fronts):
        looks[front.name] = {"color": OTHERS[i % len(OTHERS)], "markersize": 4.0}
    last = {name: metric.name for metric in shown for name in rivals.lines[metric.name]}
    for ax, metric in zip(axes, shown, strict=True):
        ax.set_xlim(0, EDGE * rivals.study.kv_full_bytes)
        draw_fronts(
            ax,
            rivals.lines[metric.name],
            looks,
            full_kv=rivals.study.kv_full_bytes,
            floor=rivals.floors[metric.name],
            named=[name for name in looks if last.get(name) == metric.name],
        )
        ax.set_ylabel(metric.heading)
    return figure
