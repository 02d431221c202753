"""Non-inferiority by a linear contrast, and Fieller's interval: closed forms, simulated errors."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.noninferiority import fieller, noninferiority

STUDIES = 4_000


def test_against_scipy_s_t_test():
    rng = np.random.default_rng(0)
    loss, untrained = rng.normal(0.1, 0.3, 7), rng.normal(4, 0.5, 7)
    found = noninferiority(loss, untrained, 0.05)
    contrast = loss - 0.05 * untrained
    less = stats.ttest_1samp(contrast, 0, alternative="less")
    more = stats.ttest_1samp(contrast, 0, alternative="greater")
    assert found.p_no_loss == pytest.approx(less.pvalue)
    assert found.p_loss == pytest.approx(more.pvalue)
    assert found.p_untrained == pytest.approx(
        stats.ttest_1samp(untrained, 0, alternative="greater").pvalue
    )


def test_a_gain_is_no_loss():
    """Five differences of about -0.5, which a test of equivalence calls open."""
    found = noninferiority(np.array([-0.5, -0.51, -0.49, -0.5, -0.52]), np.full(5, 1.0), 0.05)
    assert found.p_no_loss < 1e-4
    assert found.share.high < 0


def test_fieller_s_ends_are_the_margins_that_are_just_not_rejected():
    rng = np.random.default_rng(1)
    loss, untrained = rng.normal(0.2, 0.2, 6), rng.normal(2, 0.4, 6)
    share = fieller(loss, untrained)
    assert share.low < share.estimate < share.high
    assert noninferiority(loss, untrained, share.high).p_no_loss == pytest.approx(0.05)
    assert stats.ttest_1samp(loss - share.low * untrained, 0).pvalue == pytest.approx(0.10)


def test_fieller_without_a_denominator_s_noise_is_student_s_interval():
    loss = np.array([0.1, 0.4, 0.2, 0.3])
    share = fieller(loss, np.full(4, 2.0))
    low, high = stats.t.interval(0.90, 3, loss.mean(), stats.sem(loss))
    assert (share.low, share.high) == pytest.approx((low / 2, high / 2))


def test_a_denominator_that_may_be_zero_bounds_nothing():
    share = fieller(np.array([1.0, 1.2, 0.9]), np.array([0.5, -0.4, 0.1]))
    assert not share.bounded
    assert fieller(np.array([1.0]), np.array([2.0])).estimate == 0.5
    assert math.isnan(fieller(np.array([1.0]), np.array([2.0])).low)


def test_bad_input():
    with pytest.raises(ValueError, match="margin 0: must be a positive share"):
        noninferiority(np.ones(3), np.ones(3), 0)
    with pytest.raises(ValueError, match="differ"):
        noninferiority(np.ones(3), np.ones(2), 0.1)
    with pytest.raises(ValueError, match="not finite"):
        noninferiority(np.array([1.0, math.nan]), np.ones(2), 0.1)


def correlated(rng: np.random.Generator, mean: tuple[float, float], units: int) -> np.ndarray:
    """Losses and damages (STUDIES, units, 2) of units that share a base network."""
    base = rng.normal(0, 0.2, (STUDIES, units, 1))
    return np.array(mean) + base + rng.normal(0, (0.1, 0.3), (STUDIES, units, 2))


@pytest.mark.parametrize("units", [5, 10])
def test_type_one_error_and_coverage(units):
    """At a true loss of exactly the margin; the bound is 5 % and four of its standard errors."""
    margin = 0.1
    drawn = correlated(np.random.default_rng(units), (0.3, 3.0), units)
    found = [noninferiority(*study.T, margin) for study in drawn]
    most = 0.05 + 4 * math.sqrt(0.05 * 0.95 / STUDIES)
    assert np.mean([one.p_no_loss < 0.05 for one in found]) < most
    assert np.mean([one.p_loss < 0.05 for one in found]) < most
    covered = np.mean([one.share.low <= margin <= one.share.high for one in found])
    assert covered == pytest.approx(0.90, abs=0.02)
