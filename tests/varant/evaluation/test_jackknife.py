"""Blocks of samples, and the jackknife's error: the true one of means and of distances."""

import numpy as np
import pytest

from varant.evaluation.jackknife import GROUPS, Jackknifed, blocks
from varant.evaluation.reference import Gaussian
from varant.evaluation.scores import frechet


@pytest.mark.parametrize("count", [2, 19, 20, 103])
def test_blocks_are_consecutive_and_as_even_as_can_be(count):
    found = blocks(count)
    np.testing.assert_array_equal(
        np.concatenate([np.arange(count)[b] for b in found]), range(count)
    )
    sizes = [len(range(count)[block]) for block in found]
    assert len(sizes) == min(count, GROUPS)
    assert max(sizes) - min(sizes) <= 1


def test_the_jackknife_s_error_of_a_mean_is_the_textbook_s():
    drawn = np.random.default_rng(3).normal(size=200)
    without = np.array([np.delete(drawn, i).mean() for i in range(200)])
    found = Jackknifed(value=drawn.mean(), replicates_G=without)
    assert found.standard_error == pytest.approx(drawn.std(ddof=1) / np.sqrt(200))
    assert np.isnan(Jackknifed(value=1.0, replicates_G=np.empty(0)).standard_error)


def test_the_jackknife_s_error_of_a_distance_is_its_spread_over_repeats():
    """Well above the floor; there a distance's spread is estimated without repeating anything."""
    rng = np.random.default_rng(4)
    mixing = np.random.default_rng(0).normal(size=(6, 6))
    reference = Gaussian.of(rng.normal(size=(20_000, 6)) @ mixing)
    found = [frechet(rng.normal(size=(400, 6)) @ mixing + 1, reference) for _ in range(60)]
    spread = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.25)
