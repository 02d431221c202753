"""Damage and its maps, on frames whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sensitivity_frames import FD, FIVE, GROUPS, HALF, TEN, make_frame

from analysis.maps.scale_depth import DepthMaps
from analysis.metrics import parse_metric
from analysis.statistics.damage import Damages


def damage_of(frame):
    return Damages(frame).table


def test_damage_is_paired_and_signed():
    table = damage_of(make_frame(units=(0, 1, 2), unit_noise=0.0))
    early = table[table["window"] == "early"].set_index("metric")
    assert early.loc[FD, "damage"] == pytest.approx(6.0, abs=0.1)
    assert early.loc["class_accuracy", "damage"] == pytest.approx(0.2, abs=0.01)  # accuracy fell
    assert early.loc[FD, "units"] == 3 and early.loc[FD, "count"] == 3000
    assert early.loc["kv_bytes/peak", "damage"] < 0
    assert np.isnan(early.loc["kv_bytes/peak", "p_value"])


def test_damage_by_hand_over_units():
    lost = {0: 0.5, 1: 0.7, 2: 0.9}
    frame = make_frame(units=tuple(lost))
    whole = frame["group"].isna() & (frame["metric"] == FD)
    frame = frame[whole & frame["plan"].isin(["full", "d4 on scale 1"])].copy()
    frame["value"] = frame["unit"].map(lambda u: float(2 + u)) + frame["unit"].map(lost).where(
        frame["family"] == "scale", 0.0
    )
    row = damage_of(frame).iloc[0]
    by_hand = stats.ttest_1samp(list(lost.values()), 0)
    assert row["damage"] == pytest.approx(0.7) and row["degrees_of_freedom"] == 2
    assert row["p_value"] == pytest.approx(by_hand.pvalue)


def test_one_unit_has_the_interval_of_its_samples():
    one = damage_of(make_frame(units=(0,)))
    assert one[one["metric"] == FD]["degrees_of_freedom"].eq(GROUPS - 1).all()
    three = damage_of(make_frame(units=(0, 1, 2)))
    assert three[three["metric"] == FD]["degrees_of_freedom"].eq(2).all()


def maps_of(frame):
    damages = Damages(frame)
    return DepthMaps(
        damage=damages.table, failures=damages.failures, selector="equidistant", patch_nums=FIVE
    )


def fd_by_scale(frame, *, per_token=False):
    return maps_of(frame).scale_depth(parse_metric(FD), per_token=per_token)


def test_scale_heatmap_per_token():
    frame = make_frame()
    per_scale, per_token = fd_by_scale(frame), fd_by_scale(frame, per_token=True)
    assert per_scale.rows == ("6", "4", "2") and per_scale.columns == ("1", "2", "3", "4", "5")
    assert per_token.values == pytest.approx(per_scale.values / np.square(FIVE))
    assert np.array_equal(per_token.p_holm, per_scale.p_holm)
    assert per_scale.values[1, 0] == pytest.approx(3.0, abs=0.1)


def test_failed_cell_is_marked_not_missing():
    frame = make_frame(fail=(("d2 on scale 3", None),))
    data = fd_by_scale(frame)
    assert data.failed[2, 2] and np.isnan(data.values[2, 2])
    assert data.failed.sum() == 1
    assert Damages(frame).failures["plan"].tolist() == ["d2 on scale 3"]


def test_switch_map_and_savings():
    maps = maps_of(make_frame())
    kv = maps.saving(parse_metric("kv_bytes/peak"), "KV saved")
    assert kv.values[1, 0] == pytest.approx(0.5)  # half the layers everywhere
    assert (kv.values > 0).all() and kv.share
    quality = maps.switch_depth(parse_metric(FD))
    assert quality.columns == ("0", "1", "2", "3", "4")
    assert (np.diff(quality.values, axis=1) < 0).all()  # a later switch hurts less


def test_windows_at_half_depth():
    metrics = [parse_metric(FD), parse_metric("kv_bytes/peak")]
    frame = make_frame(fail=(("d4 on middle", None),))
    found = maps_of(frame).windows(("early", "middle", "late"), HALF, metrics)
    assert found.loc[FD, "damage"].tolist() == pytest.approx(
        [6.0, np.nan, 2.0], abs=0.2, nan_ok=True
    )
    assert found.loc["kv_bytes/peak", "failed"].tolist() == [False, True, False]


def test_propagation_map_is_causal():
    frame = make_frame()
    data = maps_of(frame).propagation(HALF)
    assert np.isnan(data.values[np.tril_indices(5, -1)]).all()
    assert data.tests == 15
    assert data.values[0, 0] > data.values[0, 1] > data.values[0, 2] > 0
    leaky = frame.copy()
    leak = (leaky["plan"] == "d4 on scale 3") & (leaky["metric"] == "nll/scale_01")
    leaky.loc[leak, "value"] += 0.5
    assert maps_of(leaky).propagation(HALF).values[2, 0] == pytest.approx(0.5)


def test_propagation_of_a_failed_cell_is_failed_from_its_scale_on():
    data = maps_of(make_frame(fail=(("d4 on scale 3", None),))).propagation(HALF)
    assert data.failed.sum() == 3 and data.failed[2, 2:].all()


def test_two_thousand_plans_are_analysed_in_seconds():
    """The frame is grouped once: no scan of it for each plan."""
    frame = make_frame(patch_nums=TEN, depths=(6, 4, 2), units=(0, 1), groups=2)
    frame = frame[frame["metric"].isin([FD, "nll/mean"])]
    plans = frame[frame["family"] != "full"]
    many = [plans.assign(plan=plans["plan"].astype(str) + f" {i}") for i in range(32)]
    frame = pd.concat([frame[frame["family"] == "full"], *many])
    assert frame["plan"].nunique() > 2000
    start = time.process_time()
    assert len(Damages(frame).table) > 4000
    assert time.process_time() - start < 8


def test_selectors_do_not_mix():
    frame = make_frame(selectors=("equidistant", "first"))
    shifted = frame.copy()
    change = (shifted["selector"] == "first") & (shifted["family"] != "full")
    shifted.loc[change & (shifted["metric"] == FD), "value"] += 10
    assert np.array_equal(fd_by_scale(frame).values, fd_by_scale(shifted).values)
