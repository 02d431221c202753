"""Intervals that no claim's simulation covers: one network's distance, and two folders' levels."""

import math

import numpy as np
import pytest

from analysis.statistics.intervals import jackknife_t, paired_t, welch_t
from varant.evaluation.reference import Gaussian
from varant.evaluation.scores import frechet

REPEATS = 400
BAND = (0.95 - 3 * math.sqrt(0.95 * 0.05 / REPEATS), 1.0)  # a wider interval than nominal is honest


@pytest.fixture(scope="module")
def distances():
    """(repeats, networks, 1 + groups): a full network and a subnet drawn with the same uniforms."""
    rng = np.random.default_rng(4)
    mixing = np.random.default_rng(0).normal(size=(5, 5))
    reference = Gaussian.of(rng.normal(size=(20_000, 5)) @ mixing)
    rows = []
    for _ in range(REPEATS):
        drawn = rng.normal(size=(400, 5))
        networks = (drawn @ mixing + 0.8, drawn @ mixing * 1.1 + rng.normal(size=(400, 5)) + 1)
        found = [frechet(features, reference) for features in networks]
        rows.append([[one.value, *one.replicates_G] for one in found])
    return np.array(rows)


@pytest.mark.parametrize("what", ["level", "difference"])
def test_the_interval_of_one_network_s_distance_covers_what_repeats_give(distances, what):
    """At this sample count: the bias of a distance is the count's, and stays in both."""
    values = distances[:, 0] if what == "level" else distances[:, 1] - distances[:, 0]
    truth = values[:, 0].mean()
    intervals = [jackknife_t(row[0], row[1:]) for row in values]
    covered = np.mean([found.low <= truth <= found.high for found in intervals])
    assert BAND[0] <= covered <= BAND[1]
    widths = np.mean([found.high - found.low for found in intervals]) / 2
    assert widths < 1.3 * 2.09 * values[:, 0].std()  # and is not bought by width


def test_the_interval_between_two_folders_covers_their_difference():
    """Five and eight units, of spreads that differ by three."""
    rng, covered, rejected = np.random.default_rng(5), [], []
    for _ in range(2_000):
        one, other = paired_t(rng.normal(2.0, 0.3, 5)), paired_t(rng.normal(1.5, 0.1, 8))
        found = welch_t(one, other)
        covered.append(found.low <= 0.5 <= found.high)
        rejected.append(welch_t(one, paired_t(rng.normal(2.0, 0.1, 8))).p_value < 0.05)
    assert 0.93 <= np.mean(covered) <= 0.97
    assert np.mean(rejected) <= 0.06
