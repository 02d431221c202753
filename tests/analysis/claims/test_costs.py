"""What measured costs say of C5, C6, C7b and C8."""

import dataclasses

import numpy as np
import pytest
from efficiency_frames import SPEEDUPS, efficiency_file, efficiency_frame

from analysis.claims import c7b
from analysis.claims.costs import Costs
from analysis.claims.ledger import judge_costs
from analysis.claims.rows import Kind
from analysis.statistics.intervals import Verdict

STUDY = efficiency_file()


def judged(study=STUDY, frame=None, **truth):
    frame = efficiency_frame(STUDY, **truth) if frame is None else frame
    return {row.claim.id: row for row in judge_costs(Costs(study, frame))}


@pytest.fixture(scope="module")
def as_published():
    return judged()


def test_what_is_as_published_is_reproduced(as_published):
    verdicts = {claim: row.verdict for claim, row in as_published.items()}
    said = Verdict.REPRODUCED
    assert verdicts == {"C5": said, "C6": said, "C7b": said, "C8": Verdict.UNTESTED}
    assert as_published["C6"].lines[0].said == "1.70 / 2.60 / 3.50 times, published 1.7 / 2.6 / 3.5"
    assert "measured KV equals the arithmetic in 5 of 5 plans here" in (
        as_published["C5"].lines[1].reason
    )


def test_one_factor_outside_the_range_contradicts():
    row = judged(speedups=SPEEDUPS | {"d8@6": 2.3})["C6"]
    assert row.verdict is Verdict.CONTRADICTED
    assert [test.outcome for test in row.lines[0].tests] == [1, -1, 1]
    assert judged(speedups=SPEEDUPS | {"d8@6": 2.56})["C6"].verdict is Verdict.REPRODUCED


def test_fewer_than_five_turns_decide_nothing_about_speed():
    frame = efficiency_frame(STUDY)
    assert judged(frame=frame[frame["repeat"].fillna(0) < 4])["C6"].verdict is Verdict.UNTESTED


@pytest.mark.parametrize(
    "other",
    [{"name": "d24"}, {"quick": True}, {"hardware": STUDY.hardware.model_dump() | {"gpu": None}}],
)
def test_another_network_or_machine_does_not_decide_about_speed(other):
    study = efficiency_file(**other)
    row = judged(study)["C6"]
    assert row.verdict is Verdict.UNTESTED
    assert "needs five turns on a GPU with the official geometry" in row.lines[0].reason
    assert "measured instead on" in row.lines[0].reason and "d8@6 2.60" in row.lines[0].reason


@pytest.mark.parametrize(
    ("lost", "verdict"),
    [
        ((0.05, 0.06, 0.04, 0.05, 0.06), Verdict.CONTRADICTED),
        ((0.05, -0.05, 0.0, 0.06, -0.01), Verdict.INCONCLUSIVE),
        ((0.001, 0.002, 0.0, 0.001), Verdict.UNRESOLVED),  # four turns
        ((-0.05, -0.06, -0.05, -0.04, -0.05), Verdict.REPRODUCED),
    ],
)
def test_switching_is_held_against_its_margin_over_turns(lost, verdict):
    row = judged(lost=lost)["C7b"]
    assert row.verdict is verdict
    assert row.lines[0].tests[0].interval.estimate == pytest.approx(sum(lost) / len(lost))
    assert "0 graphs compiled meanwhile" in row.lines[0].reason


def test_a_quick_run_decides_nothing_about_switching():
    assert judged(efficiency_file(quick=True))["C7b"].verdict is Verdict.UNRESOLVED


def test_the_later_switch_has_its_costs_beside(as_published):
    row = as_published["C8"]
    kinds = [(line.kind, line.verdict) for line in row.lines]
    assert kinds[0] == (Kind.QUALITY, Verdict.UNTESTED)
    assert kinds[1] == (Kind.ARITHMETIC, Verdict.CONTRADICTED)  # 36 % as the reference keeps it
    assert kinds[3] == (Kind.TIMING, Verdict.REPRODUCED)
    assert row.lines[1].said == "36 % of the cache" and row.lines[2].said == "47 % of the cache"


def test_a_quick_run_times_no_later_switch(as_published):
    kinds = [line.kind for line in judged(efficiency_file(quick=True))["C8"].lines]
    assert Kind.TIMING not in kinds and Kind.ARITHMETIC in kinds


def test_without_sampling_only_arithmetic_is_left():
    frame = efficiency_frame(STUDY)
    rows = judged(frame=frame[frame["part"] == "machine"])
    assert rows["C7b"].verdict is Verdict.UNTESTED
    assert "the arithmetic alone" in rows["C5"].lines[1].reason
    assert dataclasses.astuple(rows["C6"])[2] is Verdict.UNTESTED


def switching_verdicts(losses_S6: np.ndarray) -> list[Verdict]:
    """Of a frame that is made once, whose turns lose these shares."""
    frame, verdicts = efficiency_frame(STUDY), []
    turns = frame["metric"] == "switched"
    for lost in losses_S6:
        frame.loc[turns, "value"] = 1 + lost[frame.loc[turns, "repeat"].astype(int)]
        verdicts.append(c7b.judge_costs(Costs(STUDY, frame)).verdict)
    return verdicts


def test_switching_has_the_power_that_is_printed():
    """Simulated through frame and verdict: no loss, and turns that move as far as they may."""
    rng = np.random.default_rng(1)
    verdicts = switching_verdicts(rng.normal(0.0, c7b.most_deviation(6), (500, 6)))
    assert np.mean([one is Verdict.REPRODUCED for one in verdicts]) == pytest.approx(0.80, abs=0.05)
    assert c7b.most_deviation(6) < c7b.most_deviation(20) and c7b.most_deviation(1) == 0


def test_switching_s_error_is_five_percent_at_either_side_of_the_margin():
    """Simulated through frame and verdict: a true loss of exactly the margin, noisy turns."""
    rng = np.random.default_rng(0)
    verdicts = switching_verdicts(rng.normal(0.02, 0.01, (300, 6)))
    for wrong in (Verdict.REPRODUCED, Verdict.CONTRADICTED):
        assert 0.01 <= np.mean([verdict is wrong for verdict in verdicts]) <= 0.09
