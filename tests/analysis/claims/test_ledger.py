"""The ledger: every verdict of every claim, from frames in which the answer was planted."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from pareto_frames import (
    ACCURACY,
    BLIND_FD,
    FD,
    HALF,
    HOLLOW,
    KID,
    METRICS,
    NLL,
    PAPER_COST,
    QUARTER,
    SELECT,
    fd_of,
    pareto_file,
    pareto_frame,
)

from analysis.claims.ledger import judge_claims
from analysis.claims.rows import Kind, LedgerRow
from analysis.claims.trained import Trained
from analysis.frame import checked_frame
from analysis.statistics.intervals import Verdict, holm
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.noninferiority import fieller

SIX = tuple(range(6))
SCHEDULES = ("base", "control", "fixed 0.1", "fixed 2/3", "fixed 1", "progressive")
FEWEST, LATER = PlanKey(1, 3), PlanKey(4, 4)
PLANS = (FULL, HALF, QUARTER, FEWEST, LATER)
LEDGERS: dict[str, dict[str, LedgerRow]] = {}
CLAIMS = ("C2", "C3", "C4", "C7a", "C8")
ROWS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7a", "C7b", "C8")

BASE = {8: 2.8, 4: 3.8, 2: 4.8, 1: 5.3}
FREE = {
    "base": BASE,
    "control": {8: 2.79, 4: 3.7, 2: 4.6, 1: 5.2},
    "fixed 0.1": {8: 2.8, 4: 3.2, 2: 3.5, 1: 4.0},
    "fixed 2/3": {8: 2.9, 4: 3.1, 2: 3.3, 1: 3.8},
    "fixed 1": {8: 3.1, 4: 3.0, 2: 3.2, 1: 3.7},
    "progressive": {8: 2.8, 4: 2.82, 2: 2.85, 1: 2.9},
}
"""All that the paper says: the progressive schedule costs next to nothing."""
FIXED = {"fixed 0.1": FREE["fixed 1"], "fixed 1": FREE["fixed 0.1"]}
POOR = {"progressive": {8: 3.0, 4: 3.2, 2: 3.4, 1: 3.9}}
AGAINST = FREE | FIXED | POOR
"""The opposite: the larger share hurts subnets, the progressive schedule costs much."""


def ledger(levels=FREE, *, facts=None, **settings) -> dict[str, LedgerRow]:
    """The rows by claim, of a frame with these levels and little noise; each is judged once."""
    key = repr((levels, facts, settings))
    if key not in LEDGERS:
        names = ("schedules", "units", "plans")
        known = {name: settings[name] for name in names if name in settings}
        LEDGERS[key] = judged(make(levels, **settings), **known, **facts or {})
    return LEDGERS[key]


def judged(frame, **facts) -> dict[str, LedgerRow]:
    known = {"schedules": SCHEDULES, "units": SIX, "plans": PLANS} | facts
    return {row.claim.id: row for row in judge_claims(pareto_file(**known), Levels(frame))}


def make(levels=FREE, *, fd=None, blind=None, later=True, **settings):
    """A frame; with `later`, also of models that were trained for the next switch point."""
    usual = {"schedules": SCHEDULES, "units": SIX, "plans": PLANS, "by_scale": False, "groups": 0}
    usual |= {"metrics": (NLL, FD, BLIND_FD)}  # the others decide nothing, as one test shows
    usual |= {"unit_noise": 0.2, "shared_noise": 0.2, "noise": 0.2, "levels": levels}
    usual |= {
        "fd_levels": distances(fd or levels),
        "blind_levels": distances(blind or fd or levels),
    }
    frame = pareto_frame(**usual | settings)
    if later and "progressive" in (usual | settings)["schedules"]:
        only = {"schedules": ("progressive",), "plans": (FULL, LATER), "real": False}
        own = pareto_frame(**usual | settings | only | {"train_switch": 4})
        frame = pd.concat([frame, own.assign(schedule="progressive for 4")], ignore_index=True)
    return checked_frame(frame, training=True)


def distances(levels):
    return {way: {d: fd_of(nll) for d, nll in by.items()} for way, by in levels.items()}


def wobbling(frame):
    """What was trained moves by so much from unit to unit, up and down in turn, that nothing can be
    told: each half of the units has the opposite of the other's mean."""
    by = {FD: 40.0, BLIND_FD: 40.0, NLL: 10.0}
    moves = frame["schedule"].isin(("progressive", "progressive for 4", "fixed 1"))
    size = np.array([by.get(name, 0.0) for name in frame["metric"]])
    return frame.assign(value=frame["value"] + size * moves * np.where(frame["unit"] % 2, 1, -1))


def verdicts(rows) -> dict[str, Verdict]:
    return {claim: rows[claim].verdict for claim in CLAIMS}


def first(row: LedgerRow, kind=Kind.QUALITY):
    """The line of the first part."""
    return row.of(kind)[0]


def likelihoods(rows) -> dict[str, Verdict]:
    return {claim: first(rows[claim], Kind.LIKELIHOOD).verdict for claim in CLAIMS}


@pytest.fixture(scope="module")
def free():
    return ledger()


def test_there_are_nine_rows_each_with_its_claim_in_words(free):
    assert tuple(free) == ROWS
    for row in free.values():
        said = row.claim
        assert all((said.short, said.sentence, said.published, said.estimand, said.rule))
        assert row.lines and all(line.reason for line in row.lines)
    assert free["C2"].setting == "analogue on shapes"


def test_everything_reproduced(free):
    assert set(verdicts(free).values()) == set(likelihoods(free).values()) == {Verdict.REPRODUCED}
    assert free["C5"].verdict is Verdict.REPRODUCED
    parts = [(line.part, line.verdict) for line in free["C4"].of(Kind.QUALITY)]
    names = ("half the layers", "a quarter of the layers", "the fewest layers")
    assert parts == [(name, Verdict.REPRODUCED) for name in names]
    said = r"no loss: \d\.\d % of the untrained damage remains \(margin 5 %\)"
    assert re.fullmatch(said, first(free["C4"]).said)
    assert "of the untrained loss remains" in first(free["C4"], Kind.LIKELIHOOD).said
    assert first(free["C4"]).reason.startswith("t over 6 units; no ladder was run")


def test_what_needs_other_studies_is_untested(free):
    untested = {row.claim.id for row in free.values() if row.verdict is Verdict.UNTESTED}
    assert untested == {"C1", "C6", "C7b"}
    assert "studies.sensitivity" in free["C1"].lines[0].reason
    assert "d16@6 1.7, d8@6 2.7, d2@6 5.1" in free["C6"].lines[0].reason
    assert "studies.efficiency" in free["C7b"].lines[0].reason


@pytest.mark.parametrize(
    ("claim", "levels"),
    [
        *((claim, AGAINST) for claim in CLAIMS),
        # One half against suffices: the full network gains with the share, subnets as well.
        ("C2", FREE | {"fixed 1": FREE["fixed 1"] | {8: 2.7}}),
        ("C3", FREE | {"progressive": FREE["progressive"] | {4: 3.4}}),  # the subnet loses
        ("C3", FREE | {"progressive": FREE["progressive"] | {8: 3.1}}),  # or the full network
        ("C4", FREE | {"progressive": FREE["progressive"] | {2: 3.2}}),  # a quarter is not free
    ],
)
def test_contradicted(claim, levels):
    row = ledger(levels)[claim]
    assert row.verdict is Verdict.CONTRADICTED
    assert any(test.outcome < 0 for line in row.lines for test in line.tests)


def test_a_loss_of_the_full_network_is_a_share_of_half_the_layers_damage():
    said = (
        r"beyond the margin: (19|20)\.\d % of half the layers' untrained damage lost \(margin 2 %\)"
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


KEYS = ("C2", "C3 cosine rate", "C4 half the layers", "C4 a quarter of the layers", "C7a", "C8")


@pytest.mark.parametrize(
    ("power", "verdict"),
    [(None, Verdict.INCONCLUSIVE), (0.9, Verdict.INCONCLUSIVE), (0.79, Verdict.UNRESOLVED)],
)
def test_what_is_neither_is_inconclusive_or_cannot_be_resolved(power, verdict):
    planned = None if power is None else {key: {FD: power, NLL: power} for key in KEYS}
    rows = judged(wobbling(make()), power=planned)
    assert set(verdicts(rows).values()) == set(likelihoods(rows).values()) == {verdict}
    for claim in CLAIMS:
        assert {test.outcome for line in rows[claim].lines for test in line.tests} == {0}
        said = "planned power 79 %" in first(rows[claim]).reason
        assert said == (verdict is Verdict.UNRESOLVED)


@pytest.mark.parametrize("levels", [FREE, AGAINST])
def test_a_decided_test_stands_whatever_its_power(levels):
    rows = ledger(levels, facts={"power": {key: {FD: 0.1, NLL: 0.1} for key in KEYS}})
    assert verdicts(rows) == verdicts(ledger(levels))
    assert [first(rows[c]).tests[-1].power for c in ("C4", "C7a")] == [None, None]  # second space
    assert first(rows["C4"]).tests[0].power == 0.1


@pytest.mark.parametrize(("levels", "other"), [(FREE, AGAINST), (AGAINST, FREE)])
def test_metrics_may_disagree(levels, other):
    """Only where the second space's own test says the opposite."""
    rows = ledger(levels, blind=other)
    assert set(verdicts(rows).values()) == {Verdict.DISAGREE}
    assert all("second feature space says" in first(rows[claim]).reason for claim in CLAIMS)


@pytest.mark.parametrize(("levels", "other"), [(FREE, AGAINST), (AGAINST, FREE)])
def test_likelihood_and_samples_do_not_overrule_each_other(levels, other):
    rows = ledger(levels, fd=other)
    assert verdicts(rows) == verdicts(ledger(other))
    assert likelihoods(rows) == likelihoods(ledger(levels))


def test_a_second_space_that_says_nothing_changes_nothing(free):
    unclear = wobbling(make())
    frame = make()
    quiet = frame.assign(value=frame["value"].where(frame["metric"] != BLIND_FD, unclear["value"]))
    assert verdicts(judged(quiet)) == verdicts(free)
    one = frame[frame["metric"] != BLIND_FD]
    assert verdicts(judged(one)) == verdicts(free)


def test_a_metric_that_failed_the_ladder_decides_nothing():
    zones = ("early", "middle", "late")
    passed = {FD: dict.fromkeys(zones, True), BLIND_FD: dict.fromkeys(zones, True)}
    rows = ledger(facts={"ladder": passed})
    assert set(verdicts(rows).values()) == {Verdict.REPRODUCED}
    assert "ladder" not in first(rows["C4"]).reason
    late = passed | {FD: passed[FD] | {"late": False}}
    rows = ledger(facts={"ladder": late})
    assert set(verdicts(rows).values()) == {Verdict.UNRESOLVED}
    assert first(rows["C2"]).reason == "FD failed the ladder at the late scales"
    assert set(likelihoods(rows).values()) == {Verdict.REPRODUCED}
    # Only the full network may be harmed anywhere.
    rows = verdicts(ledger(facts={"ladder": passed | {FD: passed[FD] | {"middle": False}}}))
    assert [claim for claim, v in rows.items() if v is Verdict.UNRESOLVED] == ["C7a"]
    # A second space that is blind has no say.
    blind = passed | {BLIND_FD: dict.fromkeys(zones, False)}
    rows = ledger(blind=AGAINST, facts={"ladder": blind})
    assert set(verdicts(rows).values()) == {Verdict.REPRODUCED}


@pytest.mark.parametrize("levels", [FREE, AGAINST])
@pytest.mark.parametrize("units", [(3,), (0, 1), (0, 1, 2, 3)])
def test_below_five_units_nothing_is_decided(units, levels):
    rows = ledger(levels, units=units)
    assert set(verdicts(rows).values()) == {Verdict.UNRESOLVED}
    counted = "one unit" if len(units) == 1 else f"{len(units)} units"
    for claim in CLAIMS:
        assert first(rows[claim]).reason == f"{counted}; a verdict needs 5"
        assert {test.outcome for line in rows[claim].lines for test in line.tests} == {0}
    assert rows["C5"].verdict is Verdict.REPRODUCED  # arithmetic


def test_five_units_are_enough_and_unfinished_ones_do_not_count():
    one = ledger(status={("progressive", 2, None): "diverged"})
    assert set(verdicts(one).values()) == {Verdict.REPRODUCED}
    assert first(one["C4"]).tests[0].units == (0, 1, 3, 4, 5)
    assert first(one["C2"]).tests[0].units == SIX
    two = ledger(status={("progressive", u, None): "diverged" for u in (2, 5)})
    for claim in ("C3", "C4", "C7a"):
        assert two[claim].verdict is Verdict.UNRESOLVED
        assert first(two[claim]).reason == "4 units; a verdict needs 5"
    assert two["C2"].verdict is Verdict.REPRODUCED


def test_a_quick_run_is_no_result():
    rows = ledger(facts={"quick": True})
    assert set(verdicts(rows).values()) == {Verdict.UNRESOLVED}
    assert first(rows["C4"]).reason == "a quick run: not a result"


def test_few_samples_for_the_features_decide_nothing():
    few = {"samples": 127, "cfg": 0.0, "top_k": 0, "top_p": 0.0}
    rows = ledger(facts={"sampling": few})
    assert set(verdicts(rows).values()) == {Verdict.UNRESOLVED}
    assert first(rows["C4"]).reason == "127 samples are fewer than twice 64 features"
    assert set(likelihoods(rows).values()) == {Verdict.REPRODUCED}


def test_a_share_of_nothing_cannot_be_resolved():
    """The base loses as much with every plan as with all its layers, give or take."""
    hollow = {("base", LATER): {NLL: -HOLLOW, FD: -4 * HOLLOW, BLIND_FD: -4 * HOLLOW}}
    frame = make(FREE | {"base": dict.fromkeys(BASE, 2.8)}, effects=hollow)
    near = np.where(frame["unit"] % 2, 0.4, -0.4)
    untrained = frame["schedule"].isin(("base",)) & ~frame["family"].isin(("full",))
    sampled = frame["metric"].isin((FD, BLIND_FD, NLL))
    frame = frame.assign(value=frame["value"] + near * (untrained & sampled))
    rows = judged(frame)
    for claim in ("C3", "C4", "C7a", "C8"):
        assert rows[claim].verdict is Verdict.UNRESOLVED
        assert first(rows[claim]).reason == "the untrained damage is not clear of zero"
    assert rows["C2"].verdict is Verdict.REPRODUCED


@pytest.mark.parametrize(
    ("lost", "claims"),
    [
        ("base", ("C3", "C4", "C7a", "C8")),
        ("fixed 0.1", ()),  # another pair of shares is left
        ("fixed 2/3", ("C3",)),
        ("progressive", ("C3", "C4", "C7a", "C8")),
        ("control", ()),
    ],
)
def test_untested_without_its_ways(lost, claims):
    rows = ledger(schedules=tuple(way for way in SCHEDULES if way != lost))
    found = [claim for claim, verdict in verdicts(rows).items() if verdict is Verdict.UNTESTED]
    assert tuple(found) == claims
    for claim in claims:
        assert first(rows[claim]).reason.startswith("needs the base")
        assert not first(rows[claim]).tests


def test_untested_without_half_the_layers():
    rows = ledger(plans=(FULL, QUARTER))
    untested = [claim for claim, v in verdicts(rows).items() if v is Verdict.UNTESTED]
    assert untested == ["C2", "C3", "C7a", "C8"]
    assert ledger(schedules=("base", "fixed 1", "progressive"))["C2"].verdict is Verdict.UNTESTED


def test_a_later_switch_needs_models_of_its_own():
    row = ledger(later=False)["C8"]
    assert row.verdict is Verdict.UNTESTED
    assert "trained by the progressive schedule for a switch point one scale later" in (
        row.lines[0].reason
    )


def test_half_a_claim_is_not_reproduced_but_may_be_contradicted():
    assert ledger(plans=(FULL, HALF, LATER))["C4"].verdict is Verdict.INCONCLUSIVE
    assert ledger(AGAINST, plans=(FULL, HALF, LATER))["C4"].verdict is Verdict.CONTRADICTED
    failed = {("progressive", None, QUARTER): "failed"}
    assert ledger(status=failed)["C4"].verdict is Verdict.INCONCLUSIVE


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


@pytest.mark.parametrize("levels", [FREE, AGAINST])
@pytest.mark.parametrize("by", [-50.0, 50.0])
def test_hollow_points_decide_nothing(levels, by):
    """Nor other selectors, and no metric but distance and likelihood."""
    hollow = (PlanKey(4, 2), PlanKey(2, 2), PlanKey(4, 3, "nested"))
    plans = (*PLANS, *hollow)
    moved = {(way, plan): {NLL: by, FD: by, BLIND_FD: by} for way in SCHEDULES for plan in hollow}
    moved |= {("control", plan): {NLL: by, FD: by, BLIND_FD: by} for plan in PLANS[1:]}
    moved |= {("progressive", plan): {KID: 9.0, ACCURACY: -9.0, SELECT: 9.0} for plan in PLANS}
    all_of = {"plans": plans, "metrics": METRICS}
    usual = ledger(levels, **all_of)
    assert repr(usual) == repr(ledger(levels, **all_of, effects=moved))


def case(frame=None, **facts) -> Trained:
    known = {"plans": PLANS, "schedules": SCHEDULES} | facts
    return Trained(study=pareto_file(**known), levels=Levels(make() if frame is None else frame))


def test_fixed_ends_are_the_extreme_shares():
    shares = ("fixed 1", "fixed 2/3", "control", "fixed 0.1", "progressive")
    ends = case(make(schedules=shares)).fixed_ends
    assert [way.name for way in ends] == ["fixed 0.1", "fixed 1"]
    assert case(make(schedules=("control", "fixed 1"))).fixed_ends is None


def test_subnets_of_half_and_a_quarter_and_the_fewest():
    found = case()
    assert (found.half, found.subnet(4), found.shallowest) == (HALF, QUARTER, FEWEST)
    without = case(plans=(FULL, PlanKey(6, 3), QUARTER))
    assert (without.half, without.subnet(4), without.shallowest) == (None, QUARTER, None)
    earlier = case(train_switch=2)
    assert (earlier.half, earlier.subnet(4)) == (PlanKey(4, 2), PlanKey(2, 2))


def test_names_decide_nothing():
    """The same study under other labels says the same, in other words."""
    frame = make(AGAINST)
    other = {name: f"way {i}" for i, name in enumerate(frame["schedule"].dropna().unique())}
    renamed = frame.assign(schedule=frame["schedule"].map(other), plan="a plan")
    usual, found = judged(frame), judged(renamed)
    for claim, row in usual.items():
        assert found[claim].verdict is row.verdict
        for ours, theirs in zip(found[claim].lines, row.lines, strict=True):
            assert [(t.interval, t.outcome) for t in ours.tests] == [
                (t.interval, t.outcome) for t in theirs.tests
            ]


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
    assert rows["C6"].lines[0].reason == "needs a GPU and the official geometry"


def test_measured_memory_that_differs_is_counted():
    frame = make()
    there = (frame["metric"] == "kv_bytes/peak") & (frame["plan"] == QUARTER.label)
    frame.loc[there & (frame["schedule"] == "progressive"), "value"] += 1
    assert "186 of 192 cells" in judged(frame)["C5"].lines[1].reason
    alone = frame[~frame["metric"].str.startswith("kv_bytes")]
    assert "the arithmetic alone" in judged(alone)["C5"].lines[1].reason
