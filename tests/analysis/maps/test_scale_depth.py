"""Damage and its maps, on frames whose truth is known."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sensitivity_frames import FD, FIVE, HALF, TEN, make_frame

from analysis.frame import checked_frame
from analysis.maps.scale_depth import DepthMaps
from analysis.metrics import parse_metric
from analysis.statistics.damage import base_seeds, damage_table, failed_cells, paired_differences


def damage_of(frame):
    return damage_table(paired_differences(frame), over_seeds=len(base_seeds(frame)) > 1)


def test_damage_is_paired_and_signed():
    table = damage_of(make_frame(noise=0.02))
    early = table[table["window"] == "early"].set_index("metric")
    assert early.loc[FD, "damage"] == pytest.approx(6.0, abs=0.1)
    assert early.loc["class_accuracy", "damage"] == pytest.approx(0.2, abs=0.01)  # accuracy fell
    # The sets differ by 0.2, the pairs only by 0.06: an unpaired interval would be far wider.
    assert early.loc[FD, "standard_error"] < 0.06
    assert early.loc[FD, ["base_seeds", "sets", "count"]].tolist() == [1, 8, 2000]
    assert early.loc["kv_bytes/peak", "damage"] < 0
    assert np.isnan(early.loc["kv_bytes/peak", "p_value"])


def test_damage_by_hand():
    rows = [("full", "full", pd.NA, s, v) for s, v in enumerate([1.0, 2.0, 4.0])]
    rows += [("scale", "d1 on scale 1", 1, s, v) for s, v in enumerate([1.5, 2.7, 4.9])]
    frame = pd.DataFrame(
        [
            {
                "study": "s",
                "base_seed": 0,
                "family": f,
                "plan": c,
                "scale": k,
                "window": pd.NA,
                "switch": pd.NA,
                "subnet_depth": k,
                "selector": "first",
                "cell_digest": c,
                "status": "finished",
                "metric": FD,
                "set": s,
                "value": v,
                "count": 250,
            }
            for f, c, k, s, v in rows
        ]
    )
    row = damage_of(checked_frame(frame)).iloc[0]
    by_hand = stats.ttest_1samp([0.5, 0.7, 0.9], 0)
    assert row["damage"] == pytest.approx(0.7)
    assert row["p_value"] == pytest.approx(by_hand.pvalue)


def test_several_base_seeds_pool_by_network():
    one = damage_of(make_frame(base_seeds=(0,)))
    frame = make_frame(base_seeds=(0, 1, 2), seed_noise=0.3)
    three = damage_of(frame)
    pick = three[(three["window"] == "early") & (three["metric"] == FD)].iloc[0]
    assert pick["degrees_of_freedom"] == 2 and pick["base_seeds"] == 3
    means = paired_differences(frame).query("window == 'early' and metric == @FD")
    means = means.groupby("base_seed")["damage"].mean()
    assert pick["p_value"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert one[one["metric"] == FD]["degrees_of_freedom"].eq(7).all()


def maps_of(frame):
    return DepthMaps(
        damage=damage_of(frame),
        failures=failed_cells(frame),
        selector="equidistant",
        patch_nums=FIVE,
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
    assert failed_cells(frame)["plan"].tolist() == ["d2 on scale 3"]


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
        [6.0, np.nan, 2.0], abs=0.1, nan_ok=True
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
    pairs = paired_differences(make_frame(patch_nums=TEN, depths=(6, 4, 2), nll_sets=4))
    many = pd.concat([pairs.assign(plan=pairs["plan"] + f" {i}") for i in range(32)])
    assert many["plan"].nunique() > 2000
    start = time.process_time()
    assert len(damage_table(many, over_seeds=False)) > 30_000
    assert time.process_time() - start < 5


def test_selectors_do_not_mix():
    frame = make_frame(selectors=("equidistant", "first"))
    shifted = frame.copy()
    change = (shifted["selector"] == "first") & (shifted["family"] != "full")
    shifted.loc[change & (shifted["metric"] == FD), "value"] += 10
    assert np.array_equal(fd_by_scale(frame).values, fd_by_scale(shifted).values)
