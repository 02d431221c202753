"""The asymmetry statistic and every verdict on C1, on frames whose truth is known."""

from __future__ import annotations

import pytest
from sensitivity_frames import (
    BLIND_FD,
    EQUAL,
    FD,
    FIVE,
    LATE,
    MIXED,
    REPRODUCED,
    TEN,
    WINDOWS,
    Truth,
    make_frame,
    sensitivity_facts,
)

from analysis.claims.c1 import judge_c1
from analysis.claims.rows import Kind
from analysis.frame import checked_frame
from analysis.statistics.asymmetry import Normalisation, asymmetry_study
from analysis.statistics.damage import Damages
from analysis.statistics.intervals import Verdict
from analysis.study_file import SensitivityFile

SIX = tuple(range(6))
# More per scale early, as much per window: there are as many early scales as late ones.
UNCLEAR = {name: (both[0], both[0]) for name, both in EQUAL.items()}


def study_of(frame, *, patch_nums=FIVE, **facts):
    truth = Truth(patch_nums=patch_nums)
    study = SensitivityFile.model_validate(sensitivity_facts(truth, **facts))
    frame = checked_frame(frame)
    return asymmetry_study(Damages(frame), frame, study, selector="equidistant"), study


def judged(frame, **settings):
    return judge_c1(*study_of(frame, **settings))


def make(effects=REPRODUCED, **settings):
    usual = {"units": SIX, "effects": effects, "depths": (), "groups": 0}
    return make_frame(**usual | settings)


@pytest.mark.parametrize(
    ("effects", "verdict"),
    [(REPRODUCED, Verdict.REPRODUCED), (LATE, Verdict.CONTRADICTED), (MIXED, Verdict.DISAGREE)],
)
def test_verdicts(effects, verdict):
    row = judged(make(effects))
    assert row.verdict is verdict
    names = [test.metric.name for test in row.lines[0].tests]
    assert names == [FD, BLIND_FD]  # no other metric decides
    assert row.lines[0].tests[0].units == SIX


def alike():
    """Units whose asymmetries take turns: nothing can be told."""
    frame = make(UNCLEAR, noise=0.0, unit_noise=0.0)
    late = frame["window"].isin(("late",)) & ~frame["metric"].str.startswith(("kv", "flops"))
    turn = 2.0 * (frame["unit"] % 2) - 1.0
    return frame.assign(value=frame["value"] + late * turn)


@pytest.mark.parametrize(
    ("power", "verdict"),
    [(None, Verdict.INCONCLUSIVE), (0.8, Verdict.INCONCLUSIVE), (0.5, Verdict.UNRESOLVED)],
)
def test_what_is_neither(power, verdict):
    planned = None if power is None else {"C1": {FD: power}}
    assert judged(alike(), power=planned).verdict is verdict


def test_below_five_units_nothing_is_decided():
    for units in ((0,), (0, 1, 2, 3)):
        row = judged(make(units=units, groups=20))
        assert row.verdict is Verdict.UNRESOLVED
        assert "a verdict needs 5" in row.lines[0].reason


def test_without_a_ladder_no_metric_of_samples_has_a_vote():
    row = judged(make(), ladder=None)
    assert row.verdict is Verdict.UNRESOLVED
    assert row.lines[0].reason == "no ladder was climbed with these features at so many samples"
    assert row.lines[1].verdict is not Verdict.UNRESOLVED, "likelihood needs none"


@pytest.mark.parametrize("zone", ["early", "late"])
def test_both_windows_must_have_been_seen_on_the_ladder(zone):
    passed = dict.fromkeys(("early", "middle", "late"), True)
    assert judged(make(), ladder={FD: passed}).verdict is Verdict.REPRODUCED
    row = judged(make(), ladder={FD: passed | {zone: False}})
    assert row.verdict is Verdict.UNRESOLVED
    assert row.lines[0].reason == f"FD failed the ladder at the {zone} scales"


def test_untested_without_both_windows():
    row = judged(make(fail=(("d4 on late", None),)))
    assert row.verdict is Verdict.UNTESTED and not row.lines[0].tests


def test_likelihood_has_a_line_and_never_decides():
    row = judged(make(nll_effects=(0.05, 0.9)))
    (likelihood,) = row.of(Kind.LIKELIHOOD)
    assert (row.verdict, likelihood.verdict) == (Verdict.REPRODUCED, Verdict.CONTRADICTED)


@pytest.mark.parametrize("patch_nums", [FIVE, TEN])
def test_normalisations_divide_by_what_they_name(patch_nums):
    study, _ = study_of(make(patch_nums=patch_nums), patch_nums=patch_nums)
    windows = WINDOWS[len(patch_nums)]
    raw = study.under(Normalisation.WINDOW)[0]
    for normalisation, n in {
        Normalisation.SCALE: {w: len(s) for w, s in windows.items()},
        Normalisation.TOKEN: {
            w: sum(patch_nums[k - 1] ** 2 for k in s) for w, s in windows.items()
        },
    }.items():
        a = study.under(normalisation)[0]
        assert (a.early_divisor, a.late_divisor) == pytest.approx((n["early"], n["late"]))
        assert a.early.estimate == pytest.approx(raw.early.estimate / n["early"])
        assert a.late.estimate == pytest.approx(raw.late.estimate / n["late"])
        assert a.difference.estimate == pytest.approx(a.early.estimate - a.late.estimate)


def test_the_triangle_has_every_pair_of_windows():
    study, _ = study_of(make(depths=(4,)))
    pairs = {(a, b) for a in range(1, 5) for b in range(a + 1, 6)}
    assert set(study.triangle[FD]) == pairs
    assert study.triangle[FD][2, 4].units == len(SIX)
    assert study.triangle[FD][2, 4].interval.degrees_of_freedom == len(SIX) - 1


def test_the_claim_s_own_split_is_of_every_unit_that_has_its_windows():
    """Where the others were measured in the first unit alone."""
    frame = make(depths=(4,))
    alone = frame[frame["family"].isin(("full", "window", "real")) | (frame["unit"] == SIX[0])]
    study, file = study_of(alone)
    own = file.windows["early"][-1], file.windows["late"][0]
    assert {pair: one.units for pair, one in study.triangle[FD].items()} == {
        pair: len(SIX) if pair == own else 1 for pair in study.triangle[FD]
    }


def test_a_unit_without_a_window_is_left_out():
    row = judged(make(fail=(("d4 on late", 1),)))
    assert row.lines[0].tests[0].units == (0, 2, 3, 4, 5)
