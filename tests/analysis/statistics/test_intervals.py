"""Intervals, corrections and verdicts against closed forms, scipy and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.intervals import holm, jackknife_t, p_beyond, paired_t, welch_t


def test_interval_agrees_with_scipy():
    differences = np.random.default_rng(1).normal(0.3, 1.0, 12)
    ours = paired_t(differences)
    theirs = stats.ttest_1samp(differences, 0.0)
    low, high = theirs.confidence_interval(0.95)
    assert ours.estimate == pytest.approx(differences.mean(), rel=1e-12)
    assert (ours.low, ours.high) == pytest.approx((low, high), rel=1e-10)
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-10)
    assert ours.degrees_of_freedom == 11


def test_interval_of_two_by_hand():
    # mean 2, standard error 1, t quantile of one degree of freedom tan(0.475 pi).
    ours = paired_t([1.0, 3.0])
    assert ours.standard_error == pytest.approx(1.0)
    assert ours.high - ours.estimate == pytest.approx(math.tan(0.475 * math.pi))


def test_one_difference_has_no_interval():
    ours = paired_t([0.7])
    assert ours.estimate == 0.7
    assert math.isnan(ours.low) and math.isnan(ours.high) and math.isnan(ours.p_value)


def test_no_spread():
    zero = paired_t([0.0] * 8)
    assert (zero.low, zero.high, zero.p_value) == (0.0, 0.0, 1.0)
    constant = paired_t([0.1 + 0.2, 0.3, 0.3, 0.3])  # equal up to rounding
    assert math.isnan(constant.low)
    assert constant.p_value == 2.0**-3  # the sign test's, not zero


@pytest.mark.parametrize("bad", [[], [1.0, math.nan], [math.inf]])
def test_no_interval_from_nonsense(bad):
    with pytest.raises(ValueError):
        paired_t(bad)


def test_coverage():
    rng = np.random.default_rng(20)
    inside = 0
    for _ in range(4000):
        interval = paired_t(rng.normal(1.0, 2.0, 8))
        inside += interval.low <= 1.0 <= interval.high
    # Four standard errors of a 95 % share over 4,000 trials are 1.4 %.
    assert inside / 4000 == pytest.approx(0.95, abs=0.014)


def fields(interval) -> tuple[float, ...]:
    ends = (interval.estimate, interval.low, interval.high, interval.standard_error)
    return (*ends, interval.degrees_of_freedom, interval.p_value)


@pytest.mark.parametrize("block", [1, 3])
def test_the_jackknife_of_a_mean_is_students_t_of_its_blocks(block):
    """The closed form: pseudo-values of a mean are the means of the blocks left out."""
    values_GB = np.random.default_rng(4).normal(0.3, 1.0, (20, block))
    left_out = [np.delete(values_GB, g, axis=0).mean() for g in range(20)]
    found = jackknife_t(values_GB.mean(), np.array(left_out), confidence=0.9)
    wanted = paired_t(values_GB.mean(axis=1), confidence=0.9)
    assert fields(found) == pytest.approx(fields(wanted), rel=1e-9)


def test_the_jackknife_of_a_curved_score_by_hand():
    # The square of a mean, of 0, 2 and 4: without each in turn 3, 2 and 1, squared.
    found = jackknife_t(4.0, np.array([9.0, 4.0, 1.0]))
    squares = (9 - 14 / 3) ** 2 + (4 - 14 / 3) ** 2 + (1 - 14 / 3) ** 2
    assert found.estimate == 4.0  # the score itself, about which the interval lies
    assert found.standard_error == pytest.approx(math.sqrt(2 / 3 * squares))
    half_width = stats.t.ppf(0.975, 2) * found.standard_error
    assert (found.low, found.high) == pytest.approx((4 - half_width, 4 + half_width))
    assert found.p_value == pytest.approx(2 * stats.t.sf(4 / found.standard_error, 2))


@pytest.mark.parametrize("replicates", [[], [0.7], [0.7] * 20])
def test_replicates_without_spread_are_no_interval(replicates):
    found = jackknife_t(0.7, np.array(replicates))
    assert found.estimate == 0.7
    assert math.isnan(found.low) and math.isnan(found.high)


def test_a_jackknife_of_nothing_but_zeros_is_zero():
    found = jackknife_t(0.0, np.zeros(20))
    assert (found.low, found.high, found.p_value) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize(("value", "replicate"), [(math.nan, 1.0), (1.0, math.inf)])
def test_no_jackknife_of_nonsense(value, replicate):
    with pytest.raises(ValueError):
        jackknife_t(value, np.array([1.0, replicate]))


def test_two_independent_means_agree_with_scipy():
    rng = np.random.default_rng(6)
    one, other = rng.normal(1.0, 1.0, 5), rng.normal(0.2, 3.0, 9)
    ours = welch_t(paired_t(one), paired_t(other))
    theirs = stats.ttest_ind(one, other, equal_var=False)
    assert ours.estimate == pytest.approx(one.mean() - other.mean())
    assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-9)
    assert (ours.low, ours.high) == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-9)
    alone = welch_t(paired_t(one), paired_t([0.2]))
    assert math.isnan(alone.low) and math.isnan(alone.p_value)
    assert alone.estimate == pytest.approx(one.mean() - 0.2)


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1, made monotone.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
    assert holm([]).size == 0


def test_holm_leaves_out_what_was_not_tested():
    adjusted = holm([0.01, math.nan, 0.04])
    assert adjusted[[0, 2]] == pytest.approx([0.02, 0.04])
    assert math.isnan(adjusted[1])
    with pytest.raises(ValueError):
        holm([1.2])


def test_holm_bounds_false_alarms():
    rng = np.random.default_rng(3)
    alarms = sum((holm(rng.uniform(size=20)) < 0.05).any() for _ in range(4000))
    assert alarms / 4000 < 0.065


@pytest.mark.parametrize("mean", [0.02, -0.02, 0.2, -0.2])
def test_margins_against_one_sided_t_tests(mean):
    differences = np.random.default_rng(5).normal(mean, 0.1, 20)
    beyond = stats.ttest_1samp(differences, 0.1, alternative="greater").pvalue
    assert p_beyond(paired_t(differences), 0.1) == pytest.approx(beyond, rel=1e-9)
