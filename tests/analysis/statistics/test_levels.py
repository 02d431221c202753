"""Levels, paired differences and their spreads over seeds and sets, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pareto_frames import ACCURACY, FD, HALF, NLL, pareto_frame
from scipy import stats

from analysis.errors import FrameError
from analysis.frame import TRAINING_COLUMNS, checked_frame
from analysis.statistics.intervals import holm, paired_t
from analysis.statistics.levels import FULL, Levels, Observations, PlanKey, Way

PLANS = (FULL, HALF, PlanKey(4, 2))
FEW = ("control", "fixed 0.1", "fixed 1", "progressive")


def small(**settings) -> pd.DataFrame:
    """A valid frame that is quick to make."""
    few = {"schedules": FEW, "plans": PLANS, "by_scale": False, "nll_sets": 6, "select_sets": 3}
    return checked_frame(pareto_frame(**few | {"sample_sets": 4} | settings), training=True)


def raw(frame, schedule, plan, metric) -> pd.DataFrame:
    """Values by hand: a row a seed, a column a set."""
    mine = frame.query("schedule == @schedule and plan == @plan and metric == @metric")
    return mine.pivot(index="seed", columns="set", values="value")


def full_against_control(frame, way, metric) -> Observations:
    return Levels(frame).paired((way, FULL), ("control", FULL), metric)


def only(table, **where) -> pd.Series:
    """The one row of `table` that says `where`."""
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table) == 1
    return table.iloc[0]


@pytest.fixture(scope="module")
def three():
    return small(seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def one():
    return small(seeds=(7,))


def test_ways_keep_the_frames_order_and_are_told_apart_by_typed_columns(three):
    levels = Levels(three)
    assert tuple(way.name for way in levels.ways) == FEW
    renamed = Levels(three.assign(schedule=three["schedule"].map(lambda name: f"<{name}>")))
    assert renamed.control == Way(
        name="<control>", kind="full", share=0.0, selector=None, train_switch=3
    )
    assert [way.share for way in renamed.fixed] == [0.1, 1.0]
    assert renamed.progressive.name == "<progressive>"
    nested = Levels(small(schedules=("fixed 1 (nested)",), plans=(FULL, PlanKey(4, 3, "nested"))))
    assert nested.ways[0].selector == "nested"
    assert (nested.control, nested.fixed, nested.progressive) == (None, (), None)


def test_plans_are_shown_by_their_labels():
    plans = (FULL, HALF, PlanKey(4, 3, "nested"))
    assert [plan.label for plan in plans] == ["full", "d4@3", "d4@3 (nested)"]
    levels = Levels(small(plans=plans))
    assert levels.plans == plans
    assert set(levels.table["plan"]) == {plan.label for plan in plans}


def test_a_plan_of_no_two_zones_is_refused(one):
    strange = one["plan"] == "d4@3"
    with pytest.raises(FrameError, match="plan 'd4@3' is neither full nor of two zones"):
        Levels(one.assign(subnet_depth=one["subnet_depth"].mask(strange)))


def test_the_order_of_rows_changes_nothing(three):
    shuffled = three.sample(frac=1, random_state=0)
    place = ("fixed 1", HALF)
    for metric in (NLL, FD):
        ours, theirs = (Levels(f).observed(place, metric).values for f in (three, shuffled))
        assert ours.tolist() == theirs.tolist()


def test_models(three):
    table = Levels(three).models
    values = raw(three, "fixed 1", "d4@3", FD).loc[1].to_numpy()
    row = only(table, schedule="fixed 1", plan="d4@3", metric=FD, seed=1)
    assert row["value"] == pytest.approx(values.mean(), rel=1e-12)
    assert row["standard_error"] == pytest.approx(values.std(ddof=1) / 2, rel=1e-12)
    assert (row["sets"], row["count"], row["share"]) == (4, 1000, 1.0)
    assert (row["switch"], row["subnet_depth"], row["kind"]) == (3, 4, "fixed")
    exact = only(table, schedule="fixed 1", plan="d4@3", metric="kv_bytes/peak", seed=1)
    assert math.isnan(exact["standard_error"]) and exact["sets"] == 1
    # Four schedules, three seeds, three plans; five sampled metrics and three exact ones.
    assert len(table) == 4 * 3 * 3 * 8


def test_levels_over_seeds(three):
    row = only(Levels(three).table, schedule="progressive", plan="d4@3", metric=NLL)
    values = raw(three, "progressive", "d4@3", NLL)
    means = values.mean(axis=1).to_numpy()
    half_width = stats.t.ppf(0.975, 2) * means.std(ddof=1) / math.sqrt(3)
    assert row["value"] == pytest.approx(means.mean(), rel=1e-12)
    assert row["low"] == pytest.approx(means.mean() - half_width, rel=1e-12)
    assert row["high"] == pytest.approx(means.mean() + half_width, rel=1e-12)
    assert (row["over"], row["seeds"], row["sets"], row["count"]) == ("seeds", 3, 6, 3 * 6 * 50)
    assert row["seed_sd"] == pytest.approx(means.std(ddof=1), rel=1e-12)
    errors = values.std(axis=1, ddof=1).to_numpy() / math.sqrt(6)
    assert row["sample_sd"] == pytest.approx(math.sqrt((errors**2).mean()), rel=1e-12)


def test_levels_of_one_seed_are_over_its_sets(one):
    row = only(Levels(one).table, schedule="progressive", plan="d4@3", metric=NLL)
    theirs = stats.ttest_1samp(raw(one, "progressive", "d4@3", NLL).loc[7], 0.0)
    assert (row["low"], row["high"]) == pytest.approx(tuple(theirs.confidence_interval()))
    assert (row["over"], row["seeds"]) == ("sets", 1)
    assert math.isnan(row["seed_sd"])
    assert row["sample_sd"] > 0


def test_exact_levels_have_no_interval(three):
    row = only(Levels(three).table, schedule="control", plan="full", metric="kv_bytes/peak")
    assert row["over"] == "exact"
    assert all(math.isnan(row[name]) for name in ("low", "high", "sample_sd"))


def test_one_set_of_one_seed_has_a_level_only():
    row = only(Levels(small(sample_sets=1)).table, schedule="control", plan="full", metric=FD)
    assert math.isfinite(row["value"]) and math.isnan(row["low"])


def test_a_schedule_that_lost_seeds_says_so():
    frame = small(seeds=(0, 1, 2), status={("fixed 1", 2, None): "diverged"})
    table = Levels(frame).table
    assert only(table, schedule="fixed 1", plan="full", metric=NLL)["seeds"] == 2
    assert only(table, schedule="control", plan="full", metric=NLL)["seeds"] == 3


def test_pairs_are_by_seed(three):
    found = full_against_control(three, "fixed 1", NLL)
    ours, theirs = (raw(three, s, "full", NLL).mean(axis=1) for s in ("fixed 1", "control"))
    assert (found.seeds, found.over) == ((0, 1, 2), "seeds")
    assert found.values == pytest.approx((ours - theirs).to_numpy(), rel=1e-9)


def test_pairs_of_one_seed_are_by_set(one):
    found = full_against_control(one, "fixed 1", FD)
    ours, theirs = (raw(one, s, "full", FD).loc[7] for s in ("fixed 1", "control"))
    assert (found.seeds, found.over) == ((7,), "sets")
    assert found.values == pytest.approx((ours - theirs).to_numpy(), rel=1e-9)


def test_pairing_removes_what_sets_have_in_common():
    frame = small(noise=0.0, seed_noise=0.0, set_noise=5.0)
    found = full_against_control(frame, "fixed 1", NLL)
    assert found.values == pytest.approx(np.full(6, 3.061 - 2.815))


def test_worse_is_positive_where_higher_is_better(three):
    found = full_against_control(three, "fixed 1", ACCURACY)
    assert (found.values > 0).all()  # the levels say that its accuracy is lower


def test_only_what_both_finished_is_paired():
    status = {("fixed 1", 0, FULL): "failed", ("control", 2, None): "interrupted"}
    frame = small(seeds=(0, 1, 2, 3), status=status)
    found = full_against_control(frame, "fixed 1", NLL)
    assert found.seeds == (1, 3) and len(found.values) == 2
    nothing = full_against_control(frame, "sandwich", NLL)
    assert not nothing and nothing.seeds == ()


def test_sets_that_one_lacks_are_left_out(one):
    lost = (one["schedule"] == "control") & (one["metric"] == FD) & (one["set"] == 2)
    found = full_against_control(one[~lost], "fixed 1", FD)
    ours, theirs = (raw(one, s, "full", FD).loc[7].drop(2) for s in ("fixed 1", "control"))
    assert found.values == pytest.approx((ours - theirs).to_numpy(), rel=1e-9)


def test_means_by_seed_and_counted_costs(three):
    levels = Levels(three)
    means = raw(three, "fixed 1", "d4@3", FD).mean(axis=1)
    assert levels.by_seed(("fixed 1", HALF), FD) == pytest.approx(means.to_dict())
    assert levels.value(("fixed 1", HALF), FD) == pytest.approx(means.mean())
    peaks = three.loc[(three["plan"] == "d4@3") & (three["metric"] == "kv_bytes/peak"), "value"]
    assert levels.counted(HALF, "kv_bytes/peak") == peaks.iloc[0]
    assert math.isnan(levels.counted(PlanKey(1, 1), "kv_bytes/peak"))


def test_differences_are_corrected_over_schedules(three):
    levels = Levels(three)
    table = levels.differences
    assert set(table["schedule"]) == set(FEW[1:])
    assert not table["metric"].str.startswith(("kv_bytes", "flops")).any()
    mine = table[(table["plan"] == "d4@3") & (table["metric"] == NLL)]
    assert len(mine) == 3
    assert mine["p_holm"].to_numpy() == pytest.approx(holm(mine["p_value"]), rel=1e-12)
    row = only(mine, schedule="fixed 1")
    values = levels.paired(("fixed 1", HALF), ("control", HALF), NLL).values
    theirs = stats.ttest_1samp(values, 0.0)
    assert row["damage"] == pytest.approx(values.mean())
    assert row["p_value"] == pytest.approx(theirs.pvalue)
    assert (row["low"], row["high"]) == pytest.approx(tuple(theirs.confidence_interval()))
    assert (row["over"], row["seeds"]) == ("seeds", 3)


def test_no_control_gives_an_empty_table():
    table = Levels(small(schedules=("fixed 0.1", "fixed 1"))).differences
    assert table.empty
    assert {"damage", "p_value", "p_holm", "over", "seeds"} <= set(table.columns)


def test_trained_is_the_full_network_and_the_switch_trained_for(three):
    table = Levels(three).models
    assert table["trained"].dtype == bool
    trained = {(r.schedule, r.plan) for r in table.itertuples() if r.trained}
    assert trained == {(s, "full") for s in FEW} | {(s, "d4@3") for s in FEW[1:]}


def test_unfinished_names_what_has_no_numbers():
    status = {("progressive", 1, None): "diverged", ("fixed 1", 0, HALF): "failed"}
    table = Levels(small(seeds=(0, 1), status=status)).unfinished
    assert list(table.columns) == ["schedule", "seed", "plan", "status"]
    assert {tuple(row) for row in table.to_numpy()} == {
        ("fixed 1", 0, "d4@3", "failed"),
        *(("progressive", 1, plan.label, "diverged") for plan in PLANS),
    }
    assert Levels(small()).unfinished.empty


def refused(frame) -> str:
    with pytest.raises(FrameError) as caught:
        checked_frame(frame, source="frame.parquet", training=True)
    message = str(caught.value)
    assert message.startswith("frame.parquet: ") and "\n" not in message
    return message


def test_training_columns_are_needed(one):
    message = refused(one.drop(columns=["share", "seed"]))
    assert "missing columns share, seed;" in message
    without = one.drop(columns=list(TRAINING_COLUMNS))
    assert "missing columns schedule, kind, share, train_switch, seed;" in refused(without)
    checked_frame(without[one["schedule"] == "control"])  # a study that trains nothing


@pytest.mark.parametrize("name", ["schedule", "seed", "train_switch"])
def test_training_columns_without_values_are_refused(one, name):
    control = one[one["schedule"] == "control"].assign(**{name: pd.NA})
    assert f"column {name} has no value in {len(control)} rows" in refused(control)
    checked_frame(control)


def test_a_frame_survives_parquet(three, tmp_path):
    three.to_parquet(tmp_path / "frame.parquet")
    back = checked_frame(pd.read_parquet(tmp_path / "frame.parquet"), training=True)
    pd.testing.assert_frame_equal(Levels(back).table, Levels(three).table)


def test_interval_over_five_seeds_covers():
    draws = np.random.default_rng(11).normal(0.4, 0.1, (20_000, 5))
    # By the closed form at once, and by ours on some of them.
    half_widths = stats.t.ppf(0.975, 4) * draws.std(axis=1, ddof=1) / math.sqrt(5)
    covered = np.abs(draws.mean(axis=1) - 0.4) <= half_widths
    assert covered.mean() == pytest.approx(0.95, abs=0.007)  # four and a half standard errors
    for row, half_width in zip(draws[:200], half_widths, strict=False):
        interval = paired_t(row)
        assert interval.high - interval.estimate == pytest.approx(half_width, rel=1e-9)
