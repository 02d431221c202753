"""Estimates with intervals, corrections for many tests, equivalence, and verdicts.

Everything here works on differences that are already paired: over disjoint sets of samples (what
is said holds for one network) or over base seeds (what is said holds for networks so trained).
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

SIGNIFICANCE = 0.05


class Verdict(enum.Enum):
    """What a study may say of a claim."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    DISAGREE = "the metrics disagree"
    INCONCLUSIVE = "inconclusive"
    UNTESTED = "untested"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean with its two-sided confidence interval; NaN is what the data cannot say."""

    estimate: float
    low: float
    high: float
    standard_error: float
    degrees_of_freedom: int
    p_value: float  # of the mean being zero, two-sided
    observations: int


def paired_t(differences: Sequence[float] | np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Student's t interval for the mean of paired differences: two-sided, n - 1 degrees of freedom.

    One difference has an estimate but no interval (NaN). Differences without any spread carry no
    estimate of it: all zero gives [0, 0] and p = 1; all equal and not zero gives no interval, and
    the exact sign test's p = 2^(1 - n), rather than the p = 0 of an infinite t.

    Raises `ValueError` for no differences, or one that is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError("an interval needs at least one difference")
    if not np.isfinite(values).all():
        raise ValueError("a difference is not finite")
    n = values.size
    mean = float(values.mean())
    if n == 1:
        return Interval(
            estimate=mean,
            low=math.nan,
            high=math.nan,
            standard_error=math.nan,
            degrees_of_freedom=0,
            p_value=math.nan,
            observations=1,
        )
    largest = float(np.abs(values).max())
    if float(np.ptp(values)) <= 16 * np.finfo(np.float64).eps * largest:
        zero = largest == 0
        return Interval(
            estimate=mean,
            low=0.0 if zero else math.nan,
            high=0.0 if zero else math.nan,
            standard_error=0.0,
            degrees_of_freedom=n - 1,
            p_value=1.0 if zero else 2.0 ** (1 - n),
            observations=n,
        )
    error = float(values.std(ddof=1) / math.sqrt(n))
    half_width = float(stats.t.ppf(0.5 + confidence / 2, n - 1)) * error
    return Interval(
        estimate=mean,
        low=mean - half_width,
        high=mean + half_width,
        standard_error=error,
        degrees_of_freedom=n - 1,
        p_value=float(2 * stats.t.sf(abs(mean / error), n - 1)),
        observations=n,
    )


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down adjusted p values, in the order given.

    Source: S. Holm, Scandinavian Journal of Statistics 6 (1979), 65-70. NaN marks a test that was
    not made: it stays NaN and is not counted. Raises `ValueError` for p outside [0, 1].
    """
    p = np.asarray(p_values, dtype=np.float64)
    tested = np.flatnonzero(~np.isnan(p))
    if ((p[tested] < 0) | (p[tested] > 1)).any():
        raise ValueError("a p value lies outside [0, 1]")
    adjusted = np.full(p.shape, np.nan)
    ascending = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(ascending), 0, -1)
    adjusted[ascending] = np.minimum(1.0, np.maximum.accumulate(factors * p[ascending]))
    return adjusted


@dataclass(frozen=True, kw_only=True)
class Equivalence:
    """Whether a mean difference lies within (-margin, margin)."""

    margin: float
    p_value: float  # the larger of the two one-sided tests'
    low: float  # of the (1 - 2 alpha) interval, which lies inside the margins iff equivalent
    high: float
    equivalent: bool | None  # None where the data cannot say


def equivalence(
    differences: Sequence[float] | np.ndarray, *, margin: float, alpha: float = SIGNIFICANCE
) -> Equivalence:
    """Two one-sided t tests of |mean difference| < `margin`, in the differences' own unit.

    Source: D. J. Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987), 657-680.
    Raises `ValueError` for a margin that is not positive, and as `paired_t` does.
    """
    if not margin > 0:
        raise ValueError(f"an equivalence margin must be positive, not {margin}")
    interval = paired_t(differences, confidence=1 - 2 * alpha)
    error, freedom = interval.standard_error, interval.degrees_of_freedom
    if not error > 0:
        certain = error == 0 and interval.estimate == 0
        return Equivalence(
            margin=margin,
            p_value=0.0 if certain else math.nan,
            low=interval.low,
            high=interval.high,
            equivalent=True if certain else None,
        )
    above_low = stats.t.sf((interval.estimate + margin) / error, freedom)
    below_high = stats.t.cdf((interval.estimate - margin) / error, freedom)
    p_value = float(max(above_low, below_high))
    return Equivalence(
        margin=margin,
        p_value=p_value,
        low=interval.low,
        high=interval.high,
        equivalent=p_value < alpha,
    )


def significant_sign(interval: Interval, adjusted_p: float) -> int:
    """+1 or -1 where the estimate differs from zero at `SIGNIFICANCE`, else 0 (also for NaN)."""
    return int(np.sign(interval.estimate)) if adjusted_p < SIGNIFICANCE else 0


def verdict_of_signs(signs: Sequence[int]) -> Verdict:
    """The verdict on "this difference is positive" from one significant sign for each metric.

    Some positive and none negative: reproduced. The mirror: contradicted. Both: the metrics
    disagree. None: inconclusive. No metric at all: untested.
    """
    if not signs:
        return Verdict.UNTESTED
    match (any(s > 0 for s in signs), any(s < 0 for s in signs)):
        case True, True:
            return Verdict.DISAGREE
        case True, False:
            return Verdict.REPRODUCED
        case False, True:
            return Verdict.CONTRADICTED
        case _:
            return Verdict.INCONCLUSIVE
