"""Fronts, hypervolume, attainment, gaps and chosen plans, on points whose answer is known."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pareto_frames import FD, NLL, SELECT, Plan, pareto_frame
from scipy import stats

from analysis.frame import COLUMNS, TRAINING_COLUMNS, FrameError, checked_frame
from analysis.metrics import parse_metric
from analysis.statistics.fronts import (
    KV,
    attainment,
    choose_plans,
    fixed_gap,
    front_probability,
    frontier_gap,
    hypervolume,
    hypervolume_metrics,
    hypervolume_table,
    is_fixed,
    non_dominated,
    plane,
    trade_plane,
)
from analysis.statistics.levels import paired_values

LOSS = parse_metric(NLL)
CORNER = {"kv_share": 1.0, NLL: 4.0}
FULL_KV = 100.0


def frame_of(points, *, metrics=(NLL,), sets=2) -> pd.DataFrame:
    """A frame from (schedule, seed, cell) to (KV of 100, value, value of the next metric, ...).

    The sets of a value lie around it. No value: the cell failed.
    """
    rows = []
    around = np.linspace(-0.01, 0.01, sets) if sets > 1 else np.zeros(1)
    for (schedule, seed, cell), found in points.items():
        plan = Plan.parse(cell)
        shared = {
            "study": "pareto",
            "base_seed": 0,
            "family": "full" if cell == "full" else "switch",
            "cell": cell,
            "switch": plan.switch,
            "subnet_depth": None if plan.switch is None else plan.depth,
            "selector": plan.selector,
            "cell_digest": f"{schedule}-{seed}-{cell}",
            "schedule": schedule,
            "seed": seed,
            "train_switch": 3,
            "status": "finished" if found else "failed",
        }
        if not found:
            rows.append(shared | {"metric": "", "value": math.nan, "count": 0})
            continue
        rows.append(shared | {"metric": KV, "value": found[0], "count": 0})
        rows += [
            shared | {"metric": name, "value": value + off, "count": 50, "set": i}
            for name, value in zip(metrics, found[1:], strict=True)
            for i, off in enumerate(around)
        ]
    frame = pd.DataFrame(rows, columns=[*COLUMNS, *TRAINING_COLUMNS])
    return checked_frame(frame, training=True, full=False)


def areas(points, **reference) -> dict[str, tuple[float, ...]]:
    table = hypervolume_table(frame_of(points), CORNER | reference, full_kv=FULL_KV)
    return dict(zip(table["schedule"], table["values"], strict=True))


def test_ties_all_stay():
    points = np.array([[1, 3], [2, 2], [2, 2], [3, 1], [3, 2], [1, 4], [4, 4]], dtype=float)
    assert non_dominated(points).tolist() == [True, True, True, True, False, False, False]
    assert non_dominated(np.zeros((0, 2))).tolist() == []


def test_front_against_brute_force():
    points = np.random.default_rng(2).integers(0, 9, (60, 2)).astype(float)
    least = (points[None] <= points[:, None]).all(-1) & (points[None] < points[:, None]).any(-1)
    assert non_dominated(points).tolist() == (~least.any(1)).tolist()


def test_hypervolume_by_hand():
    # Steps of a staircase below (4, 4): 3x1 + 2x1 + 1x1 of 16, and a dominated point.
    steps = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0], [3.5, 3.5]])
    corner = np.array([4.0, 4.0])
    assert hypervolume(steps, corner) == pytest.approx(6 / 16)
    assert hypervolume(np.array([[0.0, 0.0]]), corner) == pytest.approx(1.0)


def test_points_outside_the_corner_add_nothing():
    corner = np.array([4.0, 4.0])
    outside = np.array([[5.0, 0.1], [0.1, 5.0], [4.0, 1.0], [1.0, 4.0]])
    assert hypervolume(outside, corner) == 0.0
    both = np.vstack([outside, [[1.0, 2.0]]])
    assert hypervolume(both, corner) == pytest.approx(3 * 2 / 16)


def test_hypervolume_of_schedules_by_hand():
    points = {
        ("control", 0, "full"): (100.0, 1.0),
        ("control", 0, "d4@3"): (50.0, 1.0),
        ("fixed 1", 0, "full"): (80.0, 2.0),
        ("fixed 1", 0, "d4@3"): (50.0, 3.0),
        ("fixed 1", 1, "full"): (80.0, 1.0),
        ("fixed 1", 1, "d4@3"): (50.0, 2.0),
        ("fixed 1", 1, "d4@2"): (1.0, 0.0),  # not trained, so it adds nothing
    }
    # Seed 0: 0.2 x 2 + 0.3 x 1 of 4; seed 1: 0.2 x 3 + 0.3 x 2 of 4.
    assert areas(points) == {"fixed 1": pytest.approx((0.7 / 4, 1.2 / 4))}
    table = hypervolume_table(frame_of(points), CORNER, full_kv=FULL_KV)
    row = table.iloc[0]
    assert row["value"] == pytest.approx(0.95 / 4)
    # The mean of two lies within tan(0.475 pi) standard errors, a half of their distance each.
    half_width = math.tan(0.475 * math.pi) * 0.5 / 8
    assert (row["low"], row["high"]) == pytest.approx((0.2375 - half_width, 0.2375 + half_width))
    assert (row["seeds"], row["points"], row["metric"]) == (2, 2, NLL)


def test_every_schedule_enters_with_the_same_plans():
    points = {
        ("fixed 1", 0, "full"): (80.0, 2.0),
        ("fixed 1", 0, "d4@3"): (50.0, 2.0),
        ("fixed 1", 0, "d2@3"): (20.0, 2.0),
        ("progressive", 0, "full"): (80.0, 2.0),
        ("progressive", 0, "d4@3"): (50.0, 2.0),
        ("progressive", 0, "d2@3"): None,
    }
    assert areas(points) == dict.fromkeys(("fixed 1", "progressive"), pytest.approx((0.25,)))
    table = hypervolume_table(frame_of(points), CORNER, full_kv=FULL_KV)
    assert table["points"].tolist() == [2, 2]
    assert table["low"].isna().all()  # one seed


def test_schedules_of_other_layers_enter_with_the_same_depths():
    points = {
        ("fixed 1", 0, "full"): (80.0, 2.0),
        ("fixed 1", 0, "d4@3"): (50.0, 2.0),
        ("fixed 1 (nested)", 0, "full"): (80.0, 2.0),
        ("fixed 1 (nested)", 0, "d4@3 (nested)"): (50.0, 3.0),
    }
    found = areas(points)
    assert found == {
        "fixed 1": pytest.approx((0.25,)),
        "fixed 1 (nested)": pytest.approx(((0.2 * 2 + 0.3 * 1) / 4,)),
    }


def test_no_metric_without_a_reference():
    frame = pareto_frame(schedules=("control", "fixed 1"), by_scale=False)
    names = {m.name for m in hypervolume_metrics(frame, {"kv_share": 1.1, "fd": 10.0})}
    assert names == {FD}
    assert {m.name for m in hypervolume_metrics(frame, {NLL: 5.0})} == {NLL}
    assert hypervolume_table(frame, {"kv_share": 1.1}).empty


def test_plane_is_signed_and_relative_to_the_full_network():
    frame = frame_of(
        {("control", 0, "full"): (80.0, 0.9), ("control", 0, "d4@3"): (20.0, 0.7)},
        metrics=("class_accuracy",),
    )
    found = plane(frame, parse_metric("class_accuracy")).set_index("cell")
    assert found["kv_share"].to_dict() == {"full": 1.0, "d4@3": 0.25}
    assert found["damage"].to_dict() == pytest.approx({"full": -0.9, "d4@3": -0.7})
    assert plane(frame, LOSS, full_kv=160.0).empty
    with pytest.raises(FrameError, match="full network"):
        plane(frame[frame["cell"] != "full"], LOSS)
    with pytest.raises(FrameError, match="kv_bytes/peak"):
        plane(frame[frame["metric"] != KV], LOSS)


def surfaces(seeds) -> dict[int, set[tuple[float, float]]]:
    """Attainment of hand-made sets: a tuple of (KV share, NLL) for each seed."""
    cells = ("full", "d6@3", "d4@3", "d2@3")
    points = {
        ("fixed 1", seed, cell): (100 * kv, value)
        for seed, mine in enumerate(seeds)
        for cell, (kv, value) in zip(cells, mine, strict=False)
    }
    found = attainment(frame_of(points), LOSS, "fixed 1", full_kv=FULL_KV)
    return {p: {(round(x, 9), round(y, 9)) for x, y in rows} for p, rows in found.items()}


def test_attainment_of_two_by_hand():
    found = surfaces([[(0.2, 2.0), (0.4, 1.0)], [(0.3, 1.5), (0.6, 0.5)]])
    best = {(0.2, 2.0), (0.3, 1.5), (0.4, 1.0), (0.6, 0.5)}
    assert found == {0: best, 50: best, 100: {(0.3, 2.0), (0.4, 1.5), (0.6, 1.0)}}


@pytest.mark.parametrize("count", [3, 5, 6, 7])
def test_attainment_of_nested_sets(count):
    # Each seed a point farther out than the last: best is the first, worst the last.
    found = surfaces([[((i + 1) / 8, 1.0 + i)] for i in range(count)])
    median = math.ceil(count / 2)
    assert found[0] == {(1 / 8, 1.0)}
    assert found[50] == {(median / 8, float(median))}
    assert found[100] == {(count / 8, float(count))}


def test_one_seed_has_no_attainment():
    assert surfaces([[(0.2, 2.0)]]) == {}


def test_front_probability_by_hand():
    points = {}
    for seed, other in enumerate((1.5, 2.5, 1.0, 2.0)):
        points |= {
            ("control", seed, "full"): (100.0, 1.0),
            ("fixed 1", seed, "full"): (100.0, other),  # ties with the control in seed 2
            ("fixed 1", seed, "d4@3"): (50.0, 2.0),
            ("fixed 1", seed, "d4@2"): (10.0, 0.5),  # not trained
        }
    points[("control", 4, "full")] = (100.0, 9.0)  # a seed without the other schedule
    table = front_probability(frame_of(points), LOSS).set_index(["schedule", "cell"])
    assert table["probability"].to_dict() == {
        ("control", "full"): 1.0,
        ("fixed 1", "full"): 0.25,
        ("fixed 1", "d4@3"): 1.0,
    }
    assert set(table["seeds"]) == {4}


FRONT = np.array([[3.0, 1.0], [1.0, 4.0], [2.0, 2.0], [2.5, 3.0]])  # the last is dominated


@pytest.mark.parametrize(
    ("point", "gap", "clamped"),
    [
        ((1.5, 2.0), 1.0, False),  # the front is at 3 there
        ((2.5, 1.5), 0.0, False),  # on the front; with the dominated point it would gain 1.5
        ((2.0, 2.25), -0.25, False),
        ((1.0, 3.0), 1.0, False),
        ((0.5, 3.5), 0.5, True),  # a better full network than any: the nearest end is at 4
        ((9.0, 1.5), -0.5, True),
    ],
)
def test_gap_by_hand(point, gap, clamped):
    found = frontier_gap(FRONT, point)
    assert found.value == pytest.approx(gap)
    assert found.clamped is clamped


def test_gap_of_a_single_point_and_of_none():
    alone = frontier_gap(np.array([[1.0, 1.0], [1.0, 1.0], [2.0, 3.0]]), (1.0, 0.5))
    assert (alone.value, alone.clamped) == (0.5, False)
    with pytest.raises(ValueError, match="point"):
        frontier_gap(np.zeros((0, 2)), (1.0, 1.0))


def test_fixed_schedules_by_name():
    assert [is_fixed(s) for s in ("fixed 0.1", "fixed 2/3", "fixed 1")] == [True] * 3
    assert not any(is_fixed(s) for s in ("control", "progressive", "fixed 1 (nested)"))


def trade(points) -> pd.DataFrame:
    """From (schedule, seed) to (full, subnet)."""
    cells = {}
    for (schedule, seed), (full, subnet) in points.items():
        cells[schedule, seed, "full"] = (100.0, full)
        cells[schedule, seed, "d4@3"] = (50.0, subnet) if subnet is not None else None
    return frame_of(cells)


def test_gap_beyond_fixed_shares_by_seed():
    frame = trade(
        {
            ("control", 0): (0.9, 9.0),
            ("fixed 0.1", 0): (1.0, 4.0),
            ("fixed 1", 0): (3.0, 2.0),
            ("progressive", 0): (2.0, 2.5),
            ("fixed 0.1", 1): (1.0, 4.0),
            ("fixed 1", 1): (3.0, 2.0),
            ("progressive", 1): (4.0, 2.5),
            ("fixed 0.1", 2): (1.0, 4.0),
            ("fixed 1", 2): (3.0, None),
            ("progressive", 2): (2.0, 0.0),  # a seed in which a share is missing
        }
    )
    gaps, seeds, clamped = fixed_gap(frame, LOSS, "d4@3", "progressive")
    assert gaps == pytest.approx([0.5, -0.5])
    assert (seeds, clamped) == ((0, 1), 1)
    nothing, none, _ = fixed_gap(frame, LOSS, "d2@3", "progressive")
    assert len(nothing) == 0 and none == ()


def test_one_share_is_no_front():
    frame = trade({("fixed 1", 0): (1.0, 4.0), ("progressive", 0): (1.0, 2.0)})
    assert len(fixed_gap(frame, LOSS, "d4@3", "progressive")[0]) == 0


def test_trade_plane_keeps_schedules_without_a_share():
    table = trade_plane(trade({("progressive", 0): (1.0, 2.0)}), LOSS, "d4@3")
    assert table[["full", "subnet"]].to_numpy() == pytest.approx(np.array([[1.0, 2.0]]))


def choices(**changed) -> pd.DataFrame:
    """Two seeds; select prefers d4@2 of fixed 1, test prefers d4@3 of it."""
    points = {}
    for seed in (0, 1):
        drift = 0.004 * seed
        points |= {
            ("control", seed, "full"): (100.0, 3.0, 3.0),
            ("control", seed, "d4@3"): (50.0, 4.0, 4.0),
            ("fixed 1", seed, "full"): (100.0, 3.2, 3.2),
            ("fixed 1", seed, "d4@3"): (50.0, 3.20, 3.00 + drift),
            ("fixed 1", seed, "d4@2"): (40.0, 3.10 - drift, 3.02 + drift),
            ("fixed 1", seed, "d2@2"): (20.0, 3.5, 3.5),
        }
    return frame_of(points | changed.get("points", {}), metrics=(SELECT, NLL))


def test_plans_are_chosen_on_select_images():
    frame = choices()
    found = choose_plans(frame, [0.1, 0.2, 0.4, 0.6, 1.0])
    assert [(p.kv_share_limit, p.schedule, p.cell) for p in found] == [
        (0.2, "fixed 1", "d2@2"),  # a budget met exactly; nothing fits 0.1
        (0.4, "fixed 1", "d4@2"),
        (0.6, "fixed 1", "d4@2"),  # though d4@3 is better on test images
        (1.0, "control", "full"),
    ]
    plan = found[2]
    assert plan.select_nll == pytest.approx(3.098)
    assert (plan.kv_share, plan.seed, plan.seeds) == (0.4, 1, 2)
    values = np.array([3.02, 3.024])
    assert plan.test[NLL].estimate == pytest.approx(values.mean())
    assert plan.test[NLL].high == pytest.approx(stats.t.interval(0.95, 1, 3.022, 0.002)[1])
    assert SELECT not in plan.test
    # One-sided 95 % limit over two seeds.
    assert plan.loss.high == pytest.approx(0.022 + stats.t.ppf(0.95, 1) * 0.002)
    assert plan.non_inferior is True


def test_choosing_ignores_test_images():
    swapped = choices(points={("fixed 1", s, "d4@3"): (50.0, 3.20, 0.5) for s in (0, 1)})
    assert [p.cell for p in choose_plans(swapped, [0.6])] == ["d4@2"]


def test_non_inferiority_fails_where_the_loss_may_be_large():
    far, *_ = choose_plans(choices(), [0.2])
    assert far.loss.estimate == pytest.approx(0.5)
    assert far.non_inferior is None  # both seeds lost the same, so there is no interval
    points = {("fixed 1", s, "d2@2"): (20.0, 3.0, 3.02 + 0.02 * s) for s in (0, 1)}
    near, *_ = choose_plans(choices(points=points), [0.2])
    assert near.loss.estimate == pytest.approx(0.03) and near.loss.high > 0.05
    assert near.non_inferior is False


def test_the_controls_full_network_is_not_inferior_to_itself():
    (plan,) = choose_plans(choices(), [1.0])
    assert (plan.loss.low, plan.loss.high, plan.non_inferior) == (0.0, 0.0, True)


def test_one_seed_is_judged_over_sets():
    frame = pareto_frame(schedules=("control", "fixed 1"), seeds=(3,), by_scale=False)
    (plan,) = choose_plans(frame, [0.6])
    values, _ = paired_values(frame, (plan.schedule, plan.cell), ("control", "full"), NLL)
    assert plan.seeds == 1 and len(values) == 40
    assert plan.loss.estimate == pytest.approx(values.mean())
    assert plan.test[FD].observations == 8


def test_no_control_no_loss():
    frame = choices()
    (plan,) = choose_plans(frame[frame["schedule"] != "control"], [0.6])
    assert plan.loss is None and plan.non_inferior is None


def test_no_select_images_no_choice():
    frame = choices()
    assert choose_plans(frame[frame["metric"] != SELECT], [0.6]) == []
