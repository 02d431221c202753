"""Plans chosen within memory budgets, where select and test images prefer different ones."""

from __future__ import annotations

import numpy as np
import pytest
from pareto_frames import FD, HALF, NLL, SELECT, frame_of, pareto_frame
from scipy import stats
from small_studies import GROUPS

from analysis.statistics.choices import ChosenPlan, choose_plans
from analysis.statistics.intervals import jackknife_t
from analysis.statistics.levels import FULL, Levels, PlanKey

EARLIER, SMALL = PlanKey(4, 2), PlanKey(2, 2)
UNITS = range(5)


def levels_of(changed=None, units=UNITS) -> Levels:
    """Select prefers the earlier switch of fixed 1, test the trained one."""
    points = {}
    for unit in units:
        drift = 0.001 * unit
        points |= {
            ("base", unit, FULL): (100.0, 1.0, 3.0),  # the best of all, and no way to train
            ("base", unit, HALF): (50.0, 1.0, 4.0 + drift / 40),  # 0.05 nats are too much
            ("control", unit, FULL): (100.0, 3.0, 3.0),
            ("control", unit, HALF): (50.0, 4.0, 4.0),
            ("fixed 1", unit, FULL): (100.0, 3.2, 3.2),
            ("fixed 1", unit, HALF): (50.0, 3.20, 3.00 + drift),
            ("fixed 1", unit, EARLIER): (40.0, 3.10 - drift, 3.02 + drift),
            ("fixed 1", unit, SMALL): (20.0, 3.5, 3.5),
        }
    return Levels(frame_of(points | (changed or {}), metrics=(SELECT, NLL)))


def chosen(levels, *budgets, full_kv=100.0, half=HALF, deciding=(NLL, FD)) -> list[ChosenPlan]:
    return choose_plans(levels, budgets, full_kv=full_kv, half=half, deciding=deciding)


def test_plans_are_chosen_on_select_images():
    found = chosen(levels_of(), 0.1, 0.2, 0.4, 0.6, 1.0)
    assert [(p.kv_share_limit, p.schedule, p.plan) for p in found] == [
        (0.2, "fixed 1", SMALL),  # a budget met exactly; nothing fits 0.1
        (0.4, "fixed 1", EARLIER),
        (0.6, "fixed 1", EARLIER),  # though the trained switch is better on test images
        (1.0, "control", FULL),
    ]
    plan = found[2]
    assert plan.select_nll == pytest.approx(3.098)
    assert (plan.kv_share, plan.unit) == (0.4, 4)
    values = 3.02 + 0.001 * np.array(UNITS)
    error = stats.sem(values)
    assert plan.test[NLL].estimate == pytest.approx(values.mean())
    assert plan.test[NLL].high == pytest.approx(stats.t.interval(0.95, 4, 3.022, error)[1])
    assert SELECT not in plan.test
    # One-sided 95 % limit over five units.
    assert plan.losses[NLL].high == pytest.approx(0.022 + stats.t.ppf(0.95, 4) * error)
    assert plan.stands_in[NLL] is True


def test_choosing_ignores_test_images():
    swapped = levels_of({("fixed 1", unit, HALF): (50.0, 3.20, 0.5) for unit in UNITS})
    assert [p.plan for p in chosen(swapped, 0.6)] == [EARLIER]


def test_one_lucky_unit_is_not_chosen():
    lucky = levels_of({("fixed 0.5", 0, HALF): (50.0, 1.0, 1.0)})
    assert [(p.schedule, p.plan) for p in chosen(lucky, 0.6)] == [("fixed 1", EARLIER)]


def test_non_inferiority_fails_where_the_loss_may_be_large():
    (far,) = chosen(levels_of(), 0.2)
    assert far.losses[NLL].estimate == pytest.approx(0.5)
    assert far.stands_in[NLL] is False
    changed = {("fixed 1", unit, SMALL): (20.0, 3.0, 3.02 + 0.012 * unit) for unit in UNITS}
    (near,) = chosen(levels_of(changed), 0.2)
    assert near.losses[NLL].estimate == pytest.approx(0.044) and near.losses[NLL].high > 0.05
    assert near.stands_in[NLL] is False


def test_a_plan_that_loses_nothing_is_not_inferior():
    (plan,) = chosen(levels_of(), 1.0)
    assert plan.schedule == "control"
    assert (plan.losses[NLL].low, plan.losses[NLL].high, plan.stands_in[NLL]) == (0.0, 0.0, True)


def test_a_gain_is_not_inferior():
    """Also where it is large and uncertain."""
    changed = {("fixed 1", unit, SMALL): (20.0, 3.0, 2.5 - 0.02 * unit) for unit in UNITS}
    (plan,) = chosen(levels_of(changed), 0.2)
    assert plan.losses[NLL].estimate == pytest.approx(-0.54) and plan.stands_in[NLL] is True


def test_a_metric_that_may_not_decide_says_nothing():
    (plan,) = chosen(levels_of(), 1.0, deciding=(FD,))
    assert plan.stands_in == {NLL: None} and plan.losses[NLL].estimate == 0.0


def test_fewer_units_than_a_verdict_needs_say_nothing():
    changed = {("fixed 1", unit, SMALL): (20.0, 3.0, 2.5 - 0.02 * unit) for unit in range(4)}
    (plan,) = chosen(levels_of(changed, units=range(4)), 0.2)
    assert plan.losses[NLL].high < 0 and plan.stands_in[NLL] is None


def test_one_unit_has_intervals_over_its_samples():
    ways = ("base", "control", "fixed 1")
    levels = Levels(pareto_frame(schedules=ways, units=(3,), by_scale=False))
    (plan,) = chosen(levels, 0.6, full_kv=levels.counted(FULL, "kv_bytes/peak"))
    loss = levels.loss((plan.schedule, plan.plan), NLL)
    assert plan.unit == 3 and loss.over == "samples" and plan.stands_in[NLL] is None
    assert plan.losses[NLL] == jackknife_t(loss.values[0], loss.replicates[0], confidence=0.90)
    assert plan.test[FD].degrees_of_freedom == GROUPS - 1


@pytest.mark.parametrize("base", [(), (5,)])
def test_no_base_no_loss(base):
    """Nor where the plan's own units lack it."""
    points = {("fixed 1", unit, HALF): (50.0, 3.2, 3.0) for unit in UNITS}
    points |= {("base", unit, FULL): (100.0, 1.0, 3.0) for unit in base}
    (plan,) = chosen(Levels(frame_of(points, metrics=(SELECT, NLL))), 0.6)
    assert plan.losses == {} == plan.stands_in


@pytest.mark.parametrize("damages", [(0.1, -0.1, 0.1, -0.1, 0.0), ()])
def test_without_a_clear_untrained_damage_no_loss_is_excluded(damages):
    base = {("base", unit, HALF): (50.0, 1.0, 3.0 + damage) for unit, damage in enumerate(damages)}
    plans = [chosen(levels_of(base), 0.4, half=HALF if damages else None)[0]]
    assert [plan.stands_in[NLL] for plan in plans] == [None]


def test_the_loss_is_held_against_the_damage_of_its_own_unit():
    """Not against the mean: 5 % of the damages here are 0.02 to 0.08, the losses a little less."""
    damages = [0.4 + 0.3 * unit for unit in UNITS]
    changed = {("base", unit, HALF): (50.0, 1.0, 3.0 + damages[unit]) for unit in UNITS}
    lost = [0.05 * damage - 0.001 - 0.0002 * (unit % 2) for unit, damage in enumerate(damages)]
    changed |= {("fixed 1", unit, EARLIER): (40.0, 3.1, 3.0 + lost[unit]) for unit in UNITS}
    (plan,) = chosen(levels_of(changed), 0.4)
    assert plan.losses[NLL].high > 0.05 * np.mean(damages) and plan.stands_in[NLL] is True


def test_no_select_images_no_choice():
    assert chosen(Levels(frame_of({("fixed 1", 0, HALF): (50.0, 3.0)})), 0.6) == []
