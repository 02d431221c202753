"""Schedules against closed forms, and what their draws promise."""

import numpy as np
import pytest

from varant import UserError
from varant.training.schedule import RAMPS, Schedule, draw_steps

STEPS = 600
SCHEDULES = {
    "full": Schedule.full(),
    "fixed": Schedule.fixed(0.37),
    "progressive": Schedule.progressive(),
    "reversed": Schedule.progressive().reversed(),
    "cosine": Schedule.progressive(0.1, 0.9, (0.2, 0.5, 0.3), "cosine"),
    "early": Schedule.progressive(0.1, 0.9, (0.2, 0.5, 0.3), "early"),
    "late": Schedule.progressive(0.9, 0.2, (0.2, 0.5, 0.3), "late"),
    "jump": Schedule.progressive(0.1, 0.9, (0.5, 0.0, 0.5)),
}


def drawn(schedule, *, seed=0, draw="stratified", depths=(2, 4, 6), steps=STEPS):
    return draw_steps(schedule, steps=steps, depths=depths, full_depth=8, seed=seed, draw=draw)


def test_progressive_is_the_papers():
    """p = 0.2 for 5 of 30 epochs, 0.2 + 0.8 (ep - 5) / 15 up to epoch 20, then 1."""
    schedule = Schedule.progressive()
    for epoch, share in ((0, 0.2), (4.9, 0.2), (5, 0.2), (8, 0.36), (12.5, 0.6), (20, 1), (29, 1)):
        assert schedule.share_at(epoch / 30) == pytest.approx(share), epoch
    assert schedule.mean_share == pytest.approx((5 * 0.2 + 15 * 0.6 + 10) / 30) == 2 / 3


def test_mean_shares_are_integrals():
    progress = (np.arange(100_000) + 0.5) / 100_000
    for schedule in SCHEDULES.values():
        assert schedule.share_at(progress).mean() == pytest.approx(schedule.mean_share, abs=1e-4)


@pytest.mark.parametrize("ramp", RAMPS)
def test_every_ramp_runs_from_start_to_end_and_backwards(ramp):
    progress = np.linspace(0, 1, 101)
    forth = Schedule.progressive(0.1, 0.9, (0.2, 0.5, 0.3), ramp).share_at(progress)
    back = Schedule.progressive(0.1, 0.9, (0.2, 0.5, 0.3), ramp).reversed().share_at(progress)
    np.testing.assert_allclose(forth, back[::-1], atol=1e-12)
    np.testing.assert_allclose(forth[:21], 0.1)
    np.testing.assert_allclose(forth[70:], 0.9)
    assert (np.diff(forth) >= 0).all()
    middle = {"linear": 0.5, "cosine": 0.5, "early": 0.75, "late": 0.25}[ramp]
    assert forth[45] == pytest.approx(0.1 + 0.8 * middle)


def test_a_linear_ramp_leaves_digests_as_they_were():
    """Networks that were trained before ramps had shapes are not trained again."""
    assert Schedule.progressive().as_dict() == {
        "name": "progressive",
        "start_share": 0.2,
        "end_share": 1.0,
        "phases": [5 / 30, 15 / 30, 10 / 30],
        "sandwich": False,
    }
    assert Schedule.progressive(ramp="late").as_dict()["ramp"] == "late"


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_stratified_draws_hold_over_every_window(name, seed):
    draws = drawn(SCHEDULES[name], seed=seed)
    ahead = np.concatenate([[0], np.cumsum(draws.subnet_S(8) - draws.share_S)])
    # Sums over all windows at once: differences of two partial sums.
    assert ahead.max() - ahead.min() < 1 + 1e-9
    depths = [step[0] for step in draws.depths if step != (8,)]
    for first in range(0, len(depths) - 2, 3):
        assert sorted(depths[first : first + 3]) == [2, 4, 6]


def test_shares_of_zero_and_one_are_exact():
    assert not drawn(Schedule.full()).subnet_S(8).any()
    assert drawn(Schedule.fixed(1.0), steps=20_000).subnet_S(8).all()
    assert not drawn(Schedule.fixed(0.0)).subnet_S(8).any()
    last = drawn(Schedule.progressive()).subnet_S(8)[400:]
    assert last.all()


def test_independent_draws_scatter_as_coins_do():
    shares = [
        drawn(Schedule.fixed(0.5), seed=seed, draw="independent").subnet_S(8).mean()
        for seed in range(200)
    ]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.006)  # four standard errors
    assert np.std(shares) == pytest.approx(np.sqrt(0.25 / STEPS), rel=0.25)
    depths = drawn(Schedule.fixed(1.0), draw="independent", steps=6000).depths
    counts = np.bincount([d for (d,) in depths], minlength=7)[[2, 4, 6]]
    assert ((counts - 2000) ** 2 / 2000).sum() < 14  # chi-square, p = 0.001


def test_draws_are_a_function_of_seed_and_not_of_the_caller():
    np.random.seed(1)
    first = drawn(Schedule.progressive(), seed=5)
    np.random.seed(2)
    again = drawn(Schedule.progressive(), seed=5)
    assert first.depths == again.depths
    assert first.depths != drawn(Schedule.progressive(), seed=6).depths


def test_sandwich_trains_largest_smallest_and_each_other_depth():
    draws = drawn(Schedule.sandwich_rule(), depths=(6, 2, 4, 5), steps=90)
    assert all(step[:2] == (8, 2) for step in draws.depths)
    others = [step[2] for step in draws.depths]
    for first in range(0, 90, 3):
        assert sorted(others[first : first + 3]) == [4, 5, 6]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Schedule.fixed(1.2), "--start-share 1.2: must be from 0 to 1"),
        (lambda: Schedule.progressive(ramp="steep"), "--ramp steep: use one of linear"),
        (lambda: Schedule.progressive(phases=(5, 15, 10)), "sum to 30; must sum to 1"),
        (lambda: Schedule.progressive(phases=(-0.5, 1, 0.5)), "none negative"),
        (lambda: Schedule(name="wavy", start_share=0, end_share=1), "--schedule wavy: use one of"),
        (lambda: Schedule.fixed(0.5).check_depths((8,), 8), "--depths 8: subnets .* 1 to 7 of"),
        (lambda: Schedule.fixed(0.5).check_depths((), 8), "--depths: .* give their depths"),
        (lambda: Schedule.sandwich_rule().check_depths((4,), 8), "--depths 4: .* give two"),
    ],
)
def test_bad_schedules(make, message):
    with pytest.raises(UserError, match=message):
        make()
