"""Levels, paired differences and their spreads over units and samples, against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from pareto_frames import ACCURACY, FD, FLOORS, HALF, NLL, SELECT, pareto_frame
from scipy import stats

from analysis.errors import FrameError
from analysis.frame import TRAINING_COLUMNS, checked_frame
from analysis.statistics.intervals import holm, jackknife_t, paired_t
from analysis.statistics.levels import FULL, Levels, PlanKey, Way
from analysis.statistics.units import Observations

PLANS = (FULL, HALF, PlanKey(4, 2))
FEW = ("base", "control", "fixed 0.1", "fixed 1", "progressive")
TRAINED = FEW[1:]


def small(**settings) -> pd.DataFrame:
    """A valid frame that is quick to make."""
    few = {"schedules": FEW, "plans": PLANS, "by_scale": False, "groups": 4}
    few |= {"metrics": (NLL, SELECT, FD, ACCURACY)}
    return checked_frame(pareto_frame(**few | settings), training=True)


def raw(frame, schedule, plan, metric) -> pd.Series:
    """Scores on all samples by hand, by unit."""
    mine = frame.query("schedule == @schedule and plan == @plan and metric == @metric")
    return mine[mine["group"].isna()].set_index("unit")["value"]


def replicates(frame, schedule, plan, metric) -> pd.DataFrame:
    """(units, groups) by hand."""
    mine = frame.query("schedule == @schedule and plan == @plan and metric == @metric")
    return mine.dropna(subset="group").pivot(index="unit", columns="group", values="value")


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
    return small(units=(0, 1, 2))


@pytest.fixture(scope="module")
def one():
    return small(units=(7,))


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
    row = only(table, schedule="fixed 1", plan="d4@3", metric=FD, unit=1)
    assert row["value"] == raw(three, "fixed 1", "d4@3", FD)[1]
    assert (row["switch"], row["subnet_depth"], row["kind"], row["share"]) == (3, 4, "fixed", 1.0)
    # Five ways, three units, three plans; four sampled metrics and three exact ones.
    assert len(table) == 5 * 3 * 3 * 7


def test_levels_over_units(three):
    row = only(Levels(three).table, schedule="progressive", plan="d4@3", metric=NLL)
    values = raw(three, "progressive", "d4@3", NLL).to_numpy()
    half_width = stats.t.ppf(0.975, 2) * values.std(ddof=1) / math.sqrt(3)
    assert row["value"] == pytest.approx(values.mean(), rel=1e-12)
    assert row["low"] == pytest.approx(values.mean() - half_width, rel=1e-12)
    assert row["high"] == pytest.approx(values.mean() + half_width, rel=1e-12)
    assert (row["over"], row["units"], row["count"]) == ("units", 3, 3 * 2000)
    assert row["unit_sd"] == pytest.approx(values.std(ddof=1), rel=1e-12)
    # The jackknife's variance of each unit: (G - 1) times that of its G = 4 replicates.
    variances = 3 * replicates(three, "progressive", "d4@3", NLL).var(axis=1, ddof=0)
    assert row["sample_sd"] == pytest.approx(math.sqrt(variances.mean()), rel=1e-9)
    assert math.isnan(row["seed_sd"])  # one training seed a base


def test_training_seeds_on_one_base_are_no_units(three):
    """Averaged within their unit; their spread is shown beside that of units."""
    again = three.assign(seed=three["seed"] + 10, value=three["value"] + 0.5)
    both = pd.concat([three, again[again["schedule"] == "fixed 1"]], ignore_index=True)
    table = Levels(checked_frame(both, training=True)).table
    row = only(table, schedule="fixed 1", plan="d4@3", metric=NLL)
    values = raw(three, "fixed 1", "d4@3", NLL).to_numpy() + 0.25
    assert row["units"] == 3
    assert row["high"] == pytest.approx(paired_t(values).high, rel=1e-9)
    assert row["seed_sd"] == pytest.approx(0.5 / math.sqrt(2), rel=1e-9)


def test_levels_of_one_unit_are_over_its_samples(one):
    row = only(Levels(one).table, schedule="progressive", plan="d4@3", metric=NLL)
    value = raw(one, "progressive", "d4@3", NLL)[7]
    wanted = jackknife_t(value, replicates(one, "progressive", "d4@3", NLL).loc[7].to_numpy())
    assert (row["value"], row["low"], row["high"]) == (value, wanted.low, wanted.high)
    assert (row["over"], row["units"]) == ("samples", 1)
    assert math.isnan(row["unit_sd"])
    assert row["sample_sd"] == pytest.approx(wanted.standard_error)


def test_exact_levels_have_no_interval(three):
    row = only(Levels(three).table, schedule="control", plan="full", metric="kv_bytes/peak")
    assert row["over"] == "exact"
    assert all(math.isnan(row[name]) for name in ("low", "high", "seed_sd", "sample_sd"))


def test_one_unit_without_replicates_has_a_level_only():
    row = only(Levels(small(groups=0)).table, schedule="control", plan="full", metric=FD)
    assert math.isfinite(row["value"]) and math.isnan(row["low"])


def test_a_schedule_that_lost_units_says_so():
    frame = small(units=(0, 1, 2), status={("fixed 1", 2, None): "diverged"})
    table = Levels(frame).table
    assert only(table, schedule="fixed 1", plan="full", metric=NLL)["units"] == 2
    assert only(table, schedule="control", plan="full", metric=NLL)["units"] == 3


def test_pairs_are_by_unit(three):
    found = full_against_control(three, "fixed 1", NLL)
    ours, theirs = (raw(three, s, "full", NLL) for s in ("fixed 1", "control"))
    assert (found.units, found.over) == ((0, 1, 2), "units")
    assert found.values == pytest.approx((ours - theirs).to_numpy(), rel=1e-9)


def test_pairs_of_one_unit_are_by_block_of_samples(one):
    found = full_against_control(one, "fixed 1", FD)
    ours, theirs = (replicates(one, s, "full", FD).loc[7] for s in ("fixed 1", "control"))
    assert (found.units, found.over) == ((7,), "samples")
    assert found.replicates[0] == pytest.approx((ours - theirs).to_numpy(), rel=1e-9)
    assert found.interval() == jackknife_t(found.values[0], found.replicates[0])


def test_pairing_removes_what_a_unit_shares():
    frame = small(units=(0, 1), noise=0.0, unit_noise=0.0, shared_noise=5.0)
    found = full_against_control(frame, "fixed 1", NLL)
    assert found.values == pytest.approx(np.full(2, 3.061 - 2.815))
    assert np.concatenate(found.replicates) == pytest.approx(np.full(8, 3.061 - 2.815))


def test_worse_is_positive_where_higher_is_better(three):
    found = full_against_control(three, "fixed 1", ACCURACY)
    assert (found.values > 0).all()  # the levels say that its accuracy is lower


def test_only_what_both_finished_is_paired():
    status = {("fixed 1", 0, FULL): "failed", ("control", 2, None): "interrupted"}
    frame = small(units=(0, 1, 2, 3), status=status)
    found = full_against_control(frame, "fixed 1", NLL)
    assert found.units == (1, 3) and len(found.values) == 2
    nothing = full_against_control(frame, "sandwich", NLL)
    assert not nothing and nothing.units == ()


def test_a_unit_whose_replicates_differ_in_number_keeps_its_value(one):
    lost = (one["schedule"] == "control") & (one["metric"] == FD) & (one["group"] == 2)
    found = full_against_control(one[~lost.fillna(False)], "fixed 1", FD)
    ours, theirs = (raw(one, s, "full", FD)[7] for s in ("fixed 1", "control"))
    assert found.values.tolist() == [ours - theirs]
    assert math.isnan(found.interval().low)


def test_values_and_counted_costs(three):
    levels = Levels(three)
    values = raw(three, "fixed 1", "d4@3", FD)
    assert levels.observed(("fixed 1", HALF), FD).by_unit == values.to_dict()
    assert levels.value(("fixed 1", HALF), FD) == pytest.approx(values.mean())
    peaks = three.loc[(three["plan"] == "d4@3") & (three["metric"] == "kv_bytes/peak"), "value"]
    assert levels.counted(HALF, "kv_bytes/peak") == peaks.iloc[0]
    assert math.isnan(levels.counted(PlanKey(1, 1), "kv_bytes/peak"))


def test_losses_are_against_the_base_and_damage_is_its_own(three):
    levels = Levels(three)
    full = raw(three, "base", "full", NLL)
    lost = raw(three, "progressive", "d4@3", NLL) - full
    assert levels.loss(("progressive", HALF), NLL).values == pytest.approx(lost.to_numpy())
    untrained = raw(three, "base", "d4@3", NLL) - full
    assert levels.untrained(HALF, NLL).values == pytest.approx(untrained.to_numpy())
    assert levels.untrained(FULL, NLL).values.tolist() == [0.0, 0.0, 0.0]
    without = Levels(small(schedules=TRAINED))
    assert without.base is None
    assert not without.loss(("progressive", HALF), NLL) and not without.untrained(HALF, NLL)


def test_real_images_are_the_floor_and_no_way_to_train(three):
    levels = Levels(three)
    real = three[(three["family"] == "real") & three["group"].isna()]
    for metric, sign in ((FD, 1), (ACCURACY, -1)):
        mine = real[real["metric"] == metric].set_index("unit")["value"]
        assert levels.floor(metric).by_unit == mine.to_dict()
        assert mine.to_numpy() == pytest.approx(FLOORS[metric], rel=0.1)
        above = sign * (raw(three, "fixed 1", "d4@3", metric) - mine)
        excess = levels.excess(("fixed 1", HALF), metric)
        assert excess.values == pytest.approx(above.to_numpy())
    assert not levels.floor(NLL) and not levels.excess(("fixed 1", HALF), NLL)
    assert "real" not in {way.name for way in levels.ways}


def test_differences_are_corrected_over_schedules(three):
    levels = Levels(three)
    table = levels.differences
    assert set(table["schedule"]) == set(TRAINED[1:])
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
    assert (row["over"], row["units"]) == ("units", 3)


def test_no_control_gives_an_empty_table():
    table = Levels(small(schedules=("fixed 0.1", "fixed 1"))).differences
    assert table.empty
    assert {"damage", "p_value", "p_holm", "over", "units"} <= set(table.columns)


def test_trained_is_the_full_network_and_the_switch_trained_for(three):
    table = Levels(three).models
    assert table["trained"].dtype == bool
    trained = {(r.schedule, r.plan) for r in table.itertuples() if r.trained}
    assert trained == {(s, "full") for s in FEW} | {(s, "d4@3") for s in TRAINED[1:]}


def test_unfinished_names_what_has_no_numbers():
    status = {("progressive", 1, None): "diverged", ("fixed 1", 0, HALF): "failed"}
    table = Levels(small(units=(0, 1), status=status)).unfinished
    assert list(table.columns) == ["schedule", "unit", "seed", "plan", "status"]
    assert {tuple(row) for row in table.to_numpy()} == {
        ("fixed 1", 0, 0, "d4@3", "failed"),
        *(("progressive", 1, 1, plan.label, "diverged") for plan in PLANS),
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


def test_interval_over_five_units_covers():
    draws = np.random.default_rng(11).normal(0.4, 0.1, (20_000, 5))
    # By the closed form at once, and by ours on some of them.
    half_widths = stats.t.ppf(0.975, 4) * draws.std(axis=1, ddof=1) / math.sqrt(5)
    covered = np.abs(draws.mean(axis=1) - 0.4) <= half_widths
    assert covered.mean() == pytest.approx(0.95, abs=0.007)  # four and a half standard errors
    for row, half_width in zip(draws[:200], half_widths, strict=False):
        interval = paired_t(row)
        assert interval.high - interval.estimate == pytest.approx(half_width, rel=1e-9)
