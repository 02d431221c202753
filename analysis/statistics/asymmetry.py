"""The asymmetry statistic of claim C1, fixed here before any run.

The paper halves the depth of the early scales only, then of the late scales only, and compares
what that costs. For a metric and a normalisation n,

    A = damage(early window) / n(early) - damage(late window) / n(late)

at half depth, where damage is the worsening against the full network (positive is worse) and both
damages come from the same unit, so that A is paired. A > 0 says that the early scales need depth
more. The windows come with the study (`varant.model.geometry.windows_of`).

n is one of
- per window (**primary**): 1, which is the paper's own comparison;
- per scale, per token (sum of p * p), per MiB of KV that the window's plan saves (measured), per
  GFLOP that it saves.

Which of them decides, and which metric, is in `analysis.claims.c1`. The windows decide much, so the
whole family is shown beside them: early = scales 1..a against late = b..K for all a < b, per
window, as a triangle of signs.
"""

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from analysis.frame import headline_metrics
from analysis.metrics import Metric
from analysis.statistics.damage import Damages, Place
from analysis.statistics.intervals import Interval, significant_sign
from analysis.statistics.units import NOTHING, Observations
from analysis.study_file import SensitivityFile

MIB, GIGA = 2**20, 1e9
SIDES = ("early", "late")


class Normalisation(enum.Enum):
    """What a window's damage is divided by."""

    WINDOW = "per window"
    SCALE = "per scale"
    TOKEN = "per token"
    KV = "per MiB of KV saved"
    FLOPS = "per GFLOP saved"


PRIMARY = Normalisation.WINDOW


@dataclass(frozen=True, kw_only=True)
class Asymmetry:
    """A for one metric under one normalisation, with the two terms that it is the difference of.

    Attributes:
        early_divisor, late_divisor: n of the windows: 1, scales, tokens, MiB or GFLOP.
        observed: A, unit by unit.
    """

    metric: Metric
    normalisation: Normalisation
    early_divisor: float
    late_divisor: float
    early: Interval
    late: Interval
    observed: Observations

    @cached_property
    def difference(self) -> Interval:
        """A with its 95 % interval."""
        return self.observed.interval()

    @property
    def share(self) -> tuple[float, float, float]:
        """A and the ends of its interval over |early| + |late|, so that units cancel: by one
        number, so that signs are those of A itself. NaN where neither window is damaged."""
        sizes = abs(self.early.estimate) + abs(self.late.estimate)
        estimate, low, high = (v / sizes if sizes > 0 else math.nan for v in self.difference.ends)
        return estimate, low, high

    @property
    def sign(self) -> int:
        """+1 or -1 where A is significant at 5 %, else 0."""
        return significant_sign(self.difference, self.difference.p_value)


@dataclass(frozen=True, kw_only=True)
class Split:
    """A per window of some split into early and late scales, over so many units."""

    interval: Interval
    units: int

    @property
    def clear(self) -> bool:
        """Whether several units say its sign; one speaks of its own network."""
        return self.units > 1 and (self.interval.low > 0 or self.interval.high < 0)


@dataclass(frozen=True, kw_only=True)
class AsymmetryStudy:
    """All of a study's asymmetries for one selector.

    Attributes:
        triangle: by metric's name, (a, b) to A per window of scales 1..a against b..K.
    """

    selector: str
    half_depth: int
    windows: Mapping[str, tuple[int, ...]]
    estimates: tuple[Asymmetry, ...]
    triangle: Mapping[str, Mapping[tuple[int, int], Split]]

    def under(self, normalisation: Normalisation) -> tuple[Asymmetry, ...]:
        """The estimates of one normalisation, in the order of a report."""
        return tuple(a for a in self.estimates if a.normalisation is normalisation)

    @property
    def normalisations(self) -> tuple[Normalisation, ...]:
        """Those that apply here, the primary first."""
        return tuple(n for n in Normalisation if self.under(n))


def asymmetry_study(
    damages: Damages, frame: pd.DataFrame, study: SensitivityFile, *, selector: str
) -> AsymmetryStudy:
    """Estimate A for every headline metric under every normalisation.

    A unit counts where both windows finished. A rate is left out where a window saves nothing.
    """
    mine = {
        place: one
        for place, one in damages.damage.items()
        if place.selector == selector and place.subnet_depth == study.half_depth
    }
    metrics, divided = headline_metrics(frame), _divisors(mine, study)
    estimates = [
        _asymmetry(damage, metric, normalisation, divisors)
        for normalisation, divisors in divided.items()
        for metric in metrics
        if (damage := _of_windows(mine, metric.name))[0].minus(damage[1])
    ]
    return AsymmetryStudy(
        selector=selector,
        half_depth=study.half_depth,
        windows=study.windows,
        estimates=tuple(estimates),
        triangle={m.name: _triangle(mine, m.name, study) for m in metrics},
    )


def _of_windows(
    mine: Mapping[Place, Observations], metric: str
) -> tuple[Observations, Observations]:
    """Damage of the early and of the late window."""
    found = {
        place.window: one
        for place, one in mine.items()
        if place.family == "window" and place.metric == metric
    }
    return found.get("early", NOTHING), found.get("late", NOTHING)


def _triangle(
    mine: Mapping[Place, Observations], metric: str, study: SensitivityFile
) -> dict[tuple[int, int], Split]:
    """A per window of 1..a against b..K, where both were measured; of the study's own windows, of
    all units that have them."""
    scales = len(study.geometry.patch_nums)
    of_metric = [(place, one) for place, one in mine.items() if place.metric == metric]
    early = {place.scale: one for place, one in of_metric if place.family == "prefix"}
    late = {place.switch: one for place, one in of_metric if place.family == "switch"}
    pairs = ((a, b) for a in range(1, scales) for b in range(a + 1, scales + 1))
    found = {(a, b): early.get(a, NOTHING).minus(late.get(b - 1, NOTHING)) for a, b in pairs}
    first, last = _of_windows(mine, metric)
    if study.windows.keys() >= set(SIDES) and (own := first.minus(last)):
        found[study.windows["early"][-1], study.windows["late"][0]] = own
    return {
        pair: Split(interval=one.interval(), units=len(one.units))
        for pair, one in found.items()
        if one
    }


def _divisors(
    mine: Mapping[Place, Observations], study: SensitivityFile
) -> dict[Normalisation, tuple[float, float]]:
    """n of the early and of the late window, under each normalisation where both are positive.

    What is saved is counted or measured, means over units.
    """
    scales, sides = [study.windows.get(side, ()) for side in SIDES], study.geometry.patch_nums
    kv, flops = (_of_windows(mine, name) for name in ("kv_bytes/peak", "flops/transformer"))
    found: dict[Normalisation, list[float]] = {
        Normalisation.WINDOW: [1, 1],
        Normalisation.SCALE: [len(window) for window in scales],
        Normalisation.TOKEN: [sum(sides[k - 1] ** 2 for k in window) for window in scales],
        Normalisation.KV: [-one.mean / MIB for one in kv],
        Normalisation.FLOPS: [-one.mean / GIGA for one in flops],
    }
    return {n: (float(a), float(b)) for n, (a, b) in found.items() if min(a, b) > 0}


def _asymmetry(
    damage: tuple[Observations, Observations],
    metric: Metric,
    normalisation: Normalisation,
    divisors: tuple[float, float],
) -> Asymmetry:
    early, late = (one.times(1 / n) for one, n in zip(damage, divisors, strict=True))
    both = early.minus(late)
    return Asymmetry(
        metric=metric,
        normalisation=normalisation,
        early_divisor=divisors[0],
        late_divisor=divisors[1],
        early=early.interval(),
        late=late.interval(),
        observed=both,
    )
