"""Frontiers: which plans are worth having, how much a schedule's plans are worth together.

Two planes. (KV, quality): peak KV cache of a plan against a metric, for every plan of a schedule.
(full, subnet): a metric of the full network against that of a subnet of the same model, for every
schedule; the fixed shares trace a front there, and claim C3 says that the progressive schedule
lies beyond it. Pareto sets, hypervolume and attainment surfaces are moocore's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import moocore
import numpy as np
import pandas as pd

from analysis.frame import FINISHED, FrameError, find_metric, headline_metrics
from analysis.metrics import Metric
from analysis.statistics.intervals import Interval, paired_t
from analysis.statistics.levels import CONTROL, paired_values, schedules_of, seed_table

KV = "kv_bytes/peak"
SELECT = "select/nll/mean"
# Non-inferiority of a chosen plan: at most so much worse than the control's full network.
NON_INFERIORITY_NATS = 0.05


def non_dominated(points_N2: np.ndarray) -> np.ndarray:
    """(N,) which points no other is at least as low in both and lower in one; ties all stay."""
    if not len(points_N2):
        return np.zeros(0, dtype=bool)
    return np.asarray(moocore.is_nondominated(points_N2, keep_weakly=True), dtype=bool)


def plane(frame: pd.DataFrame, metric: Metric, *, full_kv: float | None = None) -> pd.DataFrame:
    """Every plan of every model in the (KV, quality) plane.

    Columns: `schedule`, `seed`, `family`, `cell`, `trained`, `kv_share` (of the full network's
    peak), `damage` (the metric, signed so that lower is better), `value`.

    Args:
        full_kv: peak KV of the full network; default: measured in this frame.

    Raises:
        FrameError: no measured KV.
    """
    table = seed_table(frame)
    kv = table[table["metric"] == KV]
    if kv.empty:
        raise FrameError(f"frame: no {KV}; run the study again with this version")
    if full_kv is None:
        full = kv[kv["family"] == "full"]
        if full.empty:
            raise FrameError(f"frame: no {KV} of the full network; run the study again")
        full_kv = float(full["value"].iloc[0])
    key = ["schedule", "seed", "cell"]
    mine = table[table["metric"] == metric.name].merge(
        kv[[*key, "value"]].rename(columns={"value": "kv"}), on=key
    )
    mine["kv_share"] = mine["kv"] / full_kv
    mine["damage"] = metric.damage_sign * mine["value"]
    return mine[[*key, "family", "trained", "kv_share", "damage", "value"]]


def mean_plane(points: pd.DataFrame) -> pd.DataFrame:
    """`plane` averaged over seeds: a row a schedule and plan."""
    key = ["schedule", "family", "cell", "trained"]
    return points.groupby(key, sort=False, as_index=False)[["kv_share", "damage", "value"]].mean()


def hypervolume_metrics(frame: pd.DataFrame, reference: Mapping[str, float]) -> list[Metric]:
    """The headline metrics that the reference point has a value for, by name or kind."""
    return [m for m in headline_metrics(frame) if _reference_of(m, reference) is not None]


def _reference_of(metric: Metric, reference: Mapping[str, float]) -> float | None:
    kind = "fd" if metric.kind == "fid" else metric.kind
    return reference.get(metric.name, reference.get(kind))


def hypervolume_table(
    frame: pd.DataFrame, reference: Mapping[str, float], *, full_kv: float | None = None
) -> pd.DataFrame:
    """The hypervolume of each schedule's trained plans, full network included, seed by seed.

    The area between a model's front and the reference point in (KV share, metric), divided by
    the reference rectangle, so it lies in 0..1 for metrics that cannot be negative; higher is
    better. Every schedule enters with the same plans (depth and switch): those that finished in
    all of its seeds and in all schedules. The control, which trains no subnet, has none but the
    full network and is left out.

    Columns: `schedule`, `metric`, `value` (mean over seeds), `low`, `high` (t over seeds; NaN for
    one), `seeds`, `points` (plans a schedule), `values` (tuple, a seed each).
    """
    rows = []
    for metric in hypervolume_metrics(frame, reference):
        points = plane(frame, metric, full_kv=full_kv)
        points = points[points["trained"] & (points["schedule"] != CONTROL)]
        if points.empty:
            continue
        # The same depths and switches, whichever layers they keep: that costs the same memory.
        plans = points["cell"].str.replace(r" \(.*\)$", "", regex=True)
        counts = plans.value_counts()
        models = len(points[["schedule", "seed"]].drop_duplicates())
        common = set(counts.index[counts == models])
        corner = np.array([reference["kv_share"], _reference_of(metric, reference)])
        for schedule, mine in points[plans.isin(common)].groupby("schedule", sort=False):
            values = [
                hypervolume(seed[["kv_share", "damage"]].to_numpy(dtype=float), corner)
                for _, seed in mine.groupby("seed")
            ]
            interval = paired_t(values)
            rows.append(
                {
                    "schedule": schedule,
                    "metric": metric.name,
                    "value": interval.estimate,
                    "low": interval.low,
                    "high": interval.high,
                    "seeds": len(values),
                    "points": len(common),
                    "values": tuple(values),
                }
            )
    columns = ["schedule", "metric", "value", "low", "high", "seeds", "points", "values"]
    return pd.DataFrame(rows, columns=columns)


def hypervolume(points_N2: np.ndarray, corner_2: np.ndarray) -> float:
    """The share of the rectangle from the origin to `corner_2` that the points dominate."""
    inside = points_N2[(points_N2 < corner_2).all(axis=1)]
    if not len(inside):
        return 0.0
    return float(moocore.hypervolume(inside, ref=corner_2)) / float(corner_2.prod())


def attainment(
    frame: pd.DataFrame, metric: Metric, schedule: str, *, full_kv: float | None = None
) -> dict[int, np.ndarray]:
    """Attainment surfaces over the seeds of a schedule's trained plans.

    Returns:
        Percentage of seeds (0: best of any seed, 50: median, 100: worst) to the (n, 2) points of
        (KV share, damage) at which so many seeds have a plan at least as good. Empty for fewer
        than two seeds.

    Source: V. Grunert da Fonseca et al., EMO 2001; computed by moocore.
    """
    points = plane(frame, metric, full_kv=full_kv)
    points = points[points["trained"] & (points["schedule"] == schedule)]
    seeds = points["seed"].astype(int)
    if seeds.nunique() < 2:
        return {}
    percentiles = (0, 50, 100)
    count = seeds.nunique()
    # moocore wants a percentile above zero: the best of n seeds is the 100/n one.
    wanted = [max(100.0 / count, p) for p in percentiles]
    order = np.argsort(seeds.to_numpy(), kind="stable")
    found = moocore.eaf(
        points[["kv_share", "damage"]].to_numpy(dtype=float)[order],
        sets=seeds.to_numpy()[order],
        percentiles=wanted,
    )
    return {
        p: found[np.isclose(found[:, 2], w)][:, :2]
        for p, w in zip(percentiles, wanted, strict=True)
    }


def front_probability(
    frame: pd.DataFrame, metric: Metric, *, full_kv: float | None = None
) -> pd.DataFrame:
    """How often a plan is on the front of all schedules' trained plans.

    Columns: `schedule`, `cell`, `probability` (share of seeds), `seeds` (that have all schedules).
    """
    points = plane(frame, metric, full_kv=full_kv)
    points = points[points["trained"]]
    wanted = points["schedule"].nunique()
    per_seed = points.groupby("seed")["schedule"].nunique()
    points = points[points["seed"].isin(per_seed.index[per_seed == wanted])].copy()
    points["on_front"] = False
    for _, mine in points.groupby("seed"):
        mask = non_dominated(mine[["kv_share", "damage"]].to_numpy(dtype=float))
        points.loc[mine.index, "on_front"] = mask
    table = points.groupby(["schedule", "cell"], sort=False)["on_front"].agg(["mean", "size"])
    return table.reset_index().rename(columns={"mean": "probability", "size": "seeds"})


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How far a point lies beyond a front, in the subnet's direction; positive is beyond.

    Attributes:
        clamped: the point's full network is better or worse than every one on the front, whose
            nearest end it is then compared with.
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
    kept = front_N2[non_dominated(front_N2)]
    kept = kept[np.argsort(kept[:, 0])]
    full, subnet = point_2
    there = float(np.interp(full, kept[:, 0], kept[:, 1]))
    clamped = not kept[0, 0] <= full <= kept[-1, 0]
    return Gap(value=there - float(subnet), clamped=bool(clamped))


def trade_plane(frame: pd.DataFrame, metric: Metric, subnet: str) -> pd.DataFrame:
    """Every model in the (full, subnet) plane: `schedule`, `share`, `seed`, `full`, `subnet`.

    Values are signed so that lower is better.

    Args:
        subnet: the cell, such as `d4@3`.
    """
    table = seed_table(frame)
    mine = table[table["metric"] == metric.name]
    key = ["schedule", "share", "seed"]
    full = mine[mine["cell"] == "full"][[*key, "value"]].rename(columns={"value": "full"})
    small = mine[mine["cell"] == subnet][[*key, "value"]].rename(columns={"value": "subnet"})
    both = full.merge(small, on=key)
    both[["full", "subnet"]] *= metric.damage_sign
    return both


def is_fixed(schedule: str) -> bool:
    """Whether a schedule has a fixed share above zero, trained for equidistant subnets."""
    return schedule.startswith("fixed ") and "(" not in schedule


def fixed_gap(
    frame: pd.DataFrame, metric: Metric, subnet: str, schedule: str
) -> tuple[np.ndarray, tuple[int, ...], int]:
    """The gap of a schedule beyond the front of the fixed shares, seed by seed.

    Returns:
        Gaps, a seed each; the seeds in which the schedule and every fixed share finished; and in
        how many of them the gap was clamped.
    """
    points = trade_plane(frame, metric, subnet)
    fixed = [s for s in schedules_of(frame) if is_fixed(s)]
    gaps, seeds, clamped = [], [], 0
    for seed, mine in points.groupby("seed"):
        front = mine[mine["schedule"].isin(fixed)]
        point = mine[mine["schedule"] == schedule]
        if len(front) < max(2, len(fixed)) or point.empty:
            continue
        gap = frontier_gap(
            front[["full", "subnet"]].to_numpy(dtype=float),
            point[["full", "subnet"]].to_numpy(dtype=float)[0],
        )
        gaps.append(gap.value)
        seeds.append(int(seed))
        clamped += gap.clamped
    return np.array(gaps), tuple(seeds), clamped


@dataclass(frozen=True, kw_only=True)
class ChosenPlan:
    """The best plan within a memory budget, chosen on select images, reported on test images.

    Attributes:
        kv_share_limit, kv_share: of the full network's peak KV.
        seed: of the model to use: that of the best select NLL among the schedule's.
        select_nll: mean over seeds, in nats/token, which chose.
        test: metric name to its interval on test images: over seeds, or over sets for one seed.
        loss: paired test NLL against the control's full network, in nats/token; None without one.
        non_inferior: whether the upper end of the one-sided 95 % interval of `loss` lies below
            `NON_INFERIORITY_NATS`; None where that cannot be said.
    """

    kv_share_limit: float
    kv_share: float
    schedule: str
    cell: str
    seed: int
    select_nll: float
    test: Mapping[str, Interval]
    loss: Interval | None
    non_inferior: bool | None
    seeds: int


def choose_plans(
    frame: pd.DataFrame, budgets: Sequence[float], *, full_kv: float | None = None
) -> list[ChosenPlan]:
    """For each budget the plan and schedule of lowest select NLL, over seeds, that fits.

    Only what finished at as many seeds as anything did: one lucky seed beats no five.
    A budget that nothing fits has no plan. Any switch point may be chosen, trained for or not.
    """
    select = find_metric(frame, SELECT)
    if select is None:
        return []
    points = plane(frame, select, full_kv=full_kv)
    models = points.groupby(["schedule", "cell"])["seed"].transform("nunique")
    points = points[models == models.max()]
    means = mean_plane(points)
    chosen = []
    for budget in budgets:
        fitting = means[means["kv_share"] <= budget + 1e-9]
        if fitting.empty:
            continue
        best = fitting.loc[fitting["damage"].idxmin()]
        mine = points[(points["schedule"] == best["schedule"]) & (points["cell"] == best["cell"])]
        chosen.append(_chosen(frame, budget, best, mine))
    return chosen


def _chosen(frame: pd.DataFrame, budget: float, best: pd.Series, mine: pd.DataFrame) -> ChosenPlan:
    place = (str(best["schedule"]), str(best["cell"]))
    finished = frame[
        (frame["status"] == FINISHED)
        & (frame["schedule"] == place[0])
        & (frame["cell"] == place[1])
    ]
    test = {}
    for metric in headline_metrics(frame):
        values = finished[finished["metric"] == metric.name]
        by_seed = values.groupby("seed")["value"].mean()
        observed = by_seed if len(by_seed) > 1 else values["value"]
        if len(observed):
            test[metric.name] = paired_t(observed.to_numpy(dtype=float))
    loss = non_inferior = None
    values, _ = paired_values(frame, place, (CONTROL, "full"), "nll/mean")
    if len(values):
        loss = paired_t(values, confidence=0.90)  # its upper end is the one-sided 95 % limit
        if math.isfinite(loss.high):
            non_inferior = bool(loss.high < NON_INFERIORITY_NATS)
    return ChosenPlan(
        kv_share_limit=float(budget),
        kv_share=float(best["kv_share"]),
        schedule=place[0],
        cell=place[1],
        seed=int(mine.loc[mine["damage"].idxmin(), "seed"]),
        select_nll=float(best["value"]),
        test=test,
        loss=loss,
        non_inferior=non_inferior,
        seeds=int(mine["seed"].nunique()),
    )
