"""Frontiers: which plans are worth having, how much a schedule's plans are worth together.

Two planes. (KV, quality): peak KV cache of a plan against a metric, for every plan of a schedule.
(full, subnet): a metric of the full network against that of a subnet of the same model, for every
schedule; the fixed shares trace a front there, and claim C3 says that the progressive schedule
lies beyond it. Pareto sets, hypervolume and attainment surfaces are moocore's.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple, Self

import moocore
import numpy as np
import pandas as pd

from analysis.errors import FrameError
from analysis.metrics import Metric
from analysis.statistics.intervals import Interval
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.units import NOTHING, Observations, applied, in_common

KV = "kv_bytes/peak"
CORNER = (1.1, 1.0)
"""Of hypervolumes: the full network's KV and a tenth, and all of the untrained damage."""


def non_dominated(points_N2: np.ndarray, *, ties: bool = True) -> np.ndarray:
    """(N,) which points no other is at least as low in both and lower in one.

    Of equal points all stay, or without `ties` the first.
    """
    return np.asarray(moocore.is_nondominated(points_N2, keep_weakly=ties), dtype=bool)


def staircase(points_N2: np.ndarray) -> np.ndarray:
    """(M, 2) the non-dominated points by their first coordinate; lower is better in both."""
    kept: np.ndarray = points_N2[non_dominated(points_N2)]
    ascending: np.ndarray = kept[np.argsort(kept[:, 0], kind="stable")]
    return ascending


def hypervolume(points_N2: np.ndarray, corner_2: np.ndarray) -> float:
    """What the points dominate of the plane up to `corner_2`, in rectangles from the origin to it.

    Points below the origin are allowed and make it larger than 1.
    """
    inside = points_N2[(points_N2 < corner_2).all(axis=1)]
    if not len(inside):
        return 0.0
    return float(moocore.hypervolume(inside, ref=corner_2)) / float(corner_2.prod())


@dataclass(frozen=True, kw_only=True)
class Frontier:
    """Every plan of every model in the (KV, quality) plane of one metric.

    Attributes:
        models: `schedule`, `kind`, `plan`, `switch`, `subnet_depth`, `unit`, `trained`,
            `kv_share` (of the full network's peak), `value`, `damage` (the metric, signed so that
            lower is better).
        plans: the same but for the unit, averaged over units, with `low` and `high` of the value's
            95 % interval over units; NaN for one.
        full_kv: bytes an image.
        floor: what real images score; None where they were not scored.
        front: (N, 2) of (KV share, value): the joint front of all schedules' trained plans.
        surfaces: of `attainment`, by schedule.
    """

    metric: Metric
    models: pd.DataFrame
    plans: pd.DataFrame
    full_kv: float
    floor: Interval | None
    front: np.ndarray
    surfaces: Mapping[str, Mapping[int, np.ndarray]]

    @cached_property
    def probability(self) -> dict[tuple[str, str], float]:
        """How often a schedule's plan is on the front of all schedules' trained plans.

        As a share of the units in which every schedule finished.
        """
        trained = self.models[self.models["trained"]]
        schedules = trained.groupby("unit")["schedule"].transform("nunique")
        trained = trained[schedules == trained["schedule"].nunique()]
        on_front = pd.Series(False, index=trained.index)
        for _, mine in trained.groupby("unit"):
            on_front[mine.index] = non_dominated(_points(mine))
        shares = on_front.groupby([trained["schedule"], trained["plan"]], sort=False).mean()
        return {key: float(share) for key, share in shares.items()}


def frontier(levels: Levels, metric: Metric, *, full_kv: float) -> Frontier:
    """The (KV, quality) plane of a metric; `full_kv` is in bytes of the full network.

    Raises:
        FrameError: no measured KV.
    """
    models, key = levels.models, ["schedule", "plan", "unit"]
    kv = models.loc[models["metric"] == KV, [*key, "value"]].rename(columns={"value": "kv"})
    if kv.empty:
        raise FrameError(f"frame: no {KV}; run the study again with this version")
    mine = models[models["metric"] == metric.name].merge(kv, on=key)
    mine = mine.assign(kv_share=mine["kv"] / full_kv, damage=metric.damage_sign * mine["value"])
    plan = ["schedule", "kind", "plan", "switch", "subnet_depth", "trained"]
    measured = ["kv_share", "value", "damage"]
    means = mine.groupby(plan, sort=False, dropna=False)[measured].mean().reset_index()
    over_units = (levels.table["metric"] == metric.name) & (levels.table["over"] == "units")
    ends = levels.table.loc[over_units, ["schedule", "plan", "low", "high"]]
    signs, trained = [1.0, metric.damage_sign], mine[mine["trained"]]
    by_schedule = trained.sort_values("unit", kind="stable").groupby("schedule", sort=False)
    return Frontier(
        metric=metric,
        models=mine[[*plan, "unit", *measured]],
        plans=means.merge(ends, how="left", on=["schedule", "plan"]),
        full_kv=full_kv,
        floor=levels.floor(metric.name).bounds(),
        front=staircase(_points(means[means["trained"]])) * signs,
        surfaces={
            str(name): {
                percentage: surface * signs
                for percentage, surface in attainment(_points(of), of["unit"].to_numpy()).items()
            }
            for name, of in by_schedule
        },
    )


def attainment(points_N2: np.ndarray, units_N: np.ndarray) -> dict[int, np.ndarray]:
    """Attainment surfaces over the units; none for one unit.

    Percentage of units (0: best of any unit, 50: median, 100: worst) to the (n, 2) points at which
    so many units have one at least as good; lower is better.

    Source: V. Grunert da Fonseca et al., EMO 2001; computed by moocore.
    """
    count = len(set(units_N.tolist()))
    if count < 2:
        return {}
    # moocore wants a percentile above zero: the best of n units is the 100/n one.
    wanted = {p: max(100.0 / count, p) for p in (0, 50, 100)}
    found = moocore.eaf(points_N2, sets=units_N, percentiles=list(wanted.values()))
    return {p: found[np.isclose(found[:, 2], w)][:, :2] for p, w in wanted.items()}


def _points(plane: pd.DataFrame) -> np.ndarray:
    """(N, 2) of KV share and damage."""
    return np.asarray(plane[["kv_share", "damage"]], dtype=float)


def hypervolume_table(
    levels: Levels, metrics: Sequence[Metric], shallowest: PlanKey, *, full_kv: float
) -> pd.DataFrame:
    """The hypervolume of each schedule's trained plans, full network included, unit by unit.

    The area between a model's front and `CORNER`, in (KV share, loss against the base's full
    network as a share of the untrained damage of `shallowest`), divided by the rectangle from the
    origin to the corner; higher is better. So metrics share a scale, and a front that loses nothing
    at no memory has 1. The untrained damage is its mean over units, one number for all; a metric
    in which it is not clear of zero has no hypervolume.

    Every schedule enters with the same plans (depth and switch, whichever layers they
    keep: that costs the same memory): those that finished in all of its units and in all
    schedules. Anchors, which train no subnet, have none but the full network and are left out.

    Columns: `schedule`, `metric`, `value` (mean over units), `low`, `high` (over units; NaN for
    one), `units`, `points` (plans a schedule), `values` (tuple, a unit each).
    """
    rows = []
    for metric in metrics:
        untrained = levels.untrained(shallowest, metric.name)
        if not untrained.mean > 0 or untrained.interval().low <= 0:
            continue
        for schedule, losses in _comparable(levels, metric.name).items():
            kv_P = np.array([levels.value((schedule, plan), KV) for plan in losses]) / full_kv
            lost = list(losses.values())
            found = applied(partial(_area, kv_P), [*lost, untrained.pooled(lost[0].units)])
            ends, counts = found.interval().ends, (len(found.units), len(lost))
            rows.append((schedule, metric.name, *ends, *counts, tuple(found.values.tolist())))
    columns = ["schedule", "metric", "value", "low", "high", "units", "points", "values"]
    return pd.DataFrame(rows, columns=columns)


def _area(kv_P: np.ndarray, values: np.ndarray) -> float:
    """The hypervolume of (P,) losses, which the untrained damage follows."""
    return hypervolume(np.column_stack([kv_P, values[:-1] / values[-1]]), np.array(CORNER))


def _comparable(levels: Levels, metric: str) -> dict[str, dict[PlanKey, Observations]]:
    """Losses by schedule and trained plan; of the plans that finished in all units of all."""
    losses: dict[str, dict[PlanKey, Observations]] = {}
    for name, plan in levels.places:
        way, loss = levels.way(name), levels.loss((name, plan), metric)
        if loss and not way.anchor and way.trains(plan):
            losses.setdefault(name, {})[plan] = loss
    kept = []
    for mine in losses.values():
        units = max((loss.units for loss in mine.values()), key=len)
        kept.append({(p.switch, p.subnet_depth) for p, one in mine.items() if one.units == units})
    everywhere = set.intersection(*kept) if kept else set()
    chosen = {
        name: {p: loss for p, loss in mine.items() if (p.switch, p.subnet_depth) in everywhere}
        for name, mine in losses.items()
    }
    return {name: mine for name, mine in chosen.items() if mine}


class Gap(NamedTuple):
    """How far a point lies beyond a front, in the subnet's direction; positive is beyond.

    `clamped`: its full network is better or worse than every one on the front, whose nearest end it
    is then compared with.
    """

    value: float
    clamped: bool


def frontier_gap(front_N2: np.ndarray, point_2: Sequence[float]) -> Gap:
    """Subnet damage that the front has at the point's full-network damage, minus the point's.

    The front is the polyline through its non-dominated points in (full, subnet), lower being
    better in both. Raises `ValueError` for no points.
    """
    if not len(front_N2):
        raise ValueError("a front needs at least one point")
    kept = staircase(front_N2)
    full, subnet = point_2
    there = float(np.interp(full, kept[:, 0], kept[:, 1]))
    clamped = not kept[0, 0] <= full <= kept[-1, 0]
    return Gap(there - float(subnet), bool(clamped))


class Beyond(NamedTuple):
    """How far a schedule lies beyond a front, and in how many units an end of it stood for it."""

    gap: Observations
    clamped: int


@dataclass(frozen=True, kw_only=True)
class Trade:
    """The (full, subnet) plane of one metric, signed so that lower is better.

    Attributes:
        schedules: full network and subnet of every schedule that trains subnets, of the units that
            have both.
        fixed: names of the fixed shares.
        control: full-network value of the control; None without one.
        floor: what real images score; None where they were not scored.
        models: `schedule`, `full`, `subnet` of every model.
        points: `schedule`, `full`, `subnet`, averaged over units, and the half-widths of their 95 %
            intervals `full_half`, `subnet_half` (NaN for one unit).
        front: (N, 2) the non-dominated means of the fixed shares, in the order of the polyline.
    """

    subnet: PlanKey
    schedules: Mapping[str, tuple[Observations, Observations]]
    fixed: tuple[str, ...]
    control: float | None
    floor: Interval | None
    models: pd.DataFrame
    points: pd.DataFrame
    front: np.ndarray

    @classmethod
    def of(
        cls,
        subnet: PlanKey,
        schedules: Mapping[str, tuple[Observations, Observations]],
        *,
        fixed: tuple[str, ...] = (),
        control: float | None = None,
        floor: Interval | None = None,
    ) -> Self:
        columns = ["schedule", "full", "subnet"]
        models = [
            (name, *values)
            for name, both in schedules.items()
            for values in zip(*(one.values for one in both), strict=True)
        ]
        means = [
            (name, *(one.mean for one in both), *(_half_width(one) for one in both))
            for name, both in schedules.items()
        ]
        points = pd.DataFrame(means, columns=[*columns, "full_half", "subnet_half"])
        shares = points.loc[points["schedule"].isin(fixed), ["full", "subnet"]]
        return cls(
            subnet=subnet,
            schedules=schedules,
            fixed=fixed,
            control=control,
            floor=floor,
            models=pd.DataFrame(models, columns=columns),
            points=points,
            front=staircase(shares.to_numpy(dtype=float)),
        )

    def beyond(self, schedule: str) -> Beyond:
        """How far a schedule lies beyond the front of the fixed shares, unit by unit.

        Of the units in which it and every fixed share finished; of none for one fixed share. In
        simulation 95 % intervals cover the gap of the true points in 96 % of studies along the
        front, and in 89 to 94 % at its corners and ends, where the mean of gaps is not the gap of
        means.
        """
        names = (*self.fixed, schedule)
        if len(self.fixed) < 2 or not all(name in self.schedules for name in names):
            return Beyond(NOTHING, 0)
        parts = in_common([one for name in names for one in self.schedules[name]])
        clamped = [_gap(values).clamped for values in np.stack([part.values for part in parts]).T]
        return Beyond(applied(lambda values: _gap(values).value, parts), sum(clamped))


def _gap(values: np.ndarray) -> Gap:
    """Of points laid end to end, the last one beyond the others."""
    points_N2 = values.reshape(-1, 2)
    return frontier_gap(points_N2[:-1], points_N2[-1].tolist())


def _half_width(found: Observations) -> float:
    """Of the 95 % interval over units; NaN for one."""
    i = found.interval()
    return i.high - i.estimate if len(found.units) > 1 else math.nan


def trades(
    levels: Levels, metrics: Sequence[Metric], subnets: Sequence[PlanKey]
) -> dict[Metric, list[Trade]]:
    """By metric, those of the subnets that were measured; without metrics that have none."""
    every = {m: [found for s in subnets if (found := trade(levels, m, s))] for m in metrics}
    return {metric: found for metric, found in every.items() if found}


def trade(levels: Levels, metric: Metric, subnet: PlanKey) -> Trade | None:
    """Every schedule's full network against one subnet; None where none has both."""
    schedules, sign = {}, metric.damage_sign
    for way in levels.ways:
        both = [levels.observed((way.name, plan), metric.name) for plan in (FULL, subnet)]
        full, small = in_common([one.times(sign) for one in both])
        if full and not way.anchor:
            schedules[way.name] = full, small
    if not schedules:
        return None
    control = levels.value((levels.control.name, FULL), metric.name) if levels.control else math.nan
    return Trade.of(
        subnet,
        schedules,
        fixed=tuple(way.name for way in levels.fixed),
        control=None if math.isnan(control) else sign * control,
        floor=levels.floor(metric.name).times(sign).bounds(),
    )
