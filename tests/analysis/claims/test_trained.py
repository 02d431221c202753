"""What is asked of trained networks, claim by claim, from frames with planted answers."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from ledger_frames import (
    AGAINST,
    CLAIMS,
    FEWEST,
    FREE,
    LATER,
    PLANS,
    SCHEDULES,
    SIX,
    first,
    judged,
    ledger,
    make,
    shifted,
    verdicts,
    without,
)
from pareto_frames import (
    ACCURACY,
    BLIND_FD,
    FD,
    HALF,
    HOLLOW,
    NLL,
    PAPER_COST,
    QUARTER,
    pareto_file,
)

from analysis import numbers
from analysis.claims.rows import Kind
from analysis.claims.rules import UNCLEAR, undecided
from analysis.claims.trained import Trained
from analysis.metrics import parse_metric
from analysis.statistics.intervals import Verdict, holm
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.noninferiority import fieller


@pytest.fixture(scope="module")
def free():
    return ledger()


def test_a_loss_of_the_full_network_is_a_share_of_half_the_layers_damage():
    said = (
        r"beyond the margin: (19|20)\.\d+ \[\d+\.\d+, \d+\.\d+\] % of half the layers' untrained "
        r"damage lost \(margin 2 %\)"
    )
    assert re.fullmatch(said, first(ledger(AGAINST)["C7a"]).said)


def test_the_fewest_layers_are_a_line_beside_the_claim():
    row = ledger(FREE | {"progressive": FREE["progressive"] | {1: 4.0}})["C4"]
    assert row.verdict is Verdict.REPRODUCED
    assert row.of(Kind.QUALITY)[-1].verdict is Verdict.CONTRADICTED


def test_a_gain_is_no_loss():
    """Also where it is large, and known so exactly that equivalence would be rejected."""
    rows = ledger(FREE | {"progressive": {8: 2.4, 4: 2.5, 2: 2.6, 1: 2.7}})
    assert set(verdicts(rows).values()) == {Verdict.REPRODUCED}
    for claim in ("C4", "C7a", "C8"):
        test = first(rows[claim]).tests[0]
        assert test.interval.high < 0 and test.outcome == 1
        assert "gained" in first(rows[claim]).said


def test_a_small_loss_within_the_margin_is_none(free):
    test = first(free["C4"]).tests[0]
    assert test.outcome == 1 and test.interval.low > 0  # a loss, significantly
    assert (test.margin, test.units) == (0.05, SIX)


def test_a_share_is_of_the_untrained_damage_of_its_own_plan():
    frame = make()
    levels, rows = Levels(frame), judged(frame)
    wanted = {"C4": HALF, "C7a": FULL, "C8": LATER}
    for claim, plan in wanted.items():
        way = "progressive for 4" if claim == "C8" else "progressive"
        loss = levels.paired((way, plan), ("base", FULL), FD).values
        untrained = levels.untrained(HALF if plan.is_full else plan, FD).values
        test = first(rows[claim]).tests[0]
        assert test.share == fieller(loss, untrained)
        assert test.interval.estimate == pytest.approx(loss.mean())
    assert [first(rows[claim]).tests[0].margin for claim in wanted] == [0.05, 0.02, 0.10]
    assert [line.tests[0].margin for line in rows["C4"].of(Kind.QUALITY)] == [0.05, 0.10, 0.10]


def test_the_control_stands_beside_the_full_network_and_decides_nothing(free):
    own, control = (t for t in first(free["C7a"]).tests if t.metric.name == FD)
    assert own.outcome == 1 and "control" in control.label and control.outcome == 0
    worse = ledger(FREE | {"control": AGAINST["progressive"]})
    assert verdicts(worse) == verdicts(free)


@pytest.fixture(scope="module")
def nothing_lost():
    """The base loses as much with every plan as with all its layers, give or take."""
    frame = make(FREE | {"base": dict.fromkeys(FREE["base"], 2.8)})
    untrained = frame["schedule"].isin(["base"]) & (frame["family"] != "full")
    hollow = {NLL: -HOLLOW, FD: -4 * HOLLOW, BLIND_FD: -4 * HOLLOW}
    frame = shifted(frame, untrained & (frame["plan"] == LATER.label), hollow)
    return shifted(frame, untrained, dict.fromkeys(hollow, 0.4), alternating=True)


def test_a_share_of_nothing_cannot_be_resolved(nothing_lost):
    rows = judged(nothing_lost)
    for claim in ("C3", "C4", "C7a", "C8"):
        assert rows[claim].verdict is Verdict.UNRESOLVED
        assert first(rows[claim]).reason == UNCLEAR
    assert rows["C2"].verdict is Verdict.REPRODUCED


def test_a_share_of_nothing_is_not_printed(nothing_lost):
    """But the loss, and that there was nothing clear to lose; also below five units."""
    for units in (SIX, (0, 1)):
        rows = judged(nothing_lost[nothing_lost["unit"].isin(units)])
        for kind in (Kind.QUALITY, Kind.LIKELIHOOD):
            for claim in ("C4", "C7a", "C8"):
                line = first(rows[claim], kind)
                loss = numbers.interval(line.tests[0].interval)
                assert line.said == f"loss {loss}, {UNCLEAR}"
            assert first(rows["C3"], kind).said.count(UNCLEAR) == 2
            assert not any("%" in first(rows[claim], kind).said for claim in CLAIMS)


def test_of_one_unit_its_samples_say_whether_there_was_damage(nothing_lost):
    found = make(units=(3,))
    assert UNCLEAR in first(judged(found)["C4"]).said  # no replicates: nothing is known
    assert "% of the untrained damage remains" in first(judged(measured(found))["C4"]).said
    hollow = nothing_lost[nothing_lost["unit"] == 0]
    assert first(judged(measured(hollow))["C4"]).said.endswith(UNCLEAR)


def measured(frame):
    """With replicates of every subnet, which give its scores a jackknife error of 0.08."""
    subnets, moves = frame["plan"] != "full", np.linspace(-0.03, 0.03, 20)
    by = [dict.fromkeys((NLL, FD, BLIND_FD), move) for move in moves]
    blocks = [shifted(frame, subnets, one).assign(group=g) for g, one in enumerate(by)]
    return pd.concat([frame, *blocks], ignore_index=True)


def test_untested_without_half_the_layers():
    rows = ledger(plans=(FULL, QUARTER))
    untested = [claim for claim, v in verdicts(rows).items() if v is Verdict.UNTESTED]
    assert untested == ["C2", "C3", "C7a", "C8"]
    assert ledger(schedules=("base", "fixed 1", "progressive"))["C2"].verdict is Verdict.UNTESTED


def test_a_study_of_the_later_switch_tests_it_alone(free):
    """As a pareto study with that switch point is, by the same margin."""
    assert free["C8"].verdict is Verdict.REPRODUCED
    for default, verdict in ((2, Verdict.REPRODUCED), (3, Verdict.UNTESTED)):
        row = ledger(later=False, facts={"default_switch": default})["C8"]
        assert row.verdict is verdict
    row = ledger(later=False, facts={"default_switch": 2})["C8"]
    assert first(row).tests[0].margin == 0.10


def test_a_later_switch_needs_models_of_its_own():
    row = ledger(later=False)["C8"]
    assert row.verdict is Verdict.UNTESTED
    assert "trained for a switch point one scale later" in (row.lines[0].reason)


def test_half_a_claim_is_not_reproduced_but_may_be_contradicted():
    assert ledger(plans=(FULL, HALF, LATER))["C4"].verdict is Verdict.INCONCLUSIVE
    assert ledger(AGAINST, plans=(FULL, HALF, LATER))["C4"].verdict is Verdict.CONTRADICTED
    lost = judged(without(make(), plan=QUARTER))
    assert lost["C4"].verdict is Verdict.INCONCLUSIVE


def test_a_study_speaks_of_its_own_rate_schedule(free):
    for here, other in (("cosine", "constant"), ("constant", "cosine")):
        row = free["C3"] if here == "cosine" else ledger(facts={"lr_schedule": here})["C3"]
        assert [(line.part, line.kind, line.verdict) for line in row.lines] == [
            (f"{here} rate", Kind.QUALITY, Verdict.REPRODUCED),
            (f"{here} rate", Kind.LIKELIHOOD, Verdict.REPRODUCED),
            (f"{other} rate", Kind.QUALITY, Verdict.UNTESTED),
        ]
        assert row.lines[2].reason == f"needs a study with --lr-schedule {other}"


def test_better_on_one_and_no_loss_on_the_other_are_both_needed(free):
    # Within its margin on both, and better on neither: no claim that a frontier is broken.
    same = FREE | {"progressive": FREE["fixed 2/3"]}
    assert ledger(same)["C3"].verdict is Verdict.INCONCLUSIVE
    # Better on the subnet, and the full network a little worse, within 2 % of 1 nat.
    better = FREE["fixed 2/3"] | {8: 2.91, 4: 2.9}
    assert ledger(FREE | {"progressive": better})["C3"].verdict is Verdict.REPRODUCED
    worse = better | {8: 2.94}
    row = ledger(FREE | {"progressive": worse})["C3"]
    assert row.verdict is Verdict.CONTRADICTED
    tests = [test for test in first(row).tests if test.metric.name == FD]
    assert [test.outcome for test in tests] == [0, 1, -1, 1, 0]
    found = [test.p_value for test in tests[:2]]
    assert [test.p_holm for test in tests[:2]] == pytest.approx(holm(found))
    assert "polyline" in tests[-1].label


def case(frame=None, **facts) -> Trained:
    known = {"plans": PLANS, "schedules": SCHEDULES} | facts
    return Trained(
        study=pareto_file(**known), levels=Levels(make(units=(0,)) if frame is None else frame)
    )


def test_fixed_ends_are_the_extreme_shares():
    frame = make()
    ends = case(frame[::-1]).fixed_ends  # whatever the order
    assert [way.name for way in ends] == ["fixed 0.1", "fixed 1"]
    assert case(make(schedules=("control", "fixed 1"))).fixed_ends is None


def test_subnets_of_half_and_a_quarter_and_the_fewest():
    found = case()
    assert (found.half, found.subnet(4), found.shallowest) == (HALF, QUARTER, FEWEST)
    without = case(plans=(FULL, PlanKey(6, 3), QUARTER))
    assert (without.half, without.subnet(4), without.shallowest) == (None, QUARTER, None)
    earlier = case(train_switch=2)
    assert (earlier.half, earlier.subnet(4)) == (PlanKey(4, 2), PlanKey(2, 2))


def test_memory_agrees_at_the_published_switch_only(free):
    row = free["C5"]
    saved = [[t.interval.estimate for t in line.tests] for line in row.lines]
    kv = {
        5: (16382.8, 9351.6, 4078.1),
        6: (17091.6, 10465.3, 5495.6),
        7: (18351.6, 12445.3, 8015.6),
    }
    assert saved == [pytest.approx([1 - one / 28687.5 for one in kv[n]]) for n in (5, 6, 7)]
    against, agrees = Verdict.CONTRADICTED, Verdict.REPRODUCED
    assert [line.verdict for line in row.lines] == [against, agrees, against]
    assert row.setting == "the paper's setting"
    own = row.lines[1]
    assert own.said == "40 / 64 / 81 % agrees with the abstract's 40 / 65 / 80 % at N = 6 only"
    assert "measured KV equals the arithmetic in 192 of 192 cells here" in own.reason


def test_memory_contradicted_by_another_arithmetic():
    cost = PAPER_COST | {"d2@6": PAPER_COST["d2@6"] | {"kv_mib_reference": 28688 * 0.3}}
    row = ledger(facts={"paper_cost": cost})["C5"]
    assert row.verdict is Verdict.CONTRADICTED
    assert [test.outcome for test in row.lines[1].tests] == [1, 1, -1]
    assert not row.lines[1].said.endswith("only")


def test_memory_untested_without_arithmetic():
    rows = ledger(facts={"paper_cost": {"full": PAPER_COST["full"]}})
    assert rows["C5"].verdict is Verdict.UNTESTED
    assert rows["C6"].lines[0].reason == "needs five turns on a GPU with the official geometry"


def test_measured_memory_that_differs_is_counted():
    frame = make()
    there = (frame["metric"] == "kv_bytes/peak") & (frame["plan"] == QUARTER.label)
    frame.loc[there & (frame["schedule"] == "progressive"), "value"] += 1
    assert "186 of 192 cells" in judged(frame)["C5"].lines[1].reason
    alone = frame[~frame["metric"].str.startswith("kv_bytes")]
    assert "the arithmetic alone" in judged(alone)["C5"].lines[1].reason


def test_accuracy_is_of_samples_and_has_to_climb_the_ladder_too():
    study, accuracy = pareto_file(units=SIX), parse_metric(ACCURACY)
    assert "no ladder" in undecided(study, accuracy, 6)
    for late, why in ((True, ""), (False, "accuracy failed the ladder at the late scales")):
        climbed = study.model_copy(update={"ladder": {ACCURACY: {"late": late}}})
        assert undecided(climbed, accuracy, 6) == why
