"""Damage, maps, the asymmetry statistic and its verdicts, on frames whose truth is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sensitivity_frames import FD, FIVE, KID, REPRODUCED, TEN, WINDOWS, make_frame

from analysis.claims.c1 import judge_c1
from analysis.frame import COLUMNS
from analysis.maps.scale_depth import (
    propagation_map,
    saving_heatmap,
    scale_depth_heatmap,
    switch_depth_heatmap,
)
from analysis.metrics import parse_metric
from analysis.statistics.asymmetry import Normalisation, asymmetry_study
from analysis.statistics.damage import damage_table, failed_cells, paired_differences
from analysis.statistics.intervals import Verdict, holm


def study_of(frame, *, patch_nums=FIVE, depth=8, selector="equidistant"):
    return asymmetry_study(
        frame,
        patch_nums=patch_nums,
        windows=WINDOWS[len(patch_nums)],
        half_depth=depth // 2,
        selector=selector,
    )


def test_damage_is_paired_and_signed():
    table = damage_table(make_frame(noise=0.02))
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
                "cell": c,
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
    ).astype(COLUMNS)
    row = damage_table(frame).iloc[0]
    by_hand = stats.ttest_1samp([0.5, 0.7, 0.9], 0)
    assert row["damage"] == pytest.approx(0.7)
    assert row["p_value"] == pytest.approx(by_hand.pvalue)


def test_several_base_seeds_pool_by_network():
    one = damage_table(make_frame(base_seeds=(0,)))
    frame = make_frame(base_seeds=(0, 1, 2), seed_noise=0.3)
    three = damage_table(frame)
    pick = three[(three["window"] == "early") & (three["metric"] == FD)].iloc[0]
    assert pick["degrees_of_freedom"] == 2 and pick["base_seeds"] == 3
    means = paired_differences(frame).query("window == 'early' and metric == @FD")
    means = means.groupby("base_seed")["damage"].mean()
    assert pick["p_value"] == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert one[one["metric"] == FD]["degrees_of_freedom"].eq(7).all()


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        (REPRODUCED, Verdict.REPRODUCED),
        ({FD: (1.0, 3.0), KID: (0.01, 0.03), "class_accuracy": (0.03, 0.1)}, Verdict.CONTRADICTED),
        ({FD: (3.0, 1.0), KID: (0.01, 0.03), "class_accuracy": (0.05, 0.05)}, Verdict.DISAGREE),
        ({FD: (3.0, 3.0), KID: (0.02, 0.02), "class_accuracy": (0.05, 0.05)}, Verdict.INCONCLUSIVE),
    ],
)
@pytest.mark.parametrize("base_seeds", [(0,), (0, 1, 2)])
def test_verdicts(effects, verdict, base_seeds):
    study = study_of(make_frame(effects=effects, base_seeds=base_seeds, seed=4))
    assert study.verdict() is verdict
    claim = judge_c1(study, dataset="shapes")
    assert claim.verdict is verdict
    assert claim.network_only == (len(base_seeds) == 1)


def test_untested_without_both_windows():
    frame = make_frame(fail=(("d4 on late", None),))
    assert study_of(frame).verdict() is Verdict.UNTESTED
    assert judge_c1(study_of(frame), dataset="shapes").verdict is Verdict.UNTESTED


def test_one_set_is_inconclusive():
    study = study_of(make_frame(sample_sets=1))
    assert study.verdict() is Verdict.INCONCLUSIVE
    assert all(np.isnan(a.difference.low) for a in study.estimates if a.metric.decides)


def test_nll_never_decides():
    no_effect = {FD: (3.0, 3.0), KID: (0.02, 0.02), "class_accuracy": (0.05, 0.05)}
    frame = make_frame(effects=no_effect, nll_effects=(0.05, 0.9), seed=4)
    study = study_of(frame)
    nll = next(a for a in study.under(Normalisation.SCALE) if not a.metric.decides)
    assert nll.sign == -1 and np.isnan(nll.p_holm)
    claim = judge_c1(study, dataset="shapes")
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert any("NLL" in sentence for sentence in claim.nll_dissent)


@pytest.mark.parametrize("patch_nums", [FIVE, TEN])
def test_normalisations_divide_by_what_they_name(patch_nums):
    frame = make_frame(patch_nums=patch_nums)
    study = study_of(frame, patch_nums=patch_nums)
    windows = WINDOWS[len(patch_nums)]
    raw = study.under(Normalisation.WINDOW)[0]
    kv = damage_table(frame)
    kv = kv[kv["metric"] == "kv_bytes/peak"].dropna(subset=["window"]).set_index("window")
    for normalisation, n in {
        Normalisation.SCALE: {w: len(s) for w, s in windows.items()},
        Normalisation.TOKEN: {
            w: sum(patch_nums[k - 1] ** 2 for k in s) for w, s in windows.items()
        },
        Normalisation.KV: {w: -kv.loc[w, "damage"] / 2**20 for w in windows},
    }.items():
        a = study.under(normalisation)[0]
        assert (a.early_divisor, a.late_divisor) == pytest.approx((n["early"], n["late"]))
        assert a.early.estimate == pytest.approx(raw.early.estimate / n["early"])
        assert a.late.estimate == pytest.approx(raw.late.estimate / n["late"])
        assert a.difference.estimate == pytest.approx(a.early.estimate - a.late.estimate)


def test_other_normalisation_is_reported_as_dissent():
    # Equal per scale is more per window for the late scales, of which there are more at K = 10.
    equal = {FD: (3.0, 3.0), KID: (0.02, 0.02), "class_accuracy": (0.05, 0.05)}
    claim = judge_c1(
        study_of(make_frame(patch_nums=TEN, effects=equal, seed=4), patch_nums=TEN),
        dataset="shapes",
    )
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert any(s.startswith("Per window") and "contradicted" in s for s in claim.dissent)


def test_holm_runs_over_deciding_metrics():
    group = study_of(
        make_frame(
            effects={FD: (1.0, 0.99), KID: (0.02, 0.0198), "class_accuracy": (0.05, 0.0493)}, seed=9
        )
    )
    group = [a for a in group.under(Normalisation.SCALE) if a.metric.decides]
    expected = holm([a.difference.p_value for a in group])
    assert [a.p_holm for a in group] == pytest.approx(expected)
    assert any(a.p_holm > a.difference.p_value for a in group)


def test_a_network_without_a_window_is_left_out():
    frame = make_frame(base_seeds=(0, 1, 2), fail=(("d4 on late", 1),))
    a = study_of(frame).under(Normalisation.SCALE)[0]
    assert a.base_seeds == 2 and a.difference.degrees_of_freedom == 1


def test_false_alarms_are_rare_where_nothing_is_asymmetric():
    equal = {FD: (1.0, 1.0), KID: (0.02, 0.02), "class_accuracy": (0.05, 0.05)}
    verdicts = [
        study_of(make_frame(effects=equal, depths=(), seed=seed, nll_sets=2)).verdict()
        for seed in range(60)
    ]
    # Holm keeps any false sign below 5 %: 9 of 60 has probability 2e-3 at most.
    assert sum(v is not Verdict.INCONCLUSIVE for v in verdicts) < 9


def maps(frame, **keywords):
    damage, failures = damage_table(frame), failed_cells(frame)
    return scale_depth_heatmap(
        damage,
        failures,
        metric=parse_metric(FD),
        patch_nums=FIVE,
        selector="equidistant",
        **keywords,
    )


def test_scale_heatmap_per_token():
    frame = make_frame()
    per_scale, per_token = maps(frame, per_token=False), maps(frame, per_token=True)
    assert per_scale.rows == ("6", "4", "2") and per_scale.columns == ("1", "2", "3", "4", "5")
    assert per_token.values == pytest.approx(per_scale.values / np.square(FIVE))
    assert np.array_equal(per_token.p_holm, per_scale.p_holm)
    assert per_scale.values[1, 0] == pytest.approx(3.0, abs=0.1)


def test_failed_cell_is_marked_not_missing():
    frame = make_frame(fail=(("d2 on scale 3", None),))
    data = maps(frame, per_token=False)
    assert data.failed[2, 2] and np.isnan(data.values[2, 2])
    assert data.failed.sum() == 1
    assert failed_cells(frame)["cell"].tolist() == ["d2 on scale 3"]


def test_switch_map_and_savings():
    frame = make_frame()
    damage, failures = damage_table(frame), failed_cells(frame)
    kv = saving_heatmap(
        damage,
        failures,
        metric=parse_metric("kv_bytes/peak"),
        title="KV saved",
        scales=5,
        selector="equidistant",
    )
    assert kv.values[1, 0] == pytest.approx(0.5)  # half the layers everywhere
    assert (kv.values > 0).all() and kv.exact
    quality = switch_depth_heatmap(
        damage, failures, metric=parse_metric(FD), scales=5, selector="equidistant"
    )
    assert quality.columns == ("0", "1", "2", "3", "4")
    assert (np.diff(quality.values, axis=1) < 0).all()  # a later switch hurts less


def test_propagation_map_is_causal():
    frame = make_frame()
    data = propagation_map(
        damage_table(frame), failed_cells(frame), depth=4, scales=5, selector="equidistant"
    )
    assert np.isnan(data.values[np.tril_indices(5, -1)]).all()
    assert data.tests == 15
    assert data.values[0, 0] > data.values[0, 1] > data.values[0, 2] > 0
    leaky = frame.copy()
    leak = (leaky["cell"] == "d4 on scale 3") & (leaky["metric"] == "nll/scale_01")
    leaky.loc[leak, "value"] += 0.5
    data = propagation_map(
        damage_table(leaky), failed_cells(leaky), depth=4, scales=5, selector="equidistant"
    )
    assert data.values[2, 0] == pytest.approx(0.5)


def test_selectors_do_not_mix():
    frame = make_frame(selectors=("equidistant", "first"))
    shifted = frame.copy()
    change = (shifted["selector"] == "first") & (shifted["family"] != "full")
    shifted.loc[change & (shifted["metric"] == FD), "value"] += 10
    assert np.array_equal(
        maps(frame, per_token=False).values, maps(shifted, per_token=False).values
    )
