"""Rivals at equal bytes: interpolation against closed forms, and what they leave alone."""

import numpy as np
import pandas as pd
import pytest
from pareto_frames import LEVELS, NLL, SELECT, as_rival, frame_of, pareto_frame, with_rivals
from scipy import stats

from analysis.metrics import parse_metric
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.rivals import (
    FLOPS,
    Comparison,
    RivalFront,
    compare_rivals,
    inherited_ranks,
    rival_fronts,
)

UNITS = (0, 1, 2, 3)
METRIC = parse_metric(NLL)
HALF, QUARTER = PlanKey(4, 3), PlanKey(2, 3)
EARLY, LATE = PlanKey(4, 1), PlanKey(4, 2)
OWN = {FULL: (100.0, 2.0, 50.0), HALF: (40.0, 3.0, 20.0), QUARTER: (10.0, 4.0, 10.0)}
"""KV, NLL and FLOPs of the study's own plans."""
RIVAL = {HALF: (20.0, 6.0, 5.0), EARLY: (60.0, 2.0, 25.0), LATE: (50.0, 9.0, 90.0)}
"""The last is beaten by the one before but for its few more bytes."""


def shift(unit: int) -> float:
    """What a rival adds in a unit, so that differences have a spread."""
    return 0.1 * unit**2


def made() -> pd.DataFrame:
    def points(schedule, plans, added):
        return {
            (schedule, unit, plan): (kv, nll + 0.2 * unit + added(unit), nll, flops)
            for unit in UNITS
            for plan, (kv, nll, flops) in plans.items()
        }

    names = (NLL, SELECT, FLOPS)
    own = frame_of(points("progressive", OWN, lambda _: 0.0), metrics=names)
    rival = frame_of(points("fixed 1", RIVAL, shift), metrics=names)
    return with_rivals(own, as_rival(rival, "fixed 1", "peer"))


def test_a_rival_is_interpolated_in_bytes_and_paired_within_units():
    frame = made()
    (front,) = rival_fronts(frame)
    assert front.plans == ("d4@3", "d4@1"), "what is beaten on select images does not compete"
    compared = compare_rivals([front], Levels(frame), [METRIC])
    by_plan = {one.plan: one for one in compared}
    assert set(by_plan) == {FULL, HALF}, "below its smallest plan a rival has none"
    half, full = by_plan[HALF], by_plan[FULL]
    # Half of the way from 20 to 60 bytes: (6 + 2) / 2 against 3.
    expected = np.array([4.0 - 3.0 + shift(unit) for unit in UNITS])
    assert half.damage[NLL].values == pytest.approx(expected)
    interval = half.damage[NLL].interval()
    low, high = stats.ttest_1samp(expected, 0.0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((low, high))
    assert half.flops_share == pytest.approx(15.0 / 20.0)
    assert half.between == ("d4@3", "d4@1")
    # Beyond its largest plan that one is what fits.
    assert full.damage[NLL].values == pytest.approx([shift(unit) for unit in UNITS])
    assert (full.between, full.flops_share) == (("d4@1",), 0.5)
    tests = [stats.ttest_1samp(one.damage[NLL].values, 0.0).pvalue for one in (full, half)]
    smaller, larger = sorted(tests)
    adjusted = sorted(one.p_holm[NLL] for one in compared)
    assert adjusted == pytest.approx(sorted((min(1.0, 2 * smaller), max(2 * smaller, larger))))


def test_weights_are_of_the_plans_that_a_value_comes_of():
    front = RivalFront(
        name="peer",
        plans=("small", "middle", "large"),
        kv_P=np.array([20.0, 40.0, 60.0]),
        flops_P=np.array([1.0, 2.0, 3.0]),
        weights_P=np.array([5, 7, 9]),
        reached={},
    )
    for kv, most in ((20, 5), (30, 7), (40, 7), (45, 9), (99, 9)):
        at = {"plan": HALF, "kv": kv, "flops_share": 1.0, "damage": {}, "p_holm": {}}
        assert Comparison(front=front, **at).weight_bytes == most


def test_of_a_unit_that_a_neighbour_lacks_there_is_no_difference():
    frame = made()
    lost = (frame["unit"] == 2) & (frame["rival"] == "peer") & (frame["plan"] == "d4@1")
    frame = frame[~lost]
    compared = compare_rivals(rival_fronts(frame), Levels(frame), [METRIC])
    assert {one.plan: one.damage[NLL].units for one in compared} == {
        FULL: (0, 1, 3),
        HALF: (0, 1, 3),
    }


def test_rivals_change_nothing_of_the_study_s_own():
    frame = pareto_frame(units=(0, 1), schedules=("base", "control", "fixed 1", "progressive"))
    both = with_rivals(frame, as_rival(frame, "base", "skip"), as_rival(frame, "fixed 1", "alone"))
    pd.testing.assert_frame_equal(Levels(both).table, Levels(frame).table)
    assert rival_fronts(frame) == []


def test_ranks_of_inherited_and_stand_alone_networks():
    levels = LEVELS | {"progressive": {8: 2.8, 6: 2.9, 4: 3.0, 2: 3.2}}
    frame = pareto_frame(units=(0, 1), levels=levels, unit_noise=0, shared_noise=0, noise=0)
    same = with_rivals(frame, as_rival(frame, "fixed 1", "alone"))
    found = inherited_ranks(same, Levels(same), [METRIC])[NLL]
    assert (found.taus, found.plans) == ((1.0, 1.0), 4)
    alone = as_rival(frame, "fixed 1", "alone")
    deep = (alone["subnet_depth"] == 6) & alone["metric"].isin([NLL])
    alone.loc[deep, "value"] += 0.1  # above half the layers': one of the six pairs turns
    turned = with_rivals(frame, alone)
    found = inherited_ranks(turned, Levels(turned), [METRIC])[NLL]
    assert found.taus == pytest.approx((2 / 3, 2 / 3))
