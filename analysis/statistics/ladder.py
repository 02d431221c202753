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

Where all units have the same held-out images, N of a finite data set, a repeat is a random part of
n of them, without replacement, and the spread of such parts is sqrt(1 - n / N) of that of other
images (W. G. Cochran, Sampling Techniques, 3rd edition, 1977, section 2.6), by which it is divided.
Repeats that are all alike tell no spread, and nothing passes by them.

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
ALIKE = 1e-9  # of the mean: a spread that is rounding


def part_spread(samples: int, images: int | None) -> float:
    """Of the spread of images of their own, what random parts of `images` have; 1 for None."""
    return 1.0 if images is None else math.sqrt(max(0.0, 1 - samples / images))


def spread_of(real: Observations, part: float = 1.0) -> float:
    """Standard deviation of one sample of real images; NaN for fewer than two repeats, or where
    all are alike."""
    if len(real.units) < 2 or not part > 0:
        return math.nan
    spread = float(real.values.std(ddof=1))
    return spread / part if spread > ALIKE * abs(real.mean) else math.nan


def prediction_limit(real: Observations, metric: Metric, part: float = 1.0) -> float:
    """What one more sample of real images exceeds with a chance of 5 %, on the side that is worse;
    NaN without a spread.

    Args:
        part: of `part_spread`.
    """
    n = len(real.units)
    if n < 2:
        return math.nan
    t = special.stdtrit(n - 1, 1 - SIGNIFICANCE)
    width = t * spread_of(real, part) * math.sqrt(1 + 1 / n)
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
        rejected: share of repeats; NaN without a spread of real images.
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


def climb(frame: pd.DataFrame, part: float = 1.0) -> tuple[Step, ...]:
    """Every rung by every metric that real images have, in the frame's order; `part` is of
    `part_spread`."""
    found = observed(frame, ["family", "plan", "window", "metric"])
    floor = {metric: one for (family, _, _, metric), one in found.items() if family == REAL}
    return tuple(
        _step(parse_metric(name), (rung, zone), one, floor[name], part)
        for (_, rung, zone, name), one in found.items()
        if name in floor
    )


def _step(
    metric: Metric,
    named: tuple[str, ScaleZone | None],
    one: Observations,
    real: Observations,
    part: float,
) -> Step:
    limit, sign = prediction_limit(real, metric, part), metric.damage_sign
    worse = sign * (one.mean - real.mean)
    beyond = float(np.mean(sign * one.values > sign * limit))
    return Step(
        metric=metric,
        rung=named[0],
        zone=named[1],
        observed=one,
        limit=limit,
        distance=worse / spread_of(real, part),
        rejected=math.nan if math.isnan(limit) else beyond,
    )


def passes(steps: tuple[Step, ...]) -> dict[Metric, dict[ScaleZone, bool]]:
    """By metric, for every zone with a rung, whether it passes."""
    found: dict[Metric, dict[ScaleZone, bool]] = {}
    for step in steps:
        if step.zone is not None:
            found.setdefault(step.metric, {})[step.zone] = step.passed
    return found


def floor_spreads(frame: pd.DataFrame, part: float = 1.0) -> dict[Metric, float]:
    """By distance, the standard deviation of a ladder's real images; of enough repeats only."""
    of_real = observed(frame, ["metric"], frame["family"] == REAL)
    named = {parse_metric(name): one for (name,), one in of_real.items()}
    enough = {
        metric: spread_of(one, part)
        for metric, one in named.items()
        if metric.distance and len(one.units) >= LEAST_REPEATS
    }
    return {metric: spread for metric, spread in enough.items() if not math.isnan(spread)}


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
