"""Sums of features by group give what features give; the jackknife's error is the true one."""

import numpy as np
import pytest

from varant.evaluation.moments import Moments, jackknifed
from varant.evaluation.reference import Gaussian
from varant.evaluation.scores import frechet_distance


def features(rng: np.random.Generator, count: int, *, shift: float = 0.0) -> np.ndarray:
    mixing = np.random.default_rng(0).normal(size=(6, 6))
    return 100.0 + shift + rng.normal(size=(count, 6)) @ mixing


def assert_same(one: Gaussian, other: Gaussian) -> None:
    np.testing.assert_allclose(one.mean_F, other.mean_F, rtol=1e-12)
    np.testing.assert_allclose(one.covariance_FF, other.covariance_FF, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [2, 7, 103])
def test_all_and_all_but_one_group(count):
    drawn = features(np.random.default_rng(count), count)
    moments = Moments.of(drawn, groups=5)
    assert_same(moments.gaussian(), Gaussian.of(drawn))
    groups = np.array_split(np.arange(count), min(5, count))
    for number, group in enumerate(groups):
        if count - len(group) > 1:
            without = np.delete(drawn, group, axis=0)
            assert_same(moments.gaussian(without=number), Gaussian.of(without))


def test_cells_are_pooled_as_if_sampled_together():
    rng = np.random.default_rng(1)
    parts = [features(rng, count, shift=shift) for count, shift in ((40, 0), (30, 5), (50, -3))]
    pooled = Moments.pooled([Moments.of(part, groups=4) for part in parts])
    assert_same(pooled.gaussian(), Gaussian.of(np.concatenate(parts)))
    assert len(pooled.counts_G) == 12
    assert_same(pooled.gaussian(without=0), Gaussian.of(np.concatenate(parts)[10:]))


def test_half_precision_features_are_summed_in_double():
    drawn = features(np.random.default_rng(2), 500).astype(np.float16)
    assert_same(Moments.of(drawn).gaussian(), Gaussian.of(drawn.astype(np.float64)))


def test_one_sample_is_refused():
    with pytest.raises(ValueError, match="1 samples: a distance needs at least two"):
        Moments.of(np.zeros((1, 3)))


def test_the_jackknife_s_error_of_a_mean_is_the_textbook_s():
    drawn = np.random.default_rng(3).normal(size=(200, 1))
    found = jackknifed(Moments.of(drawn, groups=200), lambda gaussian: float(gaussian.mean_F[0]))
    assert found.standard_error == pytest.approx(drawn.std(ddof=1) / np.sqrt(200))


def test_the_jackknife_s_error_of_a_distance_is_its_spread_over_repeats():
    """Well above the floor; there a distance's spread is estimated without repeating anything."""
    rng = np.random.default_rng(4)
    reference = Gaussian.of(features(rng, 20_000))
    found = [
        jackknifed(
            Moments.of(features(rng, 400, shift=1.0)), lambda g: frechet_distance(g, reference)
        )
        for _ in range(60)
    ]
    spread = np.std([one.value for one in found], ddof=1)
    assert np.mean([one.standard_error for one in found]) == pytest.approx(spread, rel=0.25)
