"""The rules that all claims share, from frames in which the answer was planted."""

from __future__ import annotations

import math
import re
import subprocess
import sys

import pytest
from ledger_frames import (
    AGAINST,
    CLAIMS,
    FREE,
    HOLLOW_PLANS,
    PLANS,
    SCHEDULES,
    SIX,
    first,
    judged,
    ledger,
    likelihoods,
    make,
    shifted,
    verdicts,
    without,
    wobbling,
)
from pareto_frames import ACCURACY, BLIND_FD, FD, KID, METRICS, NLL, SELECT

from analysis.claims.rows import Kind
from analysis.statistics.intervals import Verdict
from analysis.statistics.levels import Levels

ROWS = ("C1", "C2", "C3", "C4", "C5", "C6", "C7a", "C7b", "C8")


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
    interval = r"\d\.\d+ \[\d\.\d+, \d\.\d+\]"
    said = rf"no loss: {interval} % of the untrained damage remains \(margin 5 %\)"
    assert re.fullmatch(said, first(free["C4"]).said)
    assert "of the untrained loss remains" in first(free["C4"], Kind.LIKELIHOOD).said
    assert first(free["C4"]).reason.startswith("t over 6 units; ")


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


KEYS = ("C2", "C3 cosine rate", "C4 half the layers", "C4 a quarter of the layers", "C7a", "C8")


@pytest.fixture(scope="module")
def unclear():
    return Levels(wobbling(make()))


@pytest.mark.parametrize(
    ("power", "verdict"),
    [(None, Verdict.INCONCLUSIVE), (0.9, Verdict.INCONCLUSIVE), (0.79, Verdict.UNRESOLVED)],
)
def test_what_is_neither_is_inconclusive_or_cannot_be_resolved(power, verdict, unclear):
    planned = None if power is None else {key: {FD: power, NLL: power} for key in KEYS}
    rows = judged(unclear, power=planned)
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
    unclear, frame = wobbling(make()), make()
    quiet = frame.assign(value=frame["value"].where(frame["metric"] != BLIND_FD, unclear["value"]))
    assert verdicts(judged(quiet)) == verdicts(free)
    one = frame[frame["metric"] != BLIND_FD]
    assert verdicts(judged(one)) == verdicts(free)


def test_either_part_of_c4_would_contradict_it_so_both_are_corrected():
    lines = ledger(AGAINST)["C4"].of(Kind.QUALITY)
    half, quarter, fewest = (line.tests[0] for line in lines)
    assert half.p_holm >= half.p_value and quarter.p_holm >= quarter.p_value
    assert max(half.p_holm / half.p_value, quarter.p_holm / quarter.p_value) > 1.9
    assert math.isnan(fewest.p_holm), "a line beside the claim"


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
    # The full network, of which these three speak, may be harmed anywhere.
    rows = verdicts(ledger(facts={"ladder": passed | {FD: passed[FD] | {"middle": False}}}))
    assert [claim for claim, v in rows.items() if v is Verdict.UNRESOLVED] == ["C2", "C3", "C7a"]
    # A second space that is blind has no say.
    blind = passed | {BLIND_FD: dict.fromkeys(zones, False)}
    rows = ledger(blind=AGAINST, facts={"ladder": blind})
    assert set(verdicts(rows).values()) == {Verdict.REPRODUCED}


@pytest.mark.parametrize(
    ("units", "levels"),
    [((3,), FREE), ((3,), AGAINST), ((0, 1), FREE), ((0, 1, 2, 3), FREE), ((0, 1, 2, 3), AGAINST)],
)
def test_below_five_units_nothing_is_decided(units, levels):
    rows = ledger(levels, units=units)
    assert set(verdicts(rows).values()) == {Verdict.UNRESOLVED}
    counted = "one unit" if len(units) == 1 else f"{len(units)} units"
    for claim in CLAIMS:
        assert first(rows[claim]).reason == f"{counted}; a verdict needs 5"
        assert {test.outcome for line in rows[claim].lines for test in line.tests} == {0}
    assert rows["C5"].verdict is Verdict.REPRODUCED  # arithmetic


def test_five_units_are_enough_and_unfinished_ones_do_not_count():
    one = judged(without(make(), units=(2,)))
    assert set(verdicts(one).values()) == {Verdict.REPRODUCED}
    assert first(one["C4"]).tests[0].units == (0, 1, 3, 4, 5)
    assert first(one["C2"]).tests[0].units == SIX
    two = judged(without(make(), units=(2, 5)))
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


@pytest.mark.parametrize("levels", [FREE, AGAINST])
@pytest.mark.parametrize("by", [-50.0, 50.0])
def test_hollow_points_decide_nothing(levels, by):
    """Nor other selectors, nor the control's subnets."""
    frame = make(levels, plans=(*PLANS, *HOLLOW_PLANS))
    hollow = frame["switch"].isin([2]) | frame["selector"].isin(["nested"])
    hollow |= frame["schedule"].isin(["control"]) & (frame["plan"] != "full")
    moved = shifted(frame, hollow, {NLL: by, FD: by, BLIND_FD: by})
    assert repr(judged(moved)) == repr(ledger(levels, plans=(*PLANS, *HOLLOW_PLANS)))


@pytest.mark.parametrize("levels", [FREE, AGAINST])
def test_only_distance_and_likelihood_decide(levels):
    frame = make(levels, metrics=METRICS)
    progressive = frame["schedule"].isin(["progressive"])
    rows = judged(shifted(frame, progressive, {KID: 9.0, ACCURACY: -9.0, SELECT: 9.0}))
    assert repr(rows) == repr(ledger(levels))


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


def test_claims_are_stated_without_docstrings():
    said = "from analysis.claims import c1, c8; print(c1.CLAIM.short, c8.CLAIM.id)"
    done = subprocess.run([sys.executable, "-OO", "-c", said], capture_output=True, text=True)
    assert done.stdout.strip() == "early scales need depth C8"
