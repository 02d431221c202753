"""The power of a t test over units: simulated, tabled, and turned round."""

import math

import numpy as np
import pytest
from scipy import stats

from analysis.statistics.power import Common, UnitSpread, detectable, power_of, units_needed


@pytest.mark.parametrize(("units", "effect"), [(5, 1.0), (8, 0.6), (20, 0.5)])
def test_against_simulation(units, effect):
    drawn = np.random.default_rng(units).normal(effect, 1.0, (40_000, units))
    shown = stats.ttest_1samp(drawn, 0, axis=1, alternative="greater").pvalue < 0.05
    assert power_of(effect, 1.0, units) == pytest.approx(shown.mean(), abs=0.01)


def test_against_published_sample_sizes():
    """One sample, one-sided 5 %, power 80 %, d = 0.5 and 0.8, as G*Power 3.1 gives them."""
    assert units_needed(0.5, 1.0) == 27
    assert units_needed(0.8, 1.0) == 12


def test_detectable_is_the_inverse_of_power():
    for units in (2, 5, 30):
        size = detectable(0.7, units)
        assert power_of(size, 0.7, units) == pytest.approx(0.80, abs=1e-6)
    assert detectable(0.7, 1) == math.inf
    assert detectable(0.0, 5) == 0.0


def test_the_fewest_units_are_the_fewest():
    found = units_needed(0.2, 0.5)
    assert power_of(0.2, 0.5, found) >= 0.80 > power_of(0.2, 0.5, found - 1)
    assert units_needed(0.0, 0.5) is None
    assert units_needed(1e-6, 1.0) is None
    assert units_needed(1.0, 0.0) == 2


def test_what_units_share_bounds_what_many_of_them_show():
    common = Common(variance=0.09, degrees_of_freedom=19)
    assert power_of(1.0, 0.7, 5, common) < power_of(1.0, 0.7, 5)
    assert power_of(detectable(0.7, 5, common), 0.7, 5, common) == pytest.approx(0.80, abs=1e-6)
    assert units_needed(0.7, 0.5) is not None
    assert units_needed(0.7, 0.5, common) is None, "its error never falls below 0.3"
    assert units_needed(1.0, 0.5, common) > units_needed(1.0, 0.5)


def test_components_add_up():
    spread = UnitSpread(base=0.04, training=0.02, evaluation=100.0)
    assert spread.deviation(samples=1_000) == pytest.approx(math.sqrt(0.04 + 0.02 + 0.1))
    assert spread.deviation(samples=1_000, seeds=4) == pytest.approx(
        math.sqrt(0.04 + 0.02 / 4 + 0.1)
    ), "seeds share uniforms and images"
