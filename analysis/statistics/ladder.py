"""The ladder: which known damage of real images a metric sees, and what it may therefore decide.

A rung is one kind of damage, done to the real images of each unit; a unit is one repeat, with
images and a reference of its own. Rules, written before any run:

A repeat *rejects* a rung where its score is worse than what another sample of undamaged images
would score with a chance of 95 %: beyond the one-sided prediction limit mean + t sd sqrt(1 + 1/n)
of the n repeats' real images, t Student's with n - 1 degrees of freedom, on the side that is worse.

A metric *passes* for a zone of scales (early, middle, late) if at least 95 % of the repeats reject
that zone's last scale swapped: all its tokens from another image of the class. With fewer than
`LEAST_REPEATS` repeats nothing passes, since 95 % could not be told from all of them.
The frame's column `window` says which zone a rung decides about.

A distance is a square: at its least value the jackknife over samples may be too wide. There, the
spread of the repeats' real images is taken instead (`with_floor_spreads`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import special

from analysis.metrics import Metric, parse_metric
from analysis.statistics.intervals import SIGNIFICANCE
from analysis.statistics.units import Observations, observed
from analysis.study_file import COMMON_BLOCK, REAL, ScaleZone

REJECTED = 0.95
LEAST_REPEATS = 20


def prediction_limit(real: Observations, metric: Metric) -> float:
    """What one more sample of real images exceeds with a chance of 5 %, on the side that is worse;
    NaN for fewer than two repeats."""
    n = len(real.units)
    if n < 2:
        return math.nan
    t = special.stdtrit(n - 1, 1 - SIGNIFICANCE)
    width = t * real.values.std(ddof=1) * math.sqrt(1 + 1 / n)
    return float(real.mean + metric.damage_sign * width)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a metric says of a rung, or of real images.

    Attributes:
        rung: its name.
        zone: that it decides about; None for most.
        observed: the scores, one a unit.
        limit: the prediction limit of real images.
        distance: how much worse than real images on average, in their standard deviations.
        rejected: share of repeats; NaN for fewer than two.
    """

    metric: Metric
    rung: str
    zone: ScaleZone | None
    observed: Observations
    limit: float
    distance: float
    rejected: float

    @property
    def passed(self) -> bool:
        """Whether the metric sees this damage well enough to decide about it."""
        return self.rejected >= REJECTED and len(self.observed.units) >= LEAST_REPEATS


def climb(frame: pd.DataFrame) -> tuple[Step, ...]:
    """Every rung by every metric that real images have, in the frame's order."""
    found = observed(frame, ["family", "plan", "window", "metric"])
    floor = {metric: one for (family, _, _, metric), one in found.items() if family == REAL}
    return tuple(
        _step(parse_metric(name), (rung, zone), one, floor[name])
        for (_, rung, zone, name), one in found.items()
        if name in floor
    )


def _step(
    metric: Metric, named: tuple[str, ScaleZone | None], one: Observations, real: Observations
) -> Step:
    limit, sign = prediction_limit(real, metric), metric.damage_sign
    spread = real.values.std(ddof=1) if len(real.units) > 1 else 0.0
    worse = sign * (one.mean - real.mean)
    beyond = float(np.mean(sign * one.values > sign * limit))
    return Step(
        metric=metric,
        rung=named[0],
        zone=named[1],
        observed=one,
        limit=limit,
        distance=float(worse / spread) if spread > 0 else math.nan,
        rejected=math.nan if math.isnan(limit) else beyond,
    )


def passes(steps: tuple[Step, ...]) -> dict[Metric, dict[ScaleZone, bool]]:
    """By metric, for every zone with a rung, whether it passes."""
    found: dict[Metric, dict[ScaleZone, bool]] = {}
    for step in steps:
        if step.zone is not None:
            found.setdefault(step.metric, {})[step.zone] = step.passed
    return found


def floor_spreads(frame: pd.DataFrame) -> dict[Metric, float]:
    """By distance, the standard deviation of a ladder's real images; of enough repeats only."""
    of_real = observed(frame, ["metric"], frame["family"] == REAL)
    named = {parse_metric(name): one for (name,), one in of_real.items()}
    return {
        metric: float(one.values.std(ddof=1))
        for metric, one in named.items()
        if metric.distance and len(one.units) >= LEAST_REPEATS
    }


def with_floor_spreads(frame: pd.DataFrame, spreads: Mapping[str, float]) -> pd.DataFrame:
    """A study's frame, in which the real images' distances have the ladder's standard error.

    Their jackknife's replicates are spread about their mean until they say what the ladder's
    repeats do. Other cells stay, those near the floor too: what lies a little above it varies more
    than real images do.

    Args:
        spreads: by metric, at the frame's sample counts.
    """
    key = ["unit", "cell_digest", "metric"]
    real = (frame["family"] == REAL) & frame["metric"].isin(list(spreads))
    own = frame.loc[real & (frame["group"] < COMMON_BLOCK).fillna(False), [*key, "value"]]
    if own.empty:
        return frame
    of_cell = own.groupby(key, observed=True)["value"]
    mean, count = of_cell.transform("mean"), of_cell.transform("size")
    error = of_cell.transform("std", ddof=0) * np.sqrt(count - 1)
    factor = (own["metric"].map(dict(spreads)).astype(float) / error).where(error > 0, 1.0)
    value = frame["value"].copy()
    value[own.index] = mean + factor * (own["value"] - mean)
    changed = frame.copy(deep=False)
    changed["value"] = value
    return changed
