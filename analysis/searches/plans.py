"""Fronts of a search over plans: what they are, and whether one is worth more than the other.

A plan is told by the digest of the cell that measured it, whatever group it is in (a `family` of
the frame; a plan may be in several).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.frame import FINISHED
from analysis.metrics import Metric
from analysis.statistics.fronts import KV, hypervolume, non_dominated
from analysis.statistics.intervals import Interval, paired_t


def front_of(points: Sequence[tuple[float, float]]) -> list[int]:
    """Indices of the non-dominated points of (cost, loss), by ascending cost; of equals the first.

    Lower is better in both.
    """
    mask = non_dominated(np.asarray(points, dtype=float).reshape(-1, 2), ties=False)
    return sorted(np.flatnonzero(mask).tolist(), key=lambda i: points[i])


@dataclass(frozen=True, kw_only=True)
class PlanValues:
    """Every plan by one metric, on the same disjoint sets.

    Attributes:
        values: a row a plan that has all sets, by digest; a column a set. Lower is better.
        kv_share: measured peak KV of a digest, of the full network's.
        groups: family to the digests of its plans that have values.
    """

    metric: Metric
    values: pd.DataFrame
    kv_share: pd.Series
    groups: Mapping[str, tuple[str, ...]]

    def points(self, group: str) -> np.ndarray:
        """(n, 2) of KV share and mean value."""
        mine = list(self.groups.get(group, ()))
        return np.column_stack([self.kv_share.reindex(mine), self.values.loc[mine].mean(axis=1)])

    def level(self, plan: str) -> Interval | None:
        """A plan's mean, by digest; None without values."""
        if plan not in self.values.index:
            return None
        return paired_t(self.metric.damage_sign * self.values.loc[plan].to_numpy())

    def difference(self, one: str | None, other: str | None) -> Interval | None:
        """One plan minus another, by digest, paired over sets; positive is worse. None without."""
        if one not in self.values.index or other not in self.values.index:
            return None
        return paired_t((self.values.loc[one] - self.values.loc[other]).to_numpy())


def plan_values(frame: pd.DataFrame, metric: Metric, *, full_kv: float) -> PlanValues:
    """The plans of a search study's frame; `full_kv`: peak KV of the full network."""
    finished = frame[frame["status"] == FINISHED].drop_duplicates(["cell_digest", "metric", "set"])
    mine = finished[finished["metric"] == metric.name]
    values = metric.damage_sign * mine.pivot(index="cell_digest", columns="set", values="value")
    values = values.dropna().astype("float64")
    groups: dict[str, tuple[str, ...]] = {}
    for family, plans in frame.groupby("family", sort=False)["cell_digest"]:
        groups[str(family)] = tuple(d for d in plans.unique() if d in values.index)
    kv = finished[finished["metric"] == KV].set_index("cell_digest")["value"]
    return PlanValues(metric=metric, values=values, kv_share=kv / full_kv, groups=groups)


def hypervolume_difference(
    plans: PlanValues, one: str, other: str, *, corner: tuple[float, float]
) -> Interval | None:
    """Hypervolume of the plans of group `one` minus those of `other`, paired over disjoint sets.

    Each set of test images or samples gives a front to both groups, and so a difference; the
    interval is Student's t over them and speaks of this one network. Hypervolumes are shares of
    the rectangle up to `corner`, (KV share, metric). None where a group has no plan.
    """
    volumes = []
    for group in (one, other):
        mine = list(plans.groups.get(group, ()))
        if not mine:
            return None
        x, values = plans.kv_share.reindex(mine), plans.values.loc[mine]
        points = (np.column_stack([x, values[i]]) for i in values.columns)
        volumes.append(np.array([hypervolume(p, np.asarray(corner)) for p in points]))
    return paired_t(volumes[0] - volumes[1])
