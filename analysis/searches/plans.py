"""Fronts of a search over plans: what they are, and whether one is worth more than the other.

A plan is told by the digest of the cell that measured it, whatever group it is in (a `family` of
the frame; a plan may be in several).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from analysis.frame import FINISHED
from analysis.study_file import REAL
from analysis.metrics import Metric
from analysis.search_file import SearchFile
from analysis.statistics.fronts import KV, hypervolume
from analysis.statistics.intervals import Interval, jackknife_t
from analysis.statistics.units import WHOLE


@dataclass(frozen=True, kw_only=True)
class PlanValues:
    """Every plan of a search by one metric, on the same samples or images.

    Attributes:
        values: a row a plan, by digest; a column a jackknife replicate, `WHOLE` for the score on
            all samples. Lower is better.
        kv_share: measured peak KV of a digest, of the full network's.
        groups: family to the digests of its plans that have values.
        best: group to the digest of its plan with the least select NLL.
        corner: of hypervolumes, (KV share, metric).
    """

    metric: Metric
    values: pd.DataFrame
    kv_share: pd.Series
    groups: Mapping[str, tuple[str, ...]]
    best: Mapping[str, str | None]
    corner: tuple[float, float]

    def points(self, group: str) -> np.ndarray:
        """(n, 2) of KV share and mean value."""
        mine = list(self.groups.get(group, ()))
        return np.column_stack([self.kv_share.reindex(mine), self.values.loc[mine, WHOLE]])

    def difference(self, one: str | None, other: str | None) -> Interval | None:
        """One plan minus another, by digest; positive is worse. None without."""
        if one not in self.values.index or other not in self.values.index:
            return None
        return _jackknife(self.values.loc[one] - self.values.loc[other])

    @cached_property
    def best_difference(self) -> Interval | None:
        """The best found plan minus the best two-zone plan."""
        return self.difference(self.best.get("found"), self.best.get("two-zone"))

    @cached_property
    def gain(self) -> Interval | None:
        """Hypervolume of the found plans minus that of the two-zone ones.

        The interval is the jackknife's and speaks of this one network. Hypervolumes are shares of
        the rectangle up to `corner`. None where a group has no plan.
        """
        volumes = []
        for group in ("found", "two-zone"):
            mine = list(self.groups.get(group, ()))
            if not mine:
                return None
            x, values = self.kv_share.reindex(mine), self.values.loc[mine]
            points = (np.column_stack([x, values[i]]) for i in values.columns)
            found = [hypervolume(p, np.asarray(self.corner)) for p in points]
            volumes.append(pd.Series(found, index=values.columns))
        return _jackknife(volumes[0] - volumes[1])


def _jackknife(values: "pd.Series[float]") -> Interval:
    """Of a row of `PlanValues.values`."""
    return jackknife_t(float(values[WHOLE]), values.drop(WHOLE).to_numpy())


def plan_values(study: SearchFile, frame: pd.DataFrame, metric: Metric) -> PlanValues:
    """The measured plans of a search study's frame."""
    frame = frame[frame["family"] != REAL].assign(group=frame["group"].fillna(WHOLE))
    key = ["cell_digest", "metric", "group"]
    finished = frame[frame["status"] == FINISHED].drop_duplicates(key)
    mine = finished[finished["metric"] == metric.name]
    values = metric.damage_sign * mine.pivot(index="cell_digest", columns="group", values="value")
    values = values.dropna().astype("float64")
    groups = {
        str(family): tuple(digest for digest in plans.unique() if digest in values.index)
        for family, plans in frame.groupby("family", sort=False)["cell_digest"]
    }
    kv = finished[finished["metric"] == KV].set_index("cell_digest")["value"]
    measured = set(frame["cell_digest"])
    digests = {layers: digest for digest, layers in study.plans.items() if digest in measured}
    limit = study.reference_nll if metric.kind == "nll" else study.reference_fd
    return PlanValues(
        metric=metric,
        values=values,
        kv_share=kv / study.kv_full_bytes,
        groups=groups,
        best={group: digests.get(plan.layers) for group, plan in study.best.items()},
        corner=(1.05 * study.kv_limit_bytes / study.kv_full_bytes, limit),
    )
