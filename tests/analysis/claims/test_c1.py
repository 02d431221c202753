"""The asymmetry statistic and its verdicts, on frames whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from sensitivity_frames import (
    EQUAL,
    FD,
    FIVE,
    KID,
    LATE,
    MIXED,
    REPRODUCED,
    TEN,
    WINDOWS,
    Truth,
    make_frame,
    sensitivity_facts,
)

from analysis.claims.c1 import dissent, judge_c1, nll_dissent
from analysis.statistics.asymmetry import Normalisation, asymmetry_study
from analysis.statistics.damage import base_seeds, damage_table, paired_differences
from analysis.statistics.intervals import Verdict, holm
from analysis.study_file import SensitivityFile


def study_of(frame, *, patch_nums=FIVE, selector="equidistant"):
    study = SensitivityFile.model_validate(sensitivity_facts(Truth(patch_nums=patch_nums)))
    networks = len(base_seeds(frame))
    return asymmetry_study(paired_differences(frame), study, selector=selector, networks=networks)


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [
        (REPRODUCED, Verdict.REPRODUCED),
        (LATE, Verdict.CONTRADICTED),
        (MIXED, Verdict.DISAGREE),
        (EQUAL, Verdict.INCONCLUSIVE),
    ],
)
@pytest.mark.parametrize("base_seeds", [(0,), (0, 1, 2)])
def test_verdicts(effects, verdict, base_seeds):
    study = study_of(make_frame(effects=effects, base_seeds=base_seeds, seed=4))
    assert study.verdict() is verdict
    claim = judge_c1(study, dataset="shapes")
    assert claim.verdict is verdict
    assert study.over_seeds == (len(base_seeds) > 1)
    signs = [a.sign for a in study.evidence]
    assert [component.outcome for component in claim.components] == signs


def test_untested_without_both_windows():
    frame = make_frame(fail=(("d4 on late", None),))
    assert study_of(frame).verdict() is Verdict.UNTESTED
    assert judge_c1(study_of(frame), dataset="shapes").verdict is Verdict.UNTESTED


def test_one_set_is_inconclusive():
    study = study_of(make_frame(sample_sets=1))
    assert study.verdict() is Verdict.INCONCLUSIVE
    assert all(np.isnan(a.difference.low) for a in study.estimates if a.metric.decides)


def test_nll_never_decides():
    frame = make_frame(effects=EQUAL, nll_effects=(0.05, 0.9), seed=4)
    study = study_of(frame)
    nll = next(a for a in study.under(Normalisation.SCALE) if not a.metric.decides)
    assert nll.sign == -1 and np.isnan(nll.p_holm)
    claim = judge_c1(study, dataset="shapes")
    assert claim.verdict is Verdict.INCONCLUSIVE
    assert any("NLL" in sentence for sentence in nll_dissent(study))


@pytest.mark.parametrize("patch_nums", [FIVE, TEN])
def test_normalisations_divide_by_what_they_name(patch_nums):
    frame = make_frame(patch_nums=patch_nums)
    study = study_of(frame, patch_nums=patch_nums)
    windows = WINDOWS[len(patch_nums)]
    raw = study.under(Normalisation.WINDOW)[0]
    kv = damage_table(paired_differences(frame), over_seeds=False)
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
    frame = make_frame(patch_nums=TEN, effects=EQUAL, seed=4)
    study = study_of(frame, patch_nums=TEN)
    assert judge_c1(study, dataset="shapes").verdict is Verdict.INCONCLUSIVE
    assert any(s.startswith("Per window") and "contradicted" in s for s in dissent(study))


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
