"""Levels of a study that trains: what every way to train reaches with every plan, and differences.

    levels = Levels(frame)            # groups the frame, once: everything else asks these groups
    levels.ways, levels.control, levels.base      # ways to train and anchors, by typed columns
    levels.paired((one.name, PlanKey(subnet_depth=4, switch=3)), (levels.control.name, FULL), name)
    levels.floor(name), levels.untrained(plan, name)       # what to hold a level, a loss against
    levels.table, levels.differences, levels.unfinished    # computed when first asked for, kept

Intervals run over units, see `analysis.statistics.units`; of one unit they are its jackknife's.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis.errors import FrameError
from analysis.frame import FINISHED, headline_metrics, own_rows
from analysis.metrics import parse_metric
from analysis.statistics.intervals import holm
from analysis.statistics.units import NOTHING, Observations, observed
from analysis.study_file import BASE, CONTROL, EQUIDISTANT, REAL, with_selector

LABELS = {
    "schedule": "object",
    "kind": "object",
    "share": "float64",
    "train_switch": "Int64",
    "plan": "object",
    "switch": "Int64",
    "subnet_depth": "Int64",
    "selector": "object",
    "trained": "bool",
    "metric": "object",
}
"""The columns, with dtypes, that tell what was measured of which plan of which way to train,
whatever the unit. `trained`: whether the models were trained for this plan."""
MEASURES = ["value", "low", "high", "over", "unit_sd", "seed_sd", "sample_sd", "units", "count"]
"""The columns of `Levels.table` that say how much it is, beside those of `LABELS`."""


@dataclass(frozen=True)
class PlanKey:
    """A plan of a study that trains: all layers, or `subnet_depth` of them after scale `switch`."""

    subnet_depth: int | None = None
    switch: int | None = None
    selector: str = EQUIDISTANT

    @property
    def is_full(self) -> bool:
        return self.subnet_depth is None

    @property
    def label(self) -> str:
        """For showing only: `full`, `d4@3`, `d4@3 (nested)`; one a plan."""
        if self.is_full:
            return "full"
        return with_selector(f"d{self.subnet_depth}@{self.switch}", self.selector)


FULL = PlanKey()
Place = tuple[str, PlanKey]
"""A way to train, by its name, and a plan."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to train.

    Attributes:
        name: what people call it, unique within a study; for showing and looking up only.
        share: of the control and of fixed schedules.
        selector: of the subnets that it trains; None for anchors, which train none.
    """

    name: str
    kind: str
    share: float | None
    selector: str | None
    train_switch: int | None

    @property
    def anchor(self) -> bool:
        """Whether it is the base or the control, which train no subnet."""
        return self.kind in (BASE, CONTROL)

    def of_paper(self, kind: str) -> bool:
        """Whether it is of this kind and trains the paper's subnets."""
        return self.kind == kind and self.selector == EQUIDISTANT

    def trains(self, plan: PlanKey) -> bool:
        """Whether models so trained were trained for `plan`: the full network always, subnets at
        the switch point trained for, an anchor's never."""
        return plan.is_full or (not self.anchor and plan.switch == self.train_switch)


class Levels:
    """What the models of a frame reach, with the frame grouped once; see this module's docstring.

    Attributes:
        ways: the ways to train and the base, in the frame's order.
        base: the network that training began from; None without its rows.
        control: that without subnet steps; None without one.
        fixed: fixed shares that train the paper's subnets.
        progressive: the progressive schedule that trains them; None without one.
        units: ascending.
        plans: the plans, in the frame's order.
        metrics: the headline metrics, the deciding ones first.
        unfinished: cells without numbers: `schedule`, `unit`, `seed`, `plan`, `status`.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        """`frame`: checked, with its training columns; rivals' rows are left out."""
        frame = own_rows(frame)
        self.units = tuple(sorted(frame["unit"].unique().tolist()))
        self.metrics = headline_metrics(frame)
        of_real = frame["family"] == REAL
        self._real = observed(frame[of_real], ["metric"])
        frame = frame[~of_real]
        self.ways = tuple(_way(row) for row in frame.drop_duplicates("schedule").itertuples())
        self.base = next((way for way in self.ways if way.kind == BASE), None)
        self.control = next((way for way in self.ways if way.kind == CONTROL), None)
        self.fixed = tuple(way for way in self.ways if way.of_paper("fixed"))
        self.progressive = next((way for way in self.ways if way.of_paper("progressive")), None)
        self._by_name = {way.name: way for way in self.ways}
        of_N, self.plans = _plans_of(frame)
        frame = frame.assign(plan_key=of_N)
        bad = frame.loc[frame["status"] != FINISHED, ["schedule", "unit", "seed", "status"]]
        bad.insert(3, "plan", [self.plans[i].label for i in of_N[frame["status"] != FINISHED]])
        self.unfinished = bad.drop_duplicates().reset_index(drop=True)
        self._groups: dict[tuple[str, PlanKey, str], Observations] = {
            (name, self.plans[plan], metric): found
            for (name, plan, metric), found in observed(
                frame, ["schedule", "plan_key", "metric"]
            ).items()
        }

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Every way and plan with numbers, in the frame's order."""
        return tuple(dict.fromkeys((name, plan) for name, plan, _ in self._groups))

    def way(self, name: str) -> Way:
        return self._by_name[name]

    def observed(self, place: Place, metric: str) -> Observations:
        """The metric's values themselves; nothing where it has no numbers."""
        return self._groups.get((*place, metric), NOTHING)

    def value(self, place: Place, metric: str) -> float:
        """The metric's mean over units; NaN where it has no numbers."""
        return self.observed(place, metric).mean

    def floor(self, metric: str) -> Observations:
        """What a perfect generator scores: reconstructed held-out images, as many as samples."""
        return self._real.get((metric,), NOTHING)

    def excess(self, place: Place, metric: str) -> Observations:
        """Damage against the floor, in the metric's unit; nothing where there is no floor."""
        found = self.observed(place, metric).minus(self.floor(metric))
        return found.times(parse_metric(metric).damage_sign)

    def counted(self, plan: PlanKey, metric: str) -> float:
        """An exact metric of a plan, the same for all models; NaN where nothing counted it."""
        values = (self.value((way.name, plan), metric) for way in self.ways)
        return next((value for value in values if not math.isnan(value)), math.nan)

    def paired(self, one: Place, other: Place, metric: str) -> Observations:
        """Damage of `one` against `other`, positive being worse, in the metric's unit.

        Of the units in which both finished.
        """
        found = self.observed(one, metric).minus(self.observed(other, metric))
        return found.times(parse_metric(metric).damage_sign)

    def loss(self, place: Place, metric: str) -> Observations:
        """Damage of `place` against the full network that training began from."""
        return self.paired(place, (self.base.name if self.base else "", FULL), metric)

    def floor_loss(self, metric: str) -> Observations:
        """What a perfect generator would lose against the full network that training began from:
        below zero; nothing where there is no floor."""
        return self.excess((self.base.name if self.base else "", FULL), metric).times(-1.0)

    def untrained(self, plan: PlanKey, metric: str) -> Observations:
        """Damage of `plan` on the network that training began from: what training may undo."""
        return self.loss((self.base.name if self.base else "", plan), metric)

    @cached_property
    def models(self) -> pd.DataFrame:
        """A row a way, plan, metric and unit: `LABELS`, `unit`, `value`."""
        rows = [
            (i, unit, value)
            for i, found in enumerate(self._groups.values())
            for unit, value in found.by_unit.items()
        ]
        table = pd.DataFrame(rows, columns=["group", "unit", "value"]).set_index("group")
        return table.join(self._labels).reset_index(drop=True)

    @cached_property
    def _labels(self) -> pd.DataFrame:
        """A row a group, in their order."""
        rows = []
        for name, plan, metric in self._groups:
            way = self._by_name[name]
            trained = (way.name, way.kind, way.share, way.train_switch)
            zones = (plan.label, plan.switch, plan.subnet_depth, plan.selector)
            rows.append((*trained, *zones, way.trains(plan), metric))
        return pd.DataFrame(rows, columns=list(LABELS)).astype(LABELS)

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a way, plan and metric, over the units.

        Columns: `LABELS`, `value` (mean over units), `low` and `high` of its 95 % interval, `over`
        (what that runs over: `units`, `samples` of one, or `exact`), `unit_sd` (NaN for one unit),
        `seed_sd` (of training seeds on one base), `sample_sd` (root mean square of the units'
        jackknife errors: what measuring adds to `unit_sd`), `units`, `count` (images or samples in
        all).
        """
        rows = []
        for (*_, metric), found in self._groups.items():
            interval = found.interval()
            ends = (interval.low, interval.high, found.over)
            if parse_metric(metric).exact:
                ends = (math.nan, math.nan, "exact")
            units = len(found.units)
            unit_sd = float(found.values.std(ddof=1)) if units > 1 else math.nan
            spreads = (unit_sd, found.seed_deviation, found.sample_error)
            rows.append((found.mean, *ends, *spreads, units, found.count))
        return self._labels.join(pd.DataFrame(rows, columns=MEASURES))[[*LABELS, *MEASURES]]

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every way against the control, plan by plan and metric by metric, paired.

        Columns: `schedule`, `plan`, `trained`, `metric`, `damage` (positive is worse), `low`,
        `high`, `p_value`, `p_holm` (over the ways of one plan and metric), `over`, `units`.
        """
        rows = []
        control = self.control.name if self.control else ""
        for name, plan, metric in self._groups:
            way = self._by_name[name]
            if way.anchor or parse_metric(metric).exact:
                continue
            found = self.paired((name, plan), (control, plan), metric)
            if found:
                i, of = found.interval(), (name, plan.label, way.trains(plan), metric)
                rows.append((*of, *i.ends, i.p_value, found.over, len(found.units)))
        columns = ["schedule", "plan", "trained", "metric"]
        columns += ["damage", "low", "high", "p_value", "over", "units"]
        table = pd.DataFrame(rows, columns=columns)
        p_values = table.groupby(["plan", "metric"])["p_value"]
        return table.assign(p_holm=p_values.transform(lambda p: holm(p.to_numpy())))


def _way(row: Any) -> Way:
    return Way(
        name=str(row.schedule),
        kind=str(row.kind),
        share=None if pd.isna(row.share) else float(row.share),
        selector=None if row.kind in (CONTROL, BASE) else str(row.selector),
        train_switch=None if pd.isna(row.train_switch) else int(row.train_switch),
    )


def _plans_of(frame: pd.DataFrame) -> tuple[np.ndarray, tuple[PlanKey, ...]]:
    """The plan of each row of a frame, as an index into the distinct plans in order."""
    full = frame["family"] == "full"
    typed = frame[["subnet_depth", "switch", "selector"]].mask(full)
    strange = frame.loc[~full & typed[["subnet_depth", "switch"]].isna().any(axis=1), "plan"]
    if len(strange):
        raise FrameError(f"frame: plan {strange.iloc[0]!r} is neither full nor of two zones")
    of_N = typed.groupby(list(typed), sort=False, dropna=False).ngroup().to_numpy()
    plans = (
        FULL if pd.isna(depth) else PlanKey(int(depth), int(switch), str(selector))
        for depth, switch, selector in typed.drop_duplicates().itertuples(index=False)
    )
    return of_N, tuple(plans)
