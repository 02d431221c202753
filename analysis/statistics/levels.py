"""Levels of a study that trains: what every way to train reaches with every plan, and differences.

    levels = Levels(frame)            # groups the frame, once: everything else asks these groups
    levels.ways, levels.control       # the ways to train, told apart by typed columns
    levels.paired((one.name, PlanKey(subnet_depth=4, switch=3)), (levels.control.name, FULL), name)
    levels.table, levels.differences, levels.unfinished    # computed when first asked for, kept

Two spreads are kept apart. *Seeds*: how much models differ that were trained alike but for the
seed. *Samples*: how well one model was measured, from its disjoint sets. With several seeds an
interval is Student's t over the seeds' means; with one it is over that model's sets, and says
nothing about training.
"""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import pandas as pd

from analysis.frame import CONTROL, FINISHED, FrameError, headline_metrics
from analysis.metrics import parse_metric
from analysis.statistics.intervals import Interval, holm, paired_t

EQUIDISTANT = "equidistant"  # the paper's selector: the one that claims speak of
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
whatever the seed. `trained`: whether the models were trained for this plan."""
MEASURES = ["value", "low", "high", "over", "seed_sd", "sample_sd", "seeds", "sets", "count"]
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
        suffix = "" if self.selector == EQUIDISTANT else f" ({self.selector})"
        return f"d{self.subnet_depth}@{self.switch}{suffix}"


FULL = PlanKey()
Place = tuple[str, PlanKey]
"""A way to train, by its name, and a plan."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """A way to train.

    Attributes:
        name: what people call it, unique within a study; for showing and looking up only.
        share: of the control and of fixed schedules.
        selector: of the subnets that it trains; None for the control, which trains none.
    """

    name: str
    kind: str
    share: float | None
    selector: str | None
    train_switch: int | None

    @property
    def control(self) -> bool:
        return self.kind == CONTROL

    def of_paper(self, kind: str) -> bool:
        """Whether it is of this kind and trains the paper's subnets."""
        return self.kind == kind and self.selector == EQUIDISTANT

    def trains(self, plan: PlanKey) -> bool:
        """Whether models so trained were trained for `plan`: the full network always, subnets at
        the switch point trained for, the control's never."""
        return plan.is_full or (not self.control and plan.switch == self.train_switch)


@dataclass(frozen=True, kw_only=True)
class Observations:
    """Values (N,) that an interval runs over: a value a training seed where several finished,
    otherwise a value a disjoint set of the one model."""

    values: np.ndarray
    seeds: tuple[int, ...]

    def __bool__(self) -> bool:
        return len(self.values) > 0

    @property
    def over(self) -> str:
        return "seeds" if len(self.seeds) > 1 else "sets"

    def interval(self, *, confidence: float = 0.95) -> Interval:
        """Student's t over them; `ValueError` for none."""
        return paired_t(self.values, confidence=confidence)


@dataclass(frozen=True, kw_only=True)
class _Group:
    """The finished values (N,) of one way, plan and metric, by seed and set; -1: no sets."""

    seeds: np.ndarray
    sets: np.ndarray
    values: np.ndarray

    @property
    def by_seed(self) -> dict[int, float]:
        seeds = np.unique(self.seeds).tolist()
        return {seed: float(self.values[self.seeds == seed].mean()) for seed in seeds}

    @property
    def observed(self) -> Observations:
        means = self.by_seed
        values = np.array([*means.values()]) if len(means) > 1 else self.values
        return Observations(values=values, seeds=tuple(means))

    def minus(self, other: Self) -> Self:
        """What both have, by seed and set."""
        ours, theirs = ((group.seeds << 32) + group.sets for group in (self, other))
        _, i, j = np.intersect1d(ours, theirs, assume_unique=True, return_indices=True)
        values = self.values[i] - other.values[j]
        return replace(self, seeds=self.seeds[i], sets=self.sets[i], values=values)


_NOTHING = _Group(seeds=np.empty(0, int), sets=np.empty(0, int), values=np.empty(0))


class Levels:
    """What the models of a frame reach, with the frame grouped once; see this module's docstring.

    Attributes:
        ways: the ways to train, in the frame's order.
        control: that without subnet steps; None without one.
        fixed: fixed shares that train the paper's subnets.
        progressive: the progressive schedule that trains them; None without one.
        plans: the plans, in the frame's order.
        metrics: the headline metrics, the deciding ones first.
        unfinished: cells without numbers: `schedule`, `seed`, `plan`, `status`.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        """`frame`: checked, with its training columns."""
        self.ways = tuple(_way(row) for row in frame.drop_duplicates("schedule").itertuples())
        self.control = next((way for way in self.ways if way.control), None)
        self.fixed = tuple(way for way in self.ways if way.of_paper("fixed"))
        self.progressive = next((way for way in self.ways if way.of_paper("progressive")), None)
        self.metrics = headline_metrics(frame)
        self._by_name = {way.name: way for way in self.ways}
        of_N, self.plans = _plans_of(frame)
        bad_N = (frame["status"] != FINISHED).to_numpy(dtype=bool)
        bad = frame.loc[bad_N, ["schedule", "seed", "status"]]
        bad.insert(2, "plan", [self.plans[i].label for i in of_N[bad_N]])
        self.unfinished = bad.drop_duplicates().reset_index(drop=True)
        measured = ["metric", "seed", "set", "value", "count"]
        rows = frame[["schedule", *measured]].assign(plan=of_N)[~bad_N]
        rows["set"] = rows["set"].fillna(-1)
        key = ["schedule", "plan", "metric"]
        rows["group"] = rows.groupby(key, sort=False).ngroup()
        self._rows = rows.sort_values(["group", "seed", "set"])
        starts = np.flatnonzero(~self._rows["group"].duplicated())
        seeds, sets, values = (
            np.split(self._rows[name].to_numpy(dtype=dtype), starts[1:])
            for name, dtype in (("seed", int), ("set", int), ("value", float))
        )
        keys = self._rows[key].iloc[starts].itertuples(index=False)
        self._groups = {
            (name, self.plans[plan], metric): _Group(seeds=seeds[i], sets=sets[i], values=values[i])
            for i, (name, plan, metric) in enumerate(keys)
        }

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """Every way and plan with numbers, in the frame's order."""
        return tuple(dict.fromkeys((name, plan) for name, plan, _ in self._groups))

    def _group(self, place: Place, metric: str) -> _Group:
        return self._groups.get((*place, metric), _NOTHING)

    def observed(self, place: Place, metric: str) -> Observations:
        """The metric's values themselves; nothing where it has no numbers."""
        return self._group(place, metric).observed

    def by_seed(self, place: Place, metric: str) -> dict[int, float]:
        """The metric's mean of each training seed that finished."""
        return self._group(place, metric).by_seed

    def value(self, place: Place, metric: str) -> float:
        """The metric's mean; NaN where it has no numbers."""
        values = self._group(place, metric).values
        return float(values.mean()) if len(values) else math.nan

    def counted(self, plan: PlanKey, metric: str) -> float:
        """An exact metric of a plan, the same for all models; NaN where nothing counted it."""
        values = (self.value((way.name, plan), metric) for way in self.ways)
        return next((value for value in values if not math.isnan(value)), math.nan)

    def paired(self, one: Place, other: Place, metric: str) -> Observations:
        """Damage of `one` against `other`, positive being worse, in the metric's unit.

        Paired by seed and set. Seeds are those in which both finished; nothing where none is.
        """
        found = self._group(one, metric).minus(self._group(other, metric)).observed
        return replace(found, values=parse_metric(metric).damage_sign * found.values)

    def loss(self, place: Place, metric: str) -> Observations:
        """Damage of `place` against the control's full network; nothing without a control."""
        control = self.control.name if self.control else ""
        return self.paired(place, (control, FULL), metric)

    @cached_property
    def models(self) -> pd.DataFrame:
        """A row a model, plan and metric.

        Columns: `LABELS`, `seed`, `value` (mean over sets), `standard_error` (of that mean; NaN for
        exact numbers and single sets), `sets`, `count` (images or samples in all).
        """
        found = self._rows.groupby(["group", "seed"], sort=False).agg(
            value=("value", "mean"),
            deviation=("value", "std"),
            sets=("value", "size"),
            count=("count", "sum"),
        )
        found["standard_error"] = found.pop("deviation") / np.sqrt(found["sets"])
        return found.reset_index("seed").join(self._labels)

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
        """A row a way, plan and metric, over the seeds.

        Columns: `LABELS`, `value` (mean over seeds), `low` and `high` of its 95 % interval, `over`
        (what that runs over: `seeds`, `sets`, or `exact`), `seed_sd` (NaN for one seed),
        `sample_sd` (root mean square of the seeds' standard errors: what measuring adds to
        `seed_sd`), `seeds`, `sets` (a seed), `count` (images or samples in all).
        """
        models = self.models.assign(square=self.models["standard_error"] ** 2)
        found = models.groupby("group", sort=False).agg(
            value=("value", lambda values: values.mean()),  # a plain sum, as published
            seed_sd=("value", "std"),
            square=("square", "mean"),
            seeds=("seed", "size"),
            sets=("sets", "first"),
            count=("count", "sum"),
        )
        found["sample_sd"] = np.sqrt(found.pop("square"))
        spans = [_span(metric, group) for (*_, metric), group in self._groups.items()]
        ends = pd.DataFrame(spans, columns=["low", "high", "over"])
        return self._labels.join(found).join(ends)[[*LABELS, *MEASURES]]

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Every way against the control, plan by plan and metric by metric, paired.

        Columns: `schedule`, `plan`, `trained`, `metric`, `damage` (positive is worse), `low`,
        `high`, `p_value`, `p_holm` (over the ways of one plan and metric), `over`, `seeds`.
        """
        rows = []
        control = self.control.name if self.control else ""
        for name, plan, metric in self._groups:
            if name == control or parse_metric(metric).exact:
                continue
            found = self.paired((name, plan), (control, plan), metric)
            if found:
                i = found.interval()
                values = (i.estimate, i.low, i.high, i.p_value, found.over, len(found.seeds))
                rows.append((name, plan.label, self._by_name[name].trains(plan), metric, *values))
        columns = ["schedule", "plan", "trained", "metric"]
        columns += ["damage", "low", "high", "p_value", "over", "seeds"]
        table = pd.DataFrame(rows, columns=columns)
        table["p_holm"] = table.groupby(["plan", "metric"])["p_value"].transform(
            lambda p: holm(p.to_numpy())
        )
        return table


def _span(metric: str, group: _Group) -> tuple[float, float, str]:
    """Ends of a mean's interval, and what that runs over."""
    if parse_metric(metric).exact:
        return math.nan, math.nan, "exact"
    interval = group.observed.interval()
    return interval.low, interval.high, group.observed.over


def _way(row: Any) -> Way:
    """Of a row of a frame."""
    return Way(
        name=str(row.schedule),
        kind=str(row.kind),
        share=None if pd.isna(row.share) else float(row.share),
        selector=None if row.kind == CONTROL else str(row.selector),
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
