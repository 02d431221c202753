"""Observations of units: differences, replicates and spreads, against values by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from instrument_frames import coverage
from scipy import stats

from analysis.statistics.intervals import jackknife_t, paired_t
from analysis.statistics.units import NOTHING, Observations, applied, mean_of, observed
from analysis.study_file import COMMON_BLOCK


def seen(values: dict[int, float], *, groups: int = 0, shift: float = 0.0) -> Observations:
    """Of units, with replicates that lie `shift`, twice `shift`, ... beside each value."""
    offsets = shift * np.arange(1, groups + 1)
    return Observations(
        values=np.array(list(values.values())),
        units=tuple(values),
        replicates=tuple(value + offsets for value in values.values()),
        count=100,
    )


def rows(*found, status="finished") -> pd.DataFrame:
    """Of (metric, unit, seed, group, value), 50 images each."""
    table = pd.DataFrame(found, columns=["metric", "unit", "seed", "group", "value"])
    table = table.astype({"metric": "string", "seed": "Int64", "group": "Int64"})
    return table.assign(status=status, count=50)


def test_a_difference_is_of_the_units_that_both_have():
    one, other = seen({0: 5.0, 2: 7.0, 3: 1.0}), seen({1: 9.0, 2: 4.0, 3: 3.0})
    found = one.minus(other)
    assert found.by_unit == {2: 3.0, 3: -2.0}
    assert one.minus(other).values.tolist() == (-other.minus(one).values).tolist()
    nothing = one.minus(seen({9: 1.0}))
    assert not nothing and nothing.units == () and math.isnan(nothing.mean)
    assert not one.minus(NOTHING) and not NOTHING


def test_replicates_are_subtracted_only_where_both_have_as_many():
    one, other = seen({0: 5.0, 1: 6.0}, groups=3, shift=1.0), seen({0: 2.0, 1: 2.5}, groups=3)
    assert [r.tolist() for r in one.minus(other).replicates] == [[4, 5, 6], [4.5, 5.5, 6.5]]
    fewer = one.minus(seen({0: 2.0, 1: 2.5}, groups=2))
    assert fewer.values.tolist() == [3.0, 3.5]
    assert [len(r) for r in fewer.replicates] == [0, 0]
    # Unit by unit: one that lost its replicates takes none from another.
    mixed = Observations(values=np.zeros(2), units=(0, 1), replicates=(np.zeros(3), np.empty(0)))
    assert [len(r) for r in one.minus(mixed).replicates] == [3, 0]


def test_factors_and_means_act_on_values_and_replicates():
    one, other = seen({0: 4.0, 1: 8.0}, groups=2, shift=1.0), seen({0: 2.0, 1: 2.0}, groups=2)
    assert one.times(-0.5).by_unit == {0: -2.0, 1: -4.0}
    assert one.times(-0.5).replicates[0].tolist() == [-2.5, -3.0]
    both = mean_of([one, other])
    assert both.by_unit == {0: 3.0, 1: 5.0}
    assert both.replicates[0].tolist() == [3.5, 4.0]
    assert mean_of([one]).by_unit == one.by_unit


def test_several_units_have_students_t_and_one_its_jackknife():
    several = seen({0: 1.0, 1: 3.0, 2: 4.0}, groups=4, shift=0.3)
    assert several.interval() == paired_t([1.0, 3.0, 4.0])
    assert several.interval(confidence=0.9) == paired_t([1.0, 3.0, 4.0], confidence=0.9)
    assert several.over == "units"
    one = seen({7: 1.0}, groups=4, shift=0.3)
    replicates = np.array([1.3, 1.6, 1.9, 2.2])
    assert one.interval() == jackknife_t(1.0, replicates)
    assert one.interval(confidence=0.9) == jackknife_t(1.0, replicates, confidence=0.9)
    assert one.over == "samples"
    alone = seen({7: 1.0}).interval()
    assert alone.estimate == 1.0 and math.isnan(alone.low) and math.isnan(alone.p_value)
    with pytest.raises(ValueError):
        NOTHING.interval()


def test_sample_error_is_the_root_mean_square_of_the_units_jackknife_errors():
    found = seen({0: 1.0, 1: 3.0}, groups=5, shift=0.3)
    both = zip(found.values, found.replicates, strict=True)
    errors = [jackknife_t(value, replicates).standard_error for value, replicates in both]
    assert found.sample_error == pytest.approx(math.sqrt(np.mean(np.square(errors))))
    assert math.isnan(seen({0: 1.0}).sample_error)


def test_a_missing_group_is_the_score_on_all_samples():
    found = observed(
        rows(
            ("fd", 4, 4, 1, 1.2),
            ("fd", 4, 4, None, 1.0),
            ("fd", 4, 4, 0, 0.8),
            ("fd", 3, 3, None, 2.0),
            ("nll", 3, 3, None, 9.0),
        ),
        ["metric"],
    )
    assert list(found) == [("fd",), ("nll",)]
    fd = found["fd",]
    assert fd.by_unit == {3: 2.0, 4: 1.0}  # ascending, without the replicates
    assert [r.tolist() for r in fd.replicates] == [[], [0.8, 1.2]]  # in order of their block
    assert (fd.count, found["nll",].count) == (100, 50)


def test_replicates_without_their_score_are_nothing():
    found = observed(rows(("fd", 0, 0, None, 1.0), ("fd", 1, 1, 0, 5.0)), ["metric"])
    assert found["fd",].units == (0,)


def test_only_finished_rows_count_and_each_once():
    lost = rows(("fd", 1, 1, None, 7.0), status="failed")
    once = rows(("fd", 0, 0, None, 1.0))
    (found,) = observed(pd.concat([once, lost, once]), ["metric"]).values()
    assert (found.by_unit, found.count) == ({0: 1.0}, 50)
    assert observed(lost, ["metric"]) == {}


def test_a_missing_key_is_a_group_of_its_own():
    table = rows(("fd", 0, 0, None, 1.0), ("fd", 0, 0, None, 2.0))
    table["switch"] = pd.array([3, None], dtype="Int64")
    found = observed(table, ["metric", "switch"])
    assert {key: one.mean for key, one in found.items()} == {("fd", 3): 1.0, ("fd", None): 2.0}


def test_training_seeds_on_one_base_are_averaged_and_their_spread_is_kept():
    found = observed(
        rows(
            *(("fd", 0, seed, None, value) for seed, value in enumerate((1.0, 3.0))),
            *(("fd", 0, seed, 0, value) for seed, value in enumerate((1.5, 2.5))),
            *(("fd", 1, seed, None, value) for seed, value in enumerate((4.0, 5.0, 9.0))),
            ("fd", 2, 0, None, 7.0),
        ),
        ["metric"],
    )["fd",]
    assert found.by_unit == {0: 2.0, 1: 6.0, 2: 7.0}  # three units, whatever their seeds
    assert found.interval() == paired_t([2.0, 6.0, 7.0])
    assert [r.tolist() for r in found.replicates] == [[2.0], [], []]
    # Squares 2 and 14 about the units' means, one and two degrees of freedom.
    assert found.seed_deviation == pytest.approx(math.sqrt((2 + 14) / 3))
    assert found.count == 6 * 50
    single = observed(rows(("fd", 0, 5, None, 1.0), ("fd", 1, 6, None, 2.0)), ["metric"])
    assert math.isnan(single["fd",].seed_deviation)


def test_what_units_share_widens_the_interval_by_its_jackknife():
    table = [("fd/a/n50", unit, None, None, 1.0 + 0.1 * unit) for unit in range(5)]
    without = {0: 1.1, 1: 1.3, 2: 1.2}  # the mean without each of three blocks
    table += [
        ("fd/a/n50", unit, None, COMMON_BLOCK + block, mean + 0.1 * (unit - 2))
        for unit in range(5)
        for block, mean in without.items()
    ]
    found = observed(rows(*table), ["metric"])[("fd/a/n50",)]
    assert [len(one) for one in found.replicates] == [0] * 5  # they are no unit's own
    np.testing.assert_allclose(found.common_R, list(without.values()))
    own, shared = 0.1 * math.sqrt(2.5 / 5), math.sqrt(2 * np.var(list(without.values())))
    interval, error = found.interval(), math.hypot(own, shared)
    assert interval.standard_error == pytest.approx(error)
    freedom = error**4 / (own**4 / 4 + shared**4 / 2)
    assert interval.high == pytest.approx(1.2 + stats.t.ppf(0.975, freedom) * error)
    # What two have in common cancels in their difference.
    assert found.minus(found.times(1.0)).interval().standard_error == 0
    assert found.times(2).minus(found).interval().standard_error == pytest.approx(error)
    # Where a unit lacks them, as one of an earlier version, they say nothing.
    some = observed(rows(*[row for row in table if row[1] or row[3] is None]), ["metric"])
    assert some[("fd/a/n50",)].common_R.size == 0
    # One unit has the spread of its own samples only.
    (one,) = observed(rows(*[row for row in table if row[1] == 0]), ["metric"]).values()
    assert math.isnan(one.interval().low)


def test_a_number_of_several_is_taken_unit_by_unit_and_without_each_block():
    rng = np.random.default_rng(4)
    one, other = (
        Observations(
            values=rng.normal(size=3),
            units=units,
            replicates=(rng.normal(size=4),) * 3,
            common_UR=rng.normal(size=(3, 6)),
        )
        for units in ((0, 1, 2), (1, 2, 5))
    )
    difference, same = one.minus(other), applied(lambda values: values[0] - values[1], [one, other])
    assert same.units == difference.units == (1, 2)
    np.testing.assert_allclose(same.values, difference.values)
    np.testing.assert_allclose(same.common_UR, difference.common_UR)
    assert same.interval().low == pytest.approx(difference.interval().low)
    # A ratio to what is one number for all units.
    share = applied(lambda values: values[0] / values[1], [one, other.pooled(one.units)])
    np.testing.assert_allclose(share.values, one.values / other.mean)
    np.testing.assert_allclose(share.common_UR, one.common_UR / other.common_R)
    alone = applied(lambda values: values[0], [one.of_units((0,))])
    assert math.isnan(alone.interval().low)
    # One that lacks what is shared leaves none; without units there is nothing.
    assert applied(sum, [one, replace(other, common_UR=np.empty((0, 0)))]).common_UR.size == 0
    assert not applied(sum, [one, NOTHING])


def test_intervals_of_a_number_that_is_no_sum_cover():
    """Of a share of two that both have errors of five units, and larger ones that units share."""
    covered, without = coverage(lambda values: values[0] / values[1], (2.0, 4.0))
    assert 0.93 < covered < 0.97 and without < 0.7
