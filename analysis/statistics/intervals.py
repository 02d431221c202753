"""Estimates with intervals, corrections for many tests, tests of margins, and verdicts.

Everything here works on differences that are already paired, unit by unit.
"""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

SIGNIFICANCE = 0.05


class Verdict(enum.Enum):
    """What a study may say of a claim."""

    REPRODUCED = "reproduced"
    CONTRADICTED = "contradicted"
    INCONCLUSIVE = "inconclusive"
    UNRESOLVED = "cannot resolve"  # the instrument, not chance: power, floor or units
    DISAGREE = "metrics disagree"
    UNTESTED = "untested"


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A mean, or a ratio of two, with its two-sided confidence interval; NaN is what the data
    cannot say, and ends are infinite where a ratio's denominator may be zero.

    Defaults are those of a number that is known exactly.
    """

    estimate: float
    low: float
    high: float
    standard_error: float = 0.0
    degrees_of_freedom: float = 0
    p_value: float = math.nan  # of the mean being zero, two-sided

    @property
    def ends(self) -> tuple[float, float, float]:
        """Estimate, low and high."""
        return self.estimate, self.low, self.high

    @property
    def bounded(self) -> bool:
        return math.isfinite(self.low) and math.isfinite(self.high)


def paired_t(differences: Sequence[float] | np.ndarray, *, confidence: float = 0.95) -> Interval:
    """Student's t interval for the mean of paired differences: two-sided, n - 1 degrees of freedom.

    One difference has an estimate but no interval (NaN). Differences without any spread carry no
    estimate of it: all zero gives [0, 0] and p = 1; all equal and not zero gives no interval, and
    the exact sign test's p = 2^(1 - n), rather than the p = 0 of an infinite t.

    Raises `ValueError` for no differences, or one that is not finite.
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or not len(values):
        raise ValueError("an interval needs a row of differences, at least one")
    if not np.isfinite(values).all():
        raise ValueError("a difference is not finite")
    return _student(float(values.mean()), values, confidence)


def jackknife_t(value: float, replicates_G: np.ndarray, *, confidence: float = 0.95) -> Interval:
    """An estimate with the t interval of its delete-a-group jackknife, G - 1 degrees of freedom.

    No interval (NaN) for fewer than two replicates, or for replicates without spread about a value
    that is not zero. `ValueError` for a number that is not finite.

    Source: J. W. Tukey, Ann. Math. Statist. 29 (1958), 614; R. G. Miller, Biometrika 61 (1974).
    """
    if not np.isfinite([value, *replicates_G]).all():
        raise ValueError("a value is not finite")
    groups = len(replicates_G)
    pseudo_G = groups * value - (groups - 1) * replicates_G if groups > 1 else np.array([value])
    return _student(float(value), pseudo_G, confidence)


def with_common(own: Interval, common_R: np.ndarray, *, confidence: float) -> Interval:
    """An interval over units, widened by what shifts all of them alike.

    Unchanged where nothing is common, or where the interval has no end.

    Args:
        common_R: the mean without each of R blocks of what units share, the jackknife's replicates.
    """
    blocks = len(common_R)
    if blocks < 2 or not math.isfinite(own.low):
        return own
    squares = np.array([own.standard_error**2, (blocks - 1) * common_R.var()])
    if not squares.sum() > 0:
        return own
    freedom = np.array([own.degrees_of_freedom, blocks - 1])
    return _satterthwaite(own.estimate, squares, freedom, confidence)


def welch_t(one: Interval, other: Interval) -> Interval:
    """The difference of two independent means, one minus other, with its 95 % interval.

    NaN where either has no spread to judge by. Source: B. L. Welch, Biometrika 34 (1947), 28-35.
    """
    difference = one.estimate - other.estimate
    variances = np.array([one.standard_error, other.standard_error]) ** 2
    freedom = np.array([one.degrees_of_freedom, other.degrees_of_freedom], dtype=float)
    if not (np.isfinite(variances).all() and variances.sum() > 0 and (freedom > 0).all()):
        nan = math.nan
        return Interval(estimate=difference, low=nan, high=nan, standard_error=nan)
    return _satterthwaite(difference, variances, freedom, 0.95)


def _satterthwaite(
    estimate: float, variances: np.ndarray, freedom: np.ndarray, confidence: float
) -> Interval:
    """Of an estimate whose variances add; degrees of freedom are F. E. Satterthwaite's (Biometrics
    Bulletin 2 (1946), 110-114)."""
    error = math.sqrt(variances.sum())
    df = float(variances.sum() ** 2 / (variances**2 / freedom).sum())
    half = float(special.stdtrit(df, 0.5 + confidence / 2)) * error
    return Interval(
        estimate=estimate,
        low=estimate - half,
        high=estimate + half,
        standard_error=error,
        degrees_of_freedom=df,
        p_value=float(2 * special.stdtr(df, -abs(estimate) / error)),
    )


def _student(mean: float, values: np.ndarray, confidence: float) -> Interval:
    """About the mean of values, by the rule of `paired_t`."""
    n, largest = len(values), np.abs(values).max()
    error = half_width = p_value = math.nan
    if n > 1 and np.ptp(values) <= 16 * np.finfo(np.float64).eps * largest:
        error = 0.0
        half_width, p_value = (math.nan, 2.0 ** (1 - n)) if largest > 0 else (0.0, 1.0)
    elif n > 1:
        error = float(values.std(ddof=1)) / math.sqrt(n)
        half_width = float(special.stdtrit(n - 1, 0.5 + confidence / 2)) * error
        t = mean / error if error > 0 else 0.0  # the squares of tiny numbers vanish
        p_value = float(2 * special.stdtr(n - 1, -abs(t)))
    return Interval(
        estimate=mean,
        low=mean - half_width,
        high=mean + half_width,
        standard_error=error,
        degrees_of_freedom=n - 1,
        p_value=p_value,
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


def p_beyond(interval: Interval, margin: float) -> float:
    """One-sided p of a mean that exceeds `margin`; NaN without a spread to judge by."""
    if not interval.standard_error > 0:
        return math.nan
    t = (interval.estimate - margin) / interval.standard_error
    return float(special.stdtr(interval.degrees_of_freedom, -t))


def significant_sign(interval: Interval, adjusted_p: float) -> int:
    """+1 or -1 where the estimate differs from zero at `SIGNIFICANCE`, else 0 (also for NaN)."""
    return int(np.sign(interval.estimate)) if adjusted_p < SIGNIFICANCE else 0
