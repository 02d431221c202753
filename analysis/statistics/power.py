"""What a study could see: the power of a t test over units, before it is paid for.

A unit's difference has the standard deviation that `UnitSpread` adds up from variance components;
the test of its mean over U units is Student's, so its power is a tail of the noncentral t (W. G.
Cochran and G. M. Cox, Experimental Designs, 1957, section 2.2).
"""

import math
from bisect import bisect_left
from dataclasses import dataclass

from scipy import optimize, special, stats

from analysis.statistics.intervals import SIGNIFICANCE

POWER = 0.80
MOST_UNITS = 10_000


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
        training seeds a unit."""
        return math.sqrt(self.base + (self.training + self.evaluation / samples) / seeds)


def power_of(effect: float, deviation: float, units: int) -> float:
    """Chance that a one-sided 5 % t test over units shows a true mean of `effect` > 0.

    Args:
        deviation: standard deviation of a unit's difference, in the unit of `effect`.
    """
    if units < 2:
        return 0.0
    if deviation == 0:
        return 1.0
    critical = special.stdtrit(units - 1, 1 - SIGNIFICANCE)
    return float(stats.nct.sf(critical, units - 1, effect * math.sqrt(units) / deviation))


def detectable(deviation: float, units: int) -> float:
    """The smallest true mean that a one-sided test shows with `POWER`; infinite below two units."""
    if units < 2:
        return math.inf
    if deviation == 0:
        return 0.0
    sizes = deviation / math.sqrt(units)
    most = sizes * (special.stdtrit(units - 1, 1 - SIGNIFICANCE) + 40)
    return float(optimize.brentq(lambda d: power_of(d, deviation, units) - POWER, 0.0, most))


def units_needed(effect: float, deviation: float) -> int | None:
    """The fewest units with which a true mean of `effect` is shown with `POWER`; None above
    `MOST_UNITS`, or for an effect that is not positive."""
    if not effect > 0 or power_of(effect, deviation, MOST_UNITS) < POWER:
        return None
    counts = range(MOST_UNITS)
    return bisect_left(counts, POWER, lo=2, key=lambda n: power_of(effect, deviation, n))
