"""MIND against its definition, with its replicates, and what random directions leave of it."""

import numpy as np
import pytest

from varant.evaluation.jackknife import blocks
from varant.evaluation.mind import directions, mind


def by_definition(samples: np.ndarray, real: np.ndarray) -> float:
    """Both sets repeated to equal counts, projected and sorted."""
    count, features = int(np.lcm(len(samples), len(real))), samples.shape[1]
    one, other = (
        np.sort(np.repeat(side @ directions(features), count // len(side), axis=0), axis=0)
        for side in (samples, real)
    )
    return float(3 * features * ((one - other) ** 2).mean())


@pytest.mark.parametrize("counts", [(40, 40), (30, 48), (48, 30), (2, 7)])
def test_any_two_counts(counts):
    rng = np.random.default_rng(0)
    samples, real = (rng.gamma(2, size=(count, 5)) * 3 + 1e3 for count in counts)
    samples = samples + 1
    found = mind(samples, real)
    assert found.value == pytest.approx(by_definition(samples, real), rel=1e-6)
    without = [by_definition(np.delete(samples, b, axis=0), real) for b in blocks(counts[0])]
    np.testing.assert_allclose(found.replicates_G, without, rtol=1e-6)


def test_one_sample_has_no_replicates():
    found = mind(np.ones((1, 3)), np.zeros((4, 3)))
    assert (found.value, len(found.replicates_G)) == (pytest.approx(3 * 3), 0)


@pytest.mark.parametrize("features", [3, 128, 300])
def test_directions_are_of_unit_length_and_orthogonal_in_sets(features):
    found = directions(features)
    assert found.shape[1] >= 256
    one = found[:, :features]
    np.testing.assert_allclose(one.T @ one, np.eye(features), atol=1e-12)
    assert np.abs(found).max() <= 1


def test_a_shift_of_the_mean_is_measured_without_error():
    samples = np.random.default_rng(1).normal(size=(50, 40))
    shift = np.arange(40) / 10
    found = mind(samples + shift, samples)
    assert found.value == pytest.approx(3 * (shift**2).sum())


def test_it_sees_what_two_moments_do_not():
    """Equal mean and covariance, other shapes."""
    rng = np.random.default_rng(2)
    normal = rng.normal(size=(4_000, 4))
    two = rng.choice([-1.0, 1.0], size=(4_000, 4)) + rng.normal(size=(4_000, 4)) * 0.1
    same, other = mind(rng.normal(size=(4_000, 4)), normal), mind(two / two.std(0), normal)
    assert other.value > 20 * same.value
