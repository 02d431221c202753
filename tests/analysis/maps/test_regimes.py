"""Progressive against fixed over ages and rates, on a study whose truth is known."""

import math

import numpy as np
import pandas as pd
import pytest
from regime_frames import AGES, RATES, conflict_rows, regime_frame

from analysis.maps.heatmap import largest
from analysis.maps.regimes import explained, regime_map, regimes_of, trends
from analysis.statistics.levels import FULL, PlanKey
from analysis.study_file import COMMON_BLOCK

PLACES = [(age, rate) for age in AGES for rate in RATES]
FULL_BY = dict(zip(PLACES, (-0.1, 0.1, 0.0, 0.2), strict=True))
SUBNETS_BY = dict(zip(PLACES, (-0.2, -0.05, 0.1, 0.3), strict=True))
SUBNETS = (PlanKey(subnet_depth=2, switch=3), PlanKey(subnet_depth=4, switch=3))


@pytest.fixture(scope="module")
def frame():
    return regime_frame(FULL_BY, SUBNETS_BY)


def values_of(frame: pd.DataFrame, kind: str, depth: int | None) -> np.ndarray:
    """(units,) NLL of the first regime, read off the frame by hand."""
    of = frame[(frame["kind"] == kind) & (frame["base_images"] == AGES[0]) & frame["group"].isna()]
    of = of[of["lr"] == RATES[0]]
    of = of[of["subnet_depth"].isna() if depth is None else of["subnet_depth"] == depth]
    return of.sort_values("unit")["value"].to_numpy()


def test_a_difference_and_its_interval_by_hand(frame):
    first = regimes_of(frame)[0]
    assert (first.base_images, first.lr) == (AGES[0], RATES[0])
    hand = np.mean(
        [values_of(frame, "progressive", d) - values_of(frame, "fixed", d) for d in (2, 4)], axis=0
    )
    i = first.against_fixed("progressive", SUBNETS).interval()
    assert i.estimate == pytest.approx(hand.mean())
    half = 2.7764451 * hand.std(ddof=1) / math.sqrt(5)  # t of 4 degrees of freedom at 97.5 %
    assert (i.low, i.high) == pytest.approx((hand.mean() - half, hand.mean() + half))
    whole = first.against_fixed("progressive", (FULL,))
    hand = values_of(frame, "progressive", None) - values_of(frame, "fixed", None)
    assert whole.values.tolist() == pytest.approx(hand.tolist())


def test_a_map_has_ages_down_and_rates_across(frame):
    data = regime_map(regimes_of(frame), "progressive", (FULL,), "a title")
    assert (data.rows, data.columns) == (("8,000", "32,000"), ("0.0001", "0.001"))
    truth = np.array([FULL_BY[place] for place in PLACES]).reshape(2, 2)
    assert data.values == pytest.approx(truth, abs=0.006)
    assert data.significant.tolist() == [[True, True], [False, True]]
    assert (data.better.sum(), data.worse.sum(), data.measured.sum()) == (1, 2, 4)
    assert (largest(-data.values), largest(data.values)) == ((0, 0), (1, 1))


def test_a_regime_whose_training_failed_is_marked_and_not_counted(frame):
    lost = (frame["kind"] == "fixed") & (frame["base_images"] == 8_000) & (frame["lr"] == 1e-3)
    data = regime_map(regimes_of(frame[~lost]), "progressive", (FULL,), "a title")
    assert data.failed.tolist() == [[False, True], [False, False]]
    assert data.measured.sum() == 3


def test_ranks_of_conflict_and_benefit_go_together(frame):
    regimes = regimes_of(frame)
    agreeing = explained(regimes, conflict_rows(SUBNETS_BY), SUBNETS)
    assert agreeing.units == (0, 1, 2, 3, 4) and agreeing.values == pytest.approx(np.ones(5))
    against = explained(regimes, conflict_rows({p: -d for p, d in SUBNETS_BY.items()}), SUBNETS)
    assert against.mean == pytest.approx(-1.0)
    assert not explained(regimes[:2], conflict_rows(SUBNETS_BY), SUBNETS), "too few regimes"


def test_trends_are_the_slopes_of_a_plane():
    plane = {(age, rate): 0.1 * math.log2(age) - 0.02 * math.log2(rate) for age, rate in PLACES}
    regimes = regimes_of(regime_frame(plane, plane))
    found = trends(regimes, "progressive", SUBNETS)
    assert found["age"].mean == pytest.approx(0.1, abs=0.002)
    assert found["rate"].mean == pytest.approx(-0.02, abs=0.002)
    assert found["age"].units == (0, 1, 2, 3, 4)
    assert set(trends(regimes[:2], "progressive", SUBNETS)) == {"rate"}, "one age"


def test_images_that_units_share_are_in_the_intervals_of_trends(frame):
    whole = frame[frame["group"].isna()]
    blocks = []
    for block in range(10):  # without it, progressive is worse by so much, the more the older
        shift = 0.01 * (block - 4.5) * np.log2(whole["base_images"].astype(float) / AGES[0])
        value = whole["value"] + shift.where(whole["kind"] == "progressive", 0.0)
        blocks.append(whole.assign(group=COMMON_BLOCK + block, value=value))
    shared = pd.concat([frame, *blocks], ignore_index=True)
    own, wider = (
        trends(regimes_of(one), "progressive", SUBNETS)["age"].interval() for one in (frame, shared)
    )
    common = 9 * np.var(0.01 * (np.arange(10) - 4.5))
    assert wider.estimate == pytest.approx(own.estimate)
    assert wider.standard_error == pytest.approx(np.hypot(own.standard_error, np.sqrt(common)))


def test_maps_of_no_difference_and_slopes_hold_their_rates():
    """From frame to map and slopes, 80 studies: models differ by chance alone, of 0.02 nats, and a
    map that calls any regime different should be one in twenty at most."""
    nothing = dict.fromkeys(PLACES, 0.0)
    frame, rng = regime_frame(nothing, nothing), np.random.default_rng(7)
    frame = frame[frame["group"].isna()].reset_index(drop=True)
    called, covered = [], []
    for _ in range(80):
        noisy = frame.assign(value=frame["value"] + rng.normal(0, 0.02, len(frame)))
        regimes = regimes_of(noisy)
        called.append(regime_map(regimes, "progressive", SUBNETS, "a title").significant.any())
        slopes = (one.interval() for one in trends(regimes, "progressive", SUBNETS).values())
        covered += [one.low <= 0 <= one.high for one in slopes]
    assert np.mean(called) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 80)
    assert abs(np.mean(covered) - 0.95) <= 3 * math.sqrt(0.05 * 0.95 / 160)
