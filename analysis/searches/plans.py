"""What a search over plans found, on test images: its plans against two-zone plans, one by one.

Everything is chosen on select images: the plans, and for each found plan its *match*, the best
two-zone plan by the search's objective among those that need no more memory. What test images say
is reported for these pairs; no front is picked anew. Holm's correction runs over the pairs of a
metric.

A plan is told by the digest of the cell that measured it, whatever group it is in (a `family` of
the frame; a plan may be in several).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from analysis.metrics import Metric
from analysis.search_file import ScoredPlan, SearchFile
from analysis.statistics.fronts import KV
from analysis.statistics.intervals import Interval, holm, significant_sign
from analysis.statistics.units import NOTHING, Observations, observed
from analysis.study_file import BASE, REAL


@dataclass(frozen=True, kw_only=True)
class Match:
    """A found plan and the two-zone plan that select images choose within its memory.

    Attributes:
        difference: of their scores, positive is worse for the found one; the interval speaks of
            this one network. None where one has no score.
        p_holm: NaN where no test was made.
    """

    found: ScoredPlan
    zones: ScoredPlan
    difference: Interval | None = None
    p_holm: float = float("nan")

    @property
    def sign(self) -> int:
        """-1 where the found plan is better at 5 % after Holm, +1 where it is worse, else 0."""
        return significant_sign(self.difference, self.p_holm) if self.difference else 0


@dataclass(frozen=True, kw_only=True)
class PlanValues:
    """Every plan of a search by one metric, on the same samples or images.

    Attributes:
        values: of a plan, by digest; lower is better. Plans that lack a replicate are not there.
        matches: by ascending memory of the found plan.
        floor: what real images score; None where they were not scored.
        points: by family, of its plans that have values: (n, 4) of measured peak KV in bytes an
            image, value, and the ends of its 95 % interval, which speaks of this network only; by
            ascending KV.
    """

    metric: Metric
    values: Mapping[str, Observations]
    matches: tuple[Match, ...]
    floor: Interval | None
    points: Mapping[str, np.ndarray]


def matched(study: SearchFile) -> list[Match]:
    """Every found plan with its match; without those that are two-zone plans themselves, or need
    less memory than any."""
    zones = study.fronts.get("two-zone", ())
    matches = []
    for plan in sorted(study.fronts.get("found", ()), key=lambda plan: (plan.kv, plan.minimised)):
        within = [zone for zone in zones if zone.kv <= plan.kv]
        if within and all(plan.layers != zone.layers for zone in zones):
            best = min(within, key=lambda zone: zone.minimised)
            matches.append(Match(found=plan, zones=best))
    return matches


def plan_values(
    study: SearchFile, frame: pd.DataFrame, metrics: Sequence[Metric]
) -> list[PlanValues]:
    """By each of the metrics."""
    real = frame["family"] == REAL
    floors = observed(frame, ["metric"], real)
    scores = observed(frame[~real], ["metric", "cell_digest"])
    kv = {digest: one.mean for (name, digest), one in scores.items() if name == KV}
    families = {
        str(family): plans.unique()
        for family, plans in frame.groupby("family", sort=False)["cell_digest"]
    }
    measured = set(frame.loc[frame["schedule"] != BASE, "cell_digest"])
    digests = {layers: digest for digest, layers in study.plans.items() if digest in measured}
    found = []
    for metric in metrics:
        mine = {digest: one for (name, digest), one in scores.items() if name == metric.name}
        most = max((len(one.replicates[0]) for one in mine.values() if one), default=0)
        values = {
            digest: one.times(metric.damage_sign)
            for digest, one in mine.items()
            if one and len(one.replicates[0]) == most
        }
        planes = {name: _plane(of, values, kv) for name, of in families.items()}
        found.append(
            PlanValues(
                metric=metric,
                values=values,
                points={name: points for name, points in planes.items() if len(points)},
                matches=_compared(matched(study), values, digests),
                floor=floors.get((metric.name,), NOTHING).times(metric.damage_sign).bounds(),
            )
        )
    return found


def _plane(
    digests: Iterable[str], values: Mapping[str, Observations], kv: Mapping[str, float]
) -> np.ndarray:
    """(n, 4), see `PlanValues.points`."""
    known = [one for one in digests if one in values]
    points = [(kv.get(one, np.nan), *values[one].interval().ends) for one in known]
    points_N4 = np.array(points).reshape(-1, 4)
    return points_N4[np.argsort(points_N4[:, 0], kind="stable")]


def _compared(
    matches: Sequence[Match],
    values: Mapping[str, Observations],
    digests: Mapping[tuple[tuple[int, ...], ...], str],
) -> tuple[Match, ...]:
    """The matches with their differences, by digests of layers."""
    differences = [
        difference(values, digests.get(match.found.layers), digests.get(match.zones.layers))
        for match in matches
    ]
    adjusted = holm([one.p_value if one else np.nan for one in differences])
    return tuple(
        replace(match, difference=one, p_holm=float(p))
        for match, one, p in zip(matches, differences, adjusted, strict=True)
    )


def difference(
    values: Mapping[str, Observations], one: str | None, other: str | None
) -> Interval | None:
    """One plan minus another, by digest; positive is worse. None where one has no value."""
    mine, theirs = (values.get(digest) if digest else None for digest in (one, other))
    return mine.minus(theirs).interval() if mine and theirs else None
