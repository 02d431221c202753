"""Intervals that no claim's simulation covers: one network's distance, and two folders' levels."""

import math

import numpy as np
import pandas as pd
import pytest
from small_studies import cell_rows

from analysis.frame import checked_frame
from analysis.statistics.intervals import jackknife_t, paired_t, welch_t
from analysis.statistics.ladder import LEAST_REPEATS, floor_spreads, with_floor_spreads
from analysis.statistics.units import observed
from varant.evaluation.reference import Gaussian
from varant.evaluation.scores import frechet, frechet_distance

ROW = {"family": "real", "plan": "real", "anchor": "real", "cell_digest": "real"}
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


def test_at_the_floor_the_ladder_s_spread_covers_and_the_jackknife_s_is_too_wide():
    """From features to the interval of one unit's real images, each with a ladder of its own: a
    thousand studies in one frame, by the names of their feature spaces."""
    rng, names = np.random.default_rng(6), [f"fd/space{i}/n200" for i in range(1_000)]
    mixing = np.random.default_rng(0).normal(size=(5, 5))
    reference = Gaussian.of(rng.normal(size=(20_000, 5)) @ mixing)

    def real() -> np.ndarray:
        return rng.normal(size=(200, 5)) @ mixing

    def frame_of(scores: dict[int, dict[str, list[float]]]) -> pd.DataFrame:
        rows = [row for unit, of in scores.items() for row in cell_rows({**ROW, "unit": unit}, of)]
        return checked_frame(pd.DataFrame(rows), full=False)

    repeats = np.array([frechet_distance(Gaussian.of(real()), reference) for _ in range(4_000)])
    climbed = {name: rng.choice(repeats, LEAST_REPEATS, replace=False) for name in names}
    units = range(LEAST_REPEATS)
    found = floor_spreads(
        frame_of({u: {name: [of[u]] for name, of in climbed.items()} for u in units})
    )
    spreads = {metric.name: spread for metric, spread in found.items()}
    scored = {name: frechet(real(), reference) for name in names}
    frame = frame_of({0: {name: [one.value, *one.replicates_G] for name, one in scored.items()}})
    covered, half_widths = [], []
    for measured in (frame, with_floor_spreads(frame, spreads)):
        intervals = [one.interval() for one in observed(measured, ["metric"]).values()]
        covered.append(np.mean([one.low <= repeats.mean() <= one.high for one in intervals]))
        half_widths.append(np.mean([(one.high - one.low) / 2 for one in intervals]))
    assert 0.93 <= covered[1] <= 0.97 and covered[1] < covered[0]
    assert half_widths[0] > 1.2 * half_widths[1]


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
