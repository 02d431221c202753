"""Fronts, hypervolume, attainment, gaps and chosen plans, on points whose answer is known."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
from instrument_frames import coverage
from pareto_frames import FD, HALF, NLL, QUARTER, frame_of, pareto_frame

from analysis.errors import FrameError
from analysis.metrics import parse_metric
from analysis.statistics.fronts import (
    KV,
    Beyond,
    Frontier,
    _area,
    _gap,
    frontier,
    frontier_gap,
    hypervolume,
    hypervolume_table,
    non_dominated,
    trade,
)
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.study_file import COMMON_BLOCK

LOSS = parse_metric(NLL)
FULL_KV = 100.0


def plane(points, **settings) -> Frontier:
    return frontier(Levels(frame_of(points, **settings)), LOSS, full_kv=FULL_KV)


def base(units=(0,), *, untrained: float = 3.0):
    """A network that training began from: NLL 1, and `untrained` with a quarter of the layers, so
    that by default a loss of 2 nats is all of the untrained damage."""
    full = {("base", unit, FULL): (100.0, 1.0) for unit in units}
    return full | {("base", unit, QUARTER): (20.0, untrained) for unit in units}


def table_of(points):
    levels = Levels(frame_of(points))
    return hypervolume_table(levels, [LOSS], QUARTER, full_kv=FULL_KV)


def areas(points) -> dict[str, tuple[float, ...]]:
    """In units of KV share and untrained damage: the corner's rectangle is 1.1 x 1."""
    table = table_of(base() | points)
    values = [tuple(1.1 * v for v in values) for values in table["values"]]
    return dict(zip(table["schedule"], values, strict=True))


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
    points = base((0, 1)) | {
        ("control", 0, FULL): (100.0, 1.0),
        ("control", 0, HALF): (50.0, 1.0),
        ("fixed 1", 0, FULL): (80.0, 2.0),
        ("fixed 1", 0, HALF): (50.0, 2.6),
        ("fixed 1", 1, FULL): (80.0, 1.0),
        ("fixed 1", 1, HALF): (50.0, 2.0),
        ("fixed 1", 1, PlanKey(4, 2)): (1.0, 0.0),  # not trained, so it adds nothing
    }
    table = table_of(points)
    # Unit 0: losses 0.5 and 0.8 of the untrained damage; unit 1: 0 and 0.5.
    first, second = 0.3 * 0.2 + 0.3 * 0.5, 0.3 * 0.5 + 0.3 * 1.0
    row = table.iloc[0]
    assert table["schedule"].tolist() == ["fixed 1"]
    assert row["values"] == pytest.approx((first / 1.1, second / 1.1))
    mean = (first + second) / 2.2
    assert row["value"] == pytest.approx(mean)
    # The mean of two lies within tan(0.475 pi) standard errors, a half of their distance each.
    half_width = math.tan(0.475 * math.pi) * (second - first) / 2.2
    assert (row["low"], row["high"]) == pytest.approx((mean - half_width, mean + half_width))
    assert (row["units"], row["points"], row["metric"]) == (2, 2, NLL)


def test_every_schedule_enters_with_the_same_plans():
    points = {
        ("fixed 1", 0, FULL): (80.0, 2.0),
        ("fixed 1", 0, HALF): (50.0, 2.0),
        ("fixed 1", 0, QUARTER): (20.0, 2.0),
        ("progressive", 0, FULL): (80.0, 2.0),
        ("progressive", 0, HALF): (50.0, 2.0),
        ("progressive", 0, QUARTER): None,
    }
    area = pytest.approx((0.6 * 0.5,))
    assert areas(points) == dict.fromkeys(("fixed 1", "progressive"), area)
    table = table_of(base() | points)
    assert table["points"].tolist() == [2, 2]
    assert table["low"].isna().all()  # one unit


def test_schedules_of_other_layers_enter_with_the_same_depths():
    points = {
        ("fixed 1", 0, FULL): (80.0, 2.0),
        ("fixed 1", 0, HALF): (50.0, 2.0),
        ("fixed 1 (nested)", 0, FULL): (80.0, 2.0),
        ("fixed 1 (nested)", 0, PlanKey(4, 3, "nested")): (50.0, 2.6),
    }
    assert areas(points) == {
        "fixed 1": pytest.approx((0.3,)),
        "fixed 1 (nested)": pytest.approx((0.3 * 0.2 + 0.3 * 0.5,)),
    }


def test_a_gain_lies_beyond_the_base():
    assert areas({("fixed 1", 0, FULL): (60.0, 0.0)}) == {"fixed 1": pytest.approx((0.5 * 1.5,))}


def test_metrics_share_a_scale():
    """A metric in another unit has the same hypervolume where the shares are the same."""
    points = base() | {("fixed 1", 0, FULL): (50.0, 2.0)}
    both = {place: (kv, value, 10 * value) for place, (kv, value) in points.items()}
    levels = Levels(frame_of(both, metrics=(NLL, FD)))
    table = hypervolume_table(levels, [LOSS, parse_metric(FD)], QUARTER, full_kv=FULL_KV)
    assert table["metric"].tolist() == [NLL, FD]
    assert table["value"].to_numpy() == pytest.approx([0.6 * 0.5 / 1.1] * 2)
    assert hypervolume_table(levels, [], QUARTER, full_kv=FULL_KV).empty


def test_without_untrained_damage_there_is_no_scale():
    points = {("fixed 1", 0, FULL): (50.0, 2.0)}
    assert table_of(points).empty
    assert table_of(base(untrained=0.5) | points).empty
    # Nor where it is not clear of zero over units, though its mean is the usual one.
    points |= {("fixed 1", 1, FULL): (50.0, 2.0)}
    assert not table_of(base((0, 1)) | points).empty
    assert table_of(base((0,), untrained=4.9) | base((1,), untrained=1.1) | points).empty


def test_plane_is_signed_and_relative_to_the_full_network():
    points = {("control", 0, FULL): (80.0, 0.9), ("control", 0, HALF): (20.0, 0.7)}
    frame = frame_of(points, metrics=("class_accuracy",))
    accuracy = parse_metric("class_accuracy")
    found = frontier(Levels(frame), accuracy, full_kv=80.0)
    models = found.models.set_index("plan")
    assert models["kv_share"].to_dict() == {"full": 1.0, "d4@3": 0.25}
    assert models["damage"].to_dict() == pytest.approx({"full": -0.9, "d4@3": -0.7})
    assert found.front == pytest.approx(np.array([[1.0, 0.9]]))  # values, not damages
    assert frontier(Levels(frame), LOSS, full_kv=80.0).models.empty
    with pytest.raises(FrameError, match="kv_bytes/peak"):
        frontier(Levels(frame[frame["metric"] != KV]), accuracy, full_kv=80.0)


def test_means_over_units_have_their_interval_and_a_floor_beside_them():
    plans, units = (FULL, HALF), (0, 1, 2)
    frame = pareto_frame(schedules=("base", "fixed 1"), units=units, plans=plans, metrics=(FD,))
    levels = Levels(frame)
    found = frontier(levels, parse_metric(FD), full_kv=levels.counted(FULL, KV))
    assert len(found.plans) == 4 and len(found.models) == 12
    (row,) = found.plans.query("schedule == 'fixed 1' and plan == 'd4@3'").to_dict("records")
    interval = levels.observed(("fixed 1", HALF), FD).interval()
    assert (row["low"], row["high"]) == pytest.approx((interval.low, interval.high))
    assert row["value"] == pytest.approx(interval.estimate)
    assert found.floor == levels.floor(FD).interval() and levels.floor(FD).units == units


def surfaces(units) -> dict[int, set[tuple[float, float]]]:
    """Attainment of hand-made fronts: a tuple of (KV share, NLL) for each unit."""
    plans = (FULL, PlanKey(6, 3), HALF, QUARTER)
    points = {
        ("fixed 1", unit, plan): (100 * kv, value)
        for unit, mine in enumerate(units)
        for plan, (kv, value) in zip(plans, mine, strict=False)
    }
    found = plane(points).surfaces["fixed 1"]
    return {p: {(round(x, 9), round(y, 9)) for x, y in rows} for p, rows in found.items()}


def test_attainment_of_two_by_hand():
    found = surfaces([[(0.2, 2.0), (0.4, 1.0)], [(0.3, 1.5), (0.6, 0.5)]])
    best = {(0.2, 2.0), (0.3, 1.5), (0.4, 1.0), (0.6, 0.5)}
    assert found == {0: best, 50: best, 100: {(0.3, 2.0), (0.4, 1.5), (0.6, 1.0)}}


@pytest.mark.parametrize("count", [3, 5, 6, 7])
def test_attainment_of_nested_fronts(count):
    # Each unit a point farther out than the last: best is the first, worst the last.
    found = surfaces([[((i + 1) / 8, 1.0 + i)] for i in range(count)])
    median = math.ceil(count / 2)
    assert found[0] == {(1 / 8, 1.0)}
    assert found[50] == {(median / 8, float(median))}
    assert found[100] == {(count / 8, float(count))}


def test_one_unit_has_no_attainment():
    assert surfaces([[(0.2, 2.0)]]) == {}


def test_front_probability_by_hand():
    points = {}
    for unit, other in enumerate((1.5, 2.5, 1.0, 2.0)):
        points |= {
            ("control", unit, FULL): (100.0, 1.0),
            ("fixed 1", unit, FULL): (100.0, other),  # ties with the control in unit 2
            ("fixed 1", unit, HALF): (50.0, 2.0),
            ("fixed 1", unit, PlanKey(4, 2)): (10.0, 0.5),  # not trained
        }
    points[("control", 4, FULL)] = (100.0, 9.0)  # a unit without the other schedule
    assert plane(points).probability == {
        ("control", "full"): 1.0,
        ("fixed 1", "full"): 0.25,
        ("fixed 1", "d4@3"): 1.0,
    }


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


def traded(points) -> Levels:
    """From (schedule, unit) to (full, subnet)."""
    cells = {}
    for (schedule, unit), (full, subnet) in points.items():
        cells[schedule, unit, FULL] = (100.0, full)
        cells[schedule, unit, HALF] = (50.0, subnet) if subnet is not None else None
    return Levels(frame_of(cells))


def beyond(levels, subnet=HALF) -> Beyond:
    return trade(levels, LOSS, subnet).beyond(levels.progressive.name)


def test_gap_beyond_fixed_shares_by_unit():
    levels = traded(
        {
            ("control", 0): (0.9, 9.0),
            ("fixed 0.1", 0): (1.0, 4.0),
            ("fixed 1", 0): (3.0, 2.0),
            ("fixed 1 (nested)", 0): (1.0, 1.0),  # other layers: not on this front
            ("progressive", 0): (2.0, 2.5),
            ("fixed 0.1", 1): (1.0, 4.0),
            ("fixed 1", 1): (3.0, 2.0),
            ("progressive", 1): (4.0, 2.5),
            ("fixed 0.1", 2): (1.0, 4.0),
            ("fixed 1", 2): (3.0, None),
            ("progressive", 2): (2.0, 0.0),  # a unit in which a share is missing
        }
    )
    found = beyond(levels)
    assert found.gap.by_unit == pytest.approx({0: 0.5, 1: -0.5})
    assert found.clamped == 1
    assert trade(levels, LOSS, QUARTER) is None


def test_one_share_is_no_front():
    levels = traded({("fixed 1", 0): (1.0, 4.0), ("progressive", 0): (1.0, 2.0)})
    assert not beyond(levels).gap


def test_trade_by_hand():
    found = trade(
        traded(
            {
                ("control", 0): (0.9, 9.0),
                ("fixed 0.1", 0): (1.0, 4.0),
                ("fixed 0.5", 0): (2.0, 5.0),  # behind the front
                ("fixed 1", 0): (3.0, 2.0),
                ("progressive", 0): (2.0, 2.5),
                ("progressive", 1): (2.2, 2.7),
                ("sandwich", 0): (2.0, None),
            }
        ),
        LOSS,
        HALF,
    )
    points = found.points.set_index("schedule")
    assert list(points.index) == ["fixed 0.1", "fixed 0.5", "fixed 1", "progressive"]
    assert points.loc["progressive", ["full", "subnet"]].tolist() == pytest.approx([2.1, 2.6])
    half_width = math.tan(0.475 * math.pi) * 0.1
    assert points.loc["progressive", "full_half"] == pytest.approx(half_width)
    assert math.isnan(points.loc["fixed 1", "full_half"])
    assert found.front == pytest.approx(np.array([[1.0, 4.0], [3.0, 2.0]]))
    assert (found.control, len(found.models)) == (pytest.approx(0.9), 5)


def test_no_trade_without_a_trained_subnet():
    assert trade(traded({("control", 0): (1.0, 2.0)}), LOSS, HALF) is None
    alone = trade(traded({("progressive", 0): (1.0, 2.0)}), LOSS, HALF)
    assert (alone.control, len(alone.front)) == (None, 0)


def test_what_units_share_is_in_every_interval():
    def widths(frame) -> np.ndarray:
        levels, metric = Levels(frame), parse_metric(FD)
        kv = levels.counted(FULL, KV)
        plans = frontier(levels, metric, full_kv=kv).plans
        plane = trade(levels, metric, HALF)
        areas = hypervolume_table(levels, [metric], QUARTER, full_kv=kv)
        gap = plane.beyond(levels.progressive.name).gap.interval()
        own = [one["high"] - one["low"] for one in (plans, areas)]
        crosses = plane.points[["full_half", "subnet_half"]].to_numpy().ravel()
        return np.concatenate([*own, crosses, [gap.high - gap.low]])

    frame = pareto_frame(units=(0, 1, 2), metrics=(FD,))
    shared = frame.assign(group=frame["group"] + COMMON_BLOCK)
    whole = frame.groupby(["cell_digest", "metric"])["value"].transform("first")
    shared["value"] = whole + 100 * (frame["value"] - whole)  # so that it is most of the error
    assert (widths(shared) > 2 * widths(frame)).all()


AREA = partial(_area, np.array([0.09, 0.3, 0.5, 1.0]))
SHARES = (1.0, 5.0, 2.0, 3.0, 4.0, 2.0)  # (full, subnet) of three fixed shares


@pytest.mark.parametrize(
    ("function", "truths", "least"),
    [
        (AREA, (3.4, 1.6, 0.9, 0.4, 6.0), 0.93),
        (AREA, (3.4, 1.6, 1.6, 0.4, 6.0), 0.90),  # of two plans that tie, one is at times dominated
        (lambda values: _gap(values).value, (*SHARES, 2.5, 2.7), 0.93),
        (lambda values: _gap(values).value, (*SHARES, 2.0, 2.9), 0.90),  # at a corner
        (lambda values: _gap(values).value, (*SHARES, 1.0, 4.5), 0.88),  # at an end
    ],
    ids=["area", "area of a tie", "gap", "gap at a corner", "gap at an end"],
)
def test_intervals_of_areas_and_gaps_cover(function, truths, least):
    covered, without = coverage(function, truths)
    assert least < covered < 0.975 and without < 0.7
