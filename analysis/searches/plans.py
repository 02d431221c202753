"""Fronts of a plan search: what they are, and whether one is worth more than the other."""

from __future__ import annotations

from collections.abc import Sequence

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
    kept, seen = [], set()
    mask = non_dominated(np.asarray(points, dtype=float).reshape(-1, 2))
    for i in np.flatnonzero(mask):
        if tuple(points[i]) not in seen:
            seen.add(tuple(points[i]))
            kept.append(int(i))
    return sorted(kept, key=lambda i: points[i])


def group_values(frame: pd.DataFrame, metric: Metric, group: str) -> pd.DataFrame:
    """Rows: plans of a group (a `family` of the frame); columns: disjoint sets.

    Values are signed so that lower is better. Plans with any set missing are left out.
    """
    every = frame[(frame["status"] == FINISHED) & (frame["metric"] == metric.name)]
    mine = every[every["family"] == group]
    table = mine.pivot_table(index="cell", columns="set", values="value", sort=False)
    sets = sorted(every["set"].dropna().unique())
    return metric.damage_sign * table.reindex(columns=sets).dropna()


def kv_shares(frame: pd.DataFrame, full_kv: float) -> pd.Series:
    """Measured peak KV of every plan, as a share of the full network's."""
    kv = frame[(frame["status"] == FINISHED) & (frame["metric"] == KV)]
    return kv.drop_duplicates("cell").set_index("cell")["value"] / full_kv


def hypervolume_difference(
    frame: pd.DataFrame,
    metric: Metric,
    *,
    one: str,
    other: str,
    corner: tuple[float, float],
    full_kv: float,
) -> Interval | None:
    """Hypervolume of the plans of `one` minus those of `other`, paired over disjoint sets.

    Each set of test images or samples gives a front to both groups, and so a difference; the
    interval is Student's t over them and speaks of this one network. Hypervolumes are shares of
    the rectangle up to `corner`, (KV share, metric). None where a group has no plan.
    """
    shares = kv_shares(frame, full_kv)
    corner_2 = np.asarray(corner, dtype=float)
    volumes = []
    for group in (one, other):
        values = group_values(frame, metric, group)
        if values.empty:
            return None
        x = shares.reindex(values.index).to_numpy(dtype=float)
        volumes.append(
            np.array(
                [
                    hypervolume(np.column_stack([x, values[i].to_numpy(dtype=float)]), corner_2)
                    for i in values.columns
                ]
            )
        )
    return paired_t(volumes[0] - volumes[1])
