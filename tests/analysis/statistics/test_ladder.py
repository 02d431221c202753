"""What a metric may decide: prediction limits, rejections and passes."""

import numpy as np
import pandas as pd
import pytest
from instrument_frames import ACCURACY, FD, ladder_frame
from scipy import stats
from small_studies import cell_rows

from analysis.frame import checked_frame
from analysis.metrics import parse_metric
from analysis.statistics.ladder import (
    LEAST_REPEATS,
    climb,
    floor_spreads,
    part_spread,
    passes,
    prediction_limit,
    spread_of,
    with_floor_spreads,
)
from analysis.statistics.units import Observations, observed
from analysis.study_file import COMMON_BLOCK


def observations(values: np.ndarray) -> Observations:
    units = tuple(range(len(values)))
    return Observations(values=values, units=units, replicates=(np.empty(0),) * len(values))


@pytest.mark.parametrize(("name", "sign"), [(FD, 1), (ACCURACY, -1)])
def test_the_limit_is_that_of_one_more_sample(name: str, sign: int) -> None:
    values = np.array([1.0, 2.0, 4.0, 5.0])
    t = stats.t.ppf(0.95, 3)
    expected = 3.0 + sign * t * np.sqrt(10 / 3) * np.sqrt(1.25)
    assert prediction_limit(observations(values), parse_metric(name)) == pytest.approx(expected)


def test_one_more_sample_exceeds_the_limit_one_time_in_twenty() -> None:
    rng, metric = np.random.default_rng(0), parse_metric(FD)
    beyond = [
        rng.normal() > prediction_limit(observations(rng.normal(size=20)), metric)
        for _ in range(4_000)
    ]
    assert 0.04 < np.mean(beyond) < 0.06


def test_parts_of_the_same_images_tell_what_other_images_would_spread_by() -> None:
    rng, metric = np.random.default_rng(1), parse_metric(FD)
    spreads, beyond = [], []
    for _ in range(2_000):
        images = rng.normal(size=400)  # that all repeats are parts of
        means = np.array([rng.choice(images, 150, replace=False).mean() for _ in range(20)])
        real = observations(means)
        spreads.append(spread_of(real, part_spread(150, 400)))
        limit = prediction_limit(real, metric, part_spread(150, 400))
        beyond.append(rng.normal(images.mean(), 1 / np.sqrt(150)) > limit)
    assert np.sqrt(np.mean(np.square(spreads))) == pytest.approx(1 / np.sqrt(150), rel=0.02)
    assert 0.04 < np.mean(beyond) < 0.06
    assert part_spread(150, None) == 1 and part_spread(400, 400) == 0


@pytest.mark.parametrize("alike", [np.full(20, 7.825), 7.825 + 1e-16 * np.arange(20)])
def test_repeats_that_are_all_alike_tell_nothing(alike: np.ndarray) -> None:
    frame = ladder_frame(units=LEAST_REPEATS, damage={"late": 100})
    of_all = (frame["family"] == "real") & frame["group"].isna()
    levels = pd.Series(alike, index=range(20)).reindex(frame.loc[of_all, "unit"]).to_numpy()
    frame.loc[of_all, "value"] = levels
    assert not any(passed for zones in passes(climb(frame)).values() for passed in zones.values())
    assert all(np.isnan(step.rejected) for step in climb(frame))
    assert floor_spreads(frame) == {}


def test_a_metric_passes_for_the_zones_whose_damage_it_sees() -> None:
    frame = ladder_frame(units=LEAST_REPEATS, damage={"early": 20, "middle": 1.5, "late": 0})
    found = passes(climb(frame))
    expected = {"early": True, "middle": False, "late": False}
    assert {metric.name: zones for metric, zones in found.items()} == {
        FD: expected,
        ACCURACY: expected,
    }
    rejected = {(step.metric.name, step.zone): step.rejected for step in climb(frame)}
    assert 0 < rejected[FD, "middle"] < 0.95


@pytest.mark.parametrize("units", [1, LEAST_REPEATS - 1])
def test_nothing_passes_with_too_few_repeats(units: int) -> None:
    found = passes(climb(ladder_frame(units=units, damage={"late": 100})))
    assert not any(passed for zones in found.values() for passed in zones.values())


def test_distances_alone_have_a_floor_and_only_of_enough_repeats() -> None:
    frame = ladder_frame(units=LEAST_REPEATS, damage={"late": 20})
    real = frame[(frame["family"] == "real") & (frame["metric"] == FD)]["value"]
    (metric,) = found = floor_spreads(frame)
    assert (metric.name, found[metric]) == (FD, pytest.approx(real.std()))
    assert floor_spreads(ladder_frame(units=LEAST_REPEATS - 1, damage={})) == {}


def test_only_real_images_have_the_ladder_s_spread() -> None:
    spread = np.linspace(-1, 1, 20)
    levels = {"real": 1.2, "near": 1.0}
    rows = []
    for name, level in levels.items():
        scores = {m: [level, *(level + spread)] for m in (FD, ACCURACY)}
        family = {"family": "real" if name == "real" else "full", "plan": name}
        rows += cell_rows(family | {"unit": 0, "cell_digest": name}, scores)
        shared = cell_rows(family | {"unit": 0, "cell_digest": name}, {FD: [level, *spread]})[1:]
        rows += [row | {"group": row["group"] + COMMON_BLOCK} for row in shared]
    before = checked_frame(pd.DataFrame(rows))
    after = with_floor_spreads(before, {FD: 0.05})
    for name in levels:
        for metric in (FD, ACCURACY):
            errors = []
            for frame in (before, after):
                found = observed(frame[frame["plan"] == name], ["metric"])[metric,]
                errors.append(found.sample_error)
                assert found.values == [levels[name]]
            told = metric == ACCURACY or name == "near"
            assert errors[1] == pytest.approx(errors[0] if told else 0.05)
    common = before["group"] >= COMMON_BLOCK
    pd.testing.assert_frame_equal(before[common], after[common])
    pd.testing.assert_frame_equal(before, with_floor_spreads(before, {}))
