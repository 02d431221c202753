"""Rivals under one meter: what a peer's way reaches within the bytes of the study's own plans.

The rule, written before any run. The study's own are the plans that the progressive schedule was
trained for. A rival's front is those of its plans that no other one beats both in peak KV and in
mean NLL on select images, since nothing is chosen on what it is reported on; of a rival without
that NLL, all its plans.
At the KV of an own plan the rival's value is interpolated between the front's two neighbours,
linearly in bytes and unit by unit; above its largest plan it is that one's, which fits; below its
smallest it has none. Of networks that are trained for one depth each, the full one is the control,
which claims are about: there the full network is not compared. The difference is paired within
units, with Student's t over them; p-values are Holm's over all differences of a metric.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats

from analysis.metrics import SELECT, Metric
from analysis.statistics.fronts import KV, non_dominated
from analysis.statistics.intervals import SIGNIFICANCE, holm
from analysis.statistics.levels import FULL, Levels, Place, PlanKey
from analysis.statistics.units import NOTHING, Observations, observed
from analysis.study_file import EQUIDISTANT, STAND_ALONE

FLOPS = "flops/transformer"
LEAST_RANKED = 3  # plans whose order says something


@dataclass(frozen=True, kw_only=True)
class RivalFront:
    """A rival's plans that compete, by ascending KV.

    Attributes:
        plans: their names.
        kv_P, flops_P, weights_P: of an image, and bytes of all weights.
        reached: by metric, each plan's levels; nothing where it has no numbers.
    """

    name: str
    plans: tuple[str, ...]
    kv_P: np.ndarray
    flops_P: np.ndarray
    weights_P: np.ndarray
    reached: Mapping[str, tuple[Observations, ...]]

    def line(self, metric: str) -> np.ndarray:
        """(N, 4) of KV, what was reached, and NaN for ends of an interval, of the plans that have
        numbers."""
        pairs = zip(self.kv_P, self.reached.get(metric, ()), strict=False)
        return np.array([(kv, one.mean, math.nan, math.nan) for kv, one in pairs if one])

    def place(self, kv: float) -> float:
        """Where `kv` bytes lie on the front: the largest plan that fits, counted from 0, and the
        share of the way to the next one; NaN below the smallest."""
        return float(np.interp(kv, self.kv_P, np.arange(len(self.kv_P)), left=math.nan))

    def at(self, place: float, metric: str) -> Observations:
        """The metric there, unit by unit, of the units in which both neighbours finished."""
        reached = self.reached.get(metric, (NOTHING,) * len(self.plans))
        low, high = (reached[i] for i in (math.floor(place), math.ceil(place)))
        share = place % 1
        return low.times(1 - share).minus(high.times(-share)) if share else low


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A rival against an own plan, at that plan's KV.

    Attributes:
        kv: bytes an image.
        flops_share: the rival's FLOPs there over the own plan's.
        damage: by metric, rival minus own, positive where the rival is worse.
        p_holm: by metric.
    """

    front: RivalFront
    plan: PlanKey
    kv: float
    flops_share: float
    damage: Mapping[str, Observations]
    p_holm: Mapping[str, float]

    @property
    def between(self) -> tuple[str, ...]:
        """The rival's plans that its value comes of."""
        return self.front.plans[self._between]

    @property
    def weight_bytes(self) -> int:
        """The most that one of them takes."""
        return int(self.front.weights_P[self._between].max())

    @property
    def _between(self) -> slice:
        place = self.front.place(self.kv)
        return slice(math.floor(place), math.ceil(place) + 1)

    def significant(self, metric: str) -> bool:
        return self.p_holm.get(metric, math.nan) < SIGNIFICANCE


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Kendall's tau between two orders of so many plans, a unit each."""

    taus: tuple[float, ...]
    plans: int


def rival_fronts(frame: pd.DataFrame) -> list[RivalFront]:
    """The fronts of a frame's rivals, in its order; [] of a frame without any."""
    if "rival" not in frame:
        return []
    rows = frame[frame["rival"].notna()]
    found = observed(rows, ["rival", "plan", "metric"])
    weights = rows.groupby(["rival", "plan"], observed=True)["weight_bytes"].max()
    by_rival: dict[str, dict[str, dict[str, Observations]]] = {}
    for (rival, plan, metric), values in found.items():
        by_rival.setdefault(rival, {}).setdefault(plan, {})[metric] = values
    fronts = []
    for rival, plans in by_rival.items():
        kept = _competing({plan: levels for plan, levels in plans.items() if KV in levels})
        names = {name for levels in kept.values() for name in levels}
        fronts.append(
            RivalFront(
                name=rival,
                plans=tuple(kept),
                kv_P=np.array([levels[KV].mean for levels in kept.values()]),
                flops_P=np.array([levels[FLOPS].mean for levels in kept.values()]),
                weights_P=np.array([int(weights[rival, plan]) for plan in kept]),
                reached={
                    name: tuple(levels.get(name, NOTHING) for levels in kept.values())
                    for name in names
                },
            )
        )
    return fronts


def _competing(
    plans: Mapping[str, Mapping[str, Observations]],
) -> dict[str, Mapping[str, Observations]]:
    """Those that no other one beats on select images, by ascending KV; all where some lack them."""
    kept = list(plans)
    if all(SELECT.name in levels for levels in plans.values()):
        points = np.array([(of[KV].mean, of[SELECT.name].mean) for of in plans.values()])
        good_P = non_dominated(points, ties=False)
        kept = [name for name, good in zip(plans, good_P, strict=True) if good]
    return {name: plans[name] for name in sorted(kept, key=lambda name: plans[name][KV].mean)}


def compare_rivals(
    fronts: Sequence[RivalFront], levels: Levels, metrics: Sequence[Metric]
) -> list[Comparison]:
    """Every rival against every plan that the progressive schedule was trained for."""
    own = levels.progressive
    if own is None:
        return []
    plans = [plan for plan in levels.plans if own.trains(plan) and plan.selector == EQUIDISTANT]
    pairs = [
        (front, (own.name, plan))
        for front in fronts
        for plan in plans
        if not (plan.is_full and front.name == STAND_ALONE)
        and levels.value((own.name, plan), KV) >= front.kv_P[0]
    ]
    damages = [_damage(front, levels, place, metrics) for front, place in pairs]
    adjusted = {
        metric.name: holm(
            [d[metric.name].interval().p_value if metric.name in d else math.nan for d in damages]
        )
        for metric in metrics
    }
    found = []
    for i, ((front, place), damage) in enumerate(zip(pairs, damages, strict=True)):
        kv, flops = (levels.value(place, name) for name in (KV, FLOPS))
        found.append(
            Comparison(
                front=front,
                plan=place[1],
                kv=kv,
                flops_share=float(np.interp(kv, front.kv_P, front.flops_P)) / flops,
                damage=damage,
                p_holm={name: float(adjusted[name][i]) for name in damage},
            )
        )
    return found


def _damage(
    front: RivalFront, levels: Levels, place: Place, metrics: Sequence[Metric]
) -> dict[str, Observations]:
    """Of the metrics that both have in some unit."""
    found, at = {}, front.place(levels.value(place, KV))
    for metric in metrics:
        lost = front.at(at, metric.name).minus(levels.observed(place, metric.name))
        if lost:
            found[metric.name] = lost.times(metric.damage_sign)
    return found


def inherited_ranks(
    frame: pd.DataFrame, levels: Levels, metrics: Sequence[Metric]
) -> dict[str, Ranks]:
    """How far the order of the progressive network's plans is that of networks trained alone.

    Over its trained plans and the full network, whose stand-alone one is the control. By metric;
    none for fewer than three plans that all finished.
    """
    own, control = levels.progressive, levels.control
    if own is None or control is None or "rival" not in frame:
        return {}
    alone = observed(
        frame,
        ["subnet_depth", "metric"],
        (frame["rival"] == STAND_ALONE) & (frame["switch"] == own.train_switch),
    )
    depths = dict.fromkeys(depth for depth, _ in alone)
    plans = [PlanKey(subnet_depth=int(depth), switch=own.train_switch) for depth in depths]
    found = {}
    for metric in metrics:
        mine = [levels.observed((own.name, plan), metric.name) for plan in (*plans, FULL)]
        theirs = [alone.get((depth, metric.name), NOTHING) for depth in depths]
        theirs.append(levels.observed((control.name, FULL), metric.name))
        units = set.intersection(*(set(one.units) for one in (*mine, *theirs)))
        taus = []
        for unit in sorted(units):
            orders = ([one.by_unit[unit] for one in ways] for ways in (mine, theirs))
            taus.append(float(stats.kendalltau(*orders).statistic))
        if len(mine) >= LEAST_RANKED and taus:
            found[metric.name] = Ranks(taus=tuple(taus), plans=len(mine))
    return found
