"""What a study could see: the power of a t test over units, before it is paid for.

A unit's difference has the standard deviation that `UnitSpread` adds up from variance components;
the test of its mean over U units is Student's, so its power is a tail of the noncentral t (W. G.
Cochran and G. M. Cox, Experimental Designs, 1957, section 2.2). What all units share, such as test
images, adds to the mean's variance whatever their number, with the degrees of freedom that
`analysis.statistics.intervals.with_common` gives the test.
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

from scipy import optimize, special, stats

from analysis.statistics.intervals import SIGNIFICANCE

POWER = 0.80
MOST_UNITS = 10_000


@dataclass(frozen=True, kw_only=True)
class Common:
    """Of a mean over units: the variance by what they share, and its degrees of freedom."""

    variance: float = 0.0
    degrees_of_freedom: int = 0


NOTHING_COMMON = Common()


@dataclass(frozen=True, kw_only=True)
class UnitSpread:
    """Variance components of one unit's difference, in the metric's unit squared.

    Attributes:
        base: of base networks.
        training: of a training seed on one base.
        evaluation: of one sample (for likelihood: one image), so that n of them leave 1 / n.
    """

    base: float
    training: float
    evaluation: float

    def deviation(self, *, samples: int, seeds: int = 1) -> float:
        """Standard deviation of a unit's difference from `samples` samples, and the mean of `seeds`
        training seeds a unit, which share the unit's uniforms and images: only training averages
        out."""
        return math.sqrt(self.base + self.training / seeds + self.evaluation / samples)


def power_of(
    effect: float,
    deviation: float,
    units: int,
    common: Common = NOTHING_COMMON,
    *,
    level: float = SIGNIFICANCE,
) -> float:
    """Chance that a one-sided t test over units shows a true mean of `effect` > 0.

    Args:
        deviation: standard deviation of a unit's difference, in the unit of `effect`.
        level: of the test; half of 5 % for a direction, whose test has two sides.
    """
    if units < 2:
        return 0.0
    error, freedom = _error(deviation, units, common)
    if error == 0:
        return 1.0
    critical = special.stdtrit(freedom, 1 - level)
    return float(stats.nct.sf(critical, freedom, effect / error))


def _error(deviation: float, units: int, common: Common) -> tuple[float, float]:
    """Of the mean over units: standard error and degrees of freedom, by Satterthwaite."""
    own = deviation**2 / units
    if common.variance == 0 or own + common.variance == 0:
        return math.sqrt(own), units - 1
    spread = own**2 / (units - 1) + common.variance**2 / common.degrees_of_freedom
    return math.sqrt(own + common.variance), (own + common.variance) ** 2 / spread


def detectable(
    deviation: float, units: int, common: Common = NOTHING_COMMON, *, level: float = SIGNIFICANCE
) -> float:
    """The smallest true mean that such a test shows with `POWER`; infinite below two units."""
    if units < 2:
        return math.inf
    error, freedom = _error(deviation, units, common)
    if error == 0:
        return 0.0
    most = error * (special.stdtrit(freedom, 1 - level) + 40)
    short = lambda d: power_of(d, deviation, units, common, level=level) - POWER  # noqa: E731
    return float(optimize.brentq(short, 0.0, most))


def units_needed(effect: float, deviation: float, common: Common = NOTHING_COMMON) -> int | None:
    """The fewest units with which a true mean of `effect` is shown with `POWER`; None above
    `MOST_UNITS`, or for an effect that is not positive."""
    if not effect > 0 or power_of(effect, deviation, MOST_UNITS, common) < POWER:
        return None
    counts = range(MOST_UNITS)
    return bisect_left(counts, POWER, lo=2, key=lambda n: power_of(effect, deviation, n, common))
