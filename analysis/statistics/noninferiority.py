"""No loss: a trained plan's loss is at most a share of the damage that training was there to undo.

For unit i let x_i be the loss (a trained plan against the full network that training began from)
and y_i the damage of the same plan on that network, untrained; both in the metric's unit, positive
being worse. A margin m, a share, asks about the mean of the linear contrast

    D_i = x_i - m y_i

by a one-sided Student's t over units, so that no noisy number divides another. A mean below zero is
no loss (a gain included), above zero a loss beyond the margin. Where y itself is not clear of zero
there was nothing to undo, and nothing can be said.

The share x / y is shown beside it with E. C. Fieller's interval (J. R. Statist. Soc. B 16 (1954),
175-185), whose ends are the margins that the same t test would just not reject.

Margins. Published: d16 of 30 layers loses (2.05 - 1.95) / (5.42 - 1.95) = 2.9 % of its untrained
damage; d8 at most 4.9 to 5.8 %, since its own untrained damage is not published and is larger.
Hence 5 % for half the layers, 10 % for fewer, and for the full network, which has no untrained
damage of its own, 2 % of that of half the layers. Shares are compared within a metric only: a
distance is a square.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import special

from analysis.statistics.intervals import Interval, p_beyond, paired_t, with_common

FULL_MARGIN, HALF_MARGIN, FEWER_MARGIN = 0.02, 0.05, 0.10
NONE = np.empty((2, 0))
CONFIDENCE = 0.90  # two-sided: each end is a one-sided 95 % limit, as the tests are


@dataclass(frozen=True, kw_only=True)
class NonInferiority:
    """What units say of a loss against a margin.

    Attributes:
        share: of the untrained damage that is left, with Fieller's 90 % interval.
        p_no_loss: one-sided, of the mean of D being zero or more.
        p_loss: one-sided, of its being zero or less.
        p_untrained: one-sided, of there being no untrained damage.
    """

    share: Interval
    p_no_loss: float
    p_loss: float
    p_untrained: float


def noninferiority(
    loss_U: np.ndarray, untrained_U: np.ndarray, margin: float, common_2R: np.ndarray = NONE
) -> NonInferiority:
    """The test of the module's docstring, from losses (U,) and untrained damages (U,) of units.

    Args:
        common_2R: means of both without each of R blocks of what all units share, whose variance is
            added (`intervals.with_common`); (2, 0) where they share nothing.

    Raises:
        ValueError: a margin that is not positive, arrays of two shapes, no units, or a number that
            is not finite.
    """
    loss_U, untrained_U = np.asarray(loss_U, float), np.asarray(untrained_U, float)
    if not margin > 0:
        raise ValueError(f"margin {margin}: must be a positive share of the untrained damage")
    if loss_U.shape != untrained_U.shape:
        raise ValueError(f"losses {loss_U.shape} and untrained damages {untrained_U.shape} differ")
    of_2 = np.array([[0.0, 1.0], [1.0, -margin]])
    untrained, contrast = (
        with_common(paired_t(own_U, confidence=CONFIDENCE), common_R, confidence=CONFIDENCE)
        for own_U, common_R in zip(
            of_2 @ np.stack([loss_U, untrained_U]), of_2 @ common_2R, strict=True
        )
    )
    p_loss = p_beyond(contrast, 0.0)
    return NonInferiority(
        share=fieller(loss_U, untrained_U, common_2R=common_2R),
        p_no_loss=1 - p_loss,
        p_loss=p_loss,
        p_untrained=p_beyond(untrained, 0.0),
    )


def fieller(
    numerator_U: np.ndarray, denominator_U: np.ndarray, *, common_2R: np.ndarray = NONE
) -> Interval:
    """The ratio of two paired means, and all ratios r that a t test of x - r y = 0 keeps.

    Those are an interval only where the denominator's mean is clear of zero at this confidence;
    elsewhere the ends are infinite. One pair has a ratio and no interval (NaN). What units share
    adds its covariance; degrees of freedom stay those of the units, which makes it a little wide.

    Args:
        numerator_U, denominator_U: (U,) finite numbers, at least one.
        common_2R: as for `noninferiority`.
    """
    x_U, y_U = np.asarray(numerator_U, float), np.asarray(denominator_U, float)
    n, x, y = len(x_U), x_U.mean(), y_U.mean()
    estimate = float(x / y) if y else math.nan
    if n == 1:
        return Interval(estimate=estimate, low=math.nan, high=math.nan)
    t = special.stdtrit(n - 1, 0.5 + CONFIDENCE / 2)
    blocks = common_2R.shape[1]
    shared_22 = (blocks - 1) * np.cov(common_2R, bias=True) if blocks > 1 else np.zeros((2, 2))
    (v_xx, v_xy), (_, v_yy) = (np.cov(x_U, y_U) / n + shared_22) * t**2
    # (x - r y)^2 <= t^2 var(x - r y) / n, as a quadratic in r.
    a, b, c = y**2 - v_yy, x * y - v_xy, x**2 - v_xx
    if a <= 0:
        return Interval(estimate=estimate, low=-math.inf, high=math.inf)
    root = math.sqrt(max(b * b - a * c, 0.0))
    return Interval(estimate=estimate, low=float((b - root) / a), high=float((b + root) / a))
