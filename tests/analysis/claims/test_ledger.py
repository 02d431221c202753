"""The ledger: every verdict of every claim, from frames in which the answer was planted."""

from __future__ import annotations

import numpy as np
import pytest
from pareto_frames import (
    ACCURACY,
    FD,
    HALF,
    KID,
    LEVELS,
    NLL,
    PAPER_COST,
    QUARTER,
    SELECT,
    pareto_file,
    pareto_frame,
)

from analysis.claims.ledger import judge_claims
from analysis.claims.rules import LEAST_SEEDS, Case, LedgerRow, Margin, deciding_metrics
from analysis.frame import checked_frame
from analysis.metrics import parse_metric
from analysis.statistics.intervals import Verdict, holm
from analysis.statistics.levels import FULL, Levels, PlanKey

SIX = tuple(range(6))
SCHEDULES = ("control", "fixed 0.1", "fixed 1", "progressive")
PLANS = (FULL, HALF, QUARTER)
TRADE = {
    "control": {8: 2.8, 4: 3.9, 2: 4.6},
    "fixed 0.1": {8: 2.8, 4: 3.2, 2: 3.5},
    "fixed 1": {8: 3.1, 4: 3.0, 2: 3.2},
    "progressive": {8: 2.95, 4: 3.1, 2: 3.3},
}
"""Fixed shares trade; the progressive schedule lies on their front, no better."""

FREE = TRADE | {"progressive": {8: 2.8, 4: 2.8, 2: 2.8}}
"""All that the paper says: the progressive schedule costs the full network nothing."""

# The fixed shares' roles exchanged: the smaller share hurts the full network more.
TURNED = FREE | {"fixed 0.1": TRADE["fixed 1"], "fixed 1": TRADE["fixed 0.1"]}
CLAIMS = ("C2", "C3", "C4", "C7")


def fd_levels(levels):
    """Distances that follow likelihoods, with a control of 1 (so its margins are 5 and 10 %)."""
    return {s: {d: 1.0 + 4.0 * (v - 2.8) for d, v in by.items()} for s, by in levels.items()}


def ledger(levels=FREE, *, fd=None, facts=None, **settings) -> dict[str, LedgerRow]:
    """The rows by claim, of a frame with these levels and little noise."""
    names = ("schedules", "seeds", "plans")
    known = {"schedules": SCHEDULES, "seeds": SIX, "plans": PLANS}
    known |= {name: settings[name] for name in names if name in settings}
    return judged(make(levels, fd=fd, **settings), **known, **facts or {})


def judged(frame, **facts) -> dict[str, LedgerRow]:
    known = {"seeds": SIX, "plans": PLANS} | facts
    return {row.claim.id: row for row in judge_claims(pareto_file(**known), Levels(frame))}


def make(levels=FREE, *, fd=None, **settings):
    usual = {"schedules": SCHEDULES, "seeds": SIX, "plans": PLANS, "by_scale": False}
    usual |= {"nll_sets": 6, "select_sets": 2, "sample_sets": 3, "seed_noise": 0.2, "noise": 0.2}
    frame = pareto_frame(
        **usual | {"levels": levels, "fd_levels": fd_levels(fd or levels)} | settings
    )
    return checked_frame(frame, training=True)


def verdicts(rows) -> dict[str, Verdict]:
    return {claim: rows[claim].verdict for claim in CLAIMS}


@pytest.fixture(scope="module")
def free():
    return ledger()


def test_rows_are_in_order(free):
    assert list(free) == [f"C{i}" for i in range(1, 8)]
    assert free["C2"].setting == "analogue on shapes"


def test_everything_reproduced(free):
    assert set(verdicts(free).values()) == {Verdict.REPRODUCED}
    assert free["C5"].verdict is Verdict.REPRODUCED
    for claim, tests in zip(CLAIMS, (4, 4, 4, 2), strict=True):
        assert len(free[claim].components) == tests
        assert free[claim].reason == f"t over 6 training seeds, Holm over {tests} tests"


def test_what_needs_no_training_or_a_gpu_is_untested(free):
    assert free["C1"].verdict is free["C6"].verdict is Verdict.UNTESTED
    assert "studies.sensitivity" in free["C1"].reason
    assert "d16@6 1.7, d8@6 2.7, d2@6 5.1" in free["C6"].reason


@pytest.mark.parametrize(
    ("claim", "levels"),
    [
        ("C2", TURNED),
        # One half against suffices: the full network gains with the share, subnets as well.
        ("C2", FREE | {"fixed 1": {8: 2.7, 4: 3.0, 2: 3.2}}),
        ("C3", FREE | {"progressive": {8: 2.8, 4: 3.4, 2: 3.4}}),  # behind the front
        ("C3", FREE | {"progressive": {8: 3.1, 4: 2.8, 2: 2.8}}),  # beyond, but the full loses
        ("C4", TRADE),
        ("C4", FREE | {"progressive": {8: 2.8, 4: 2.8, 2: 3.0}}),  # the quarter is not free
        ("C7", TRADE),
    ],
)
def test_contradicted(claim, levels):
    row = ledger(levels)[claim]
    assert row.verdict is Verdict.CONTRADICTED
    assert any(c.outcome < 0 for c in row.components)


# Differences of about half a margin, with so much noise that nothing can be said.
UNCLEAR = {
    "control": {8: 2.80, 4: 2.80, 2: 2.80},
    "fixed 0.1": {8: 2.80, 4: 2.80, 2: 2.80},
    "fixed 1": {8: 2.80, 4: 2.80, 2: 2.80},
    "progressive": {8: 2.80, 4: 2.80, 2: 2.80},
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_inconclusive(claim):
    row = ledger(UNCLEAR, seed_noise=10.0)[claim]
    assert row.verdict is Verdict.INCONCLUSIVE
    assert {c.outcome for c in row.components} == {0}
    assert "Holm" in row.reason


def test_on_the_front_is_not_beyond_it():
    row = ledger(TRADE)["C3"]
    gaps = [c for c in row.components if c.margin is None]
    assert len(gaps) == 2 and {c.outcome for c in gaps} == {0}
    assert [c.interval.estimate for c in gaps] == pytest.approx([0.0, 0.0], abs=0.03)


@pytest.mark.parametrize(
    ("claim", "other"), [("C2", TURNED), ("C3", TRADE), ("C4", TRADE), ("C7", TRADE)]
)
def test_metrics_may_disagree(claim, other):
    assert ledger(FREE, fd=other)[claim].verdict is Verdict.DISAGREE
    assert ledger(other, fd=FREE)[claim].verdict is Verdict.DISAGREE


@pytest.mark.parametrize(
    ("claim", "schedules"),
    [
        ("C2", ("control", "fixed 1", "progressive")),
        ("C3", ("control", "fixed 0.1", "fixed 1")),
        ("C3", ("control", "fixed 1", "progressive")),
        ("C4", ("control", "fixed 0.1", "fixed 1")),
        ("C4", ("fixed 0.1", "fixed 1", "progressive")),
        ("C7", ("control", "fixed 0.1", "fixed 1")),
    ],
)
def test_untested_without_its_schedules(claim, schedules):
    row = ledger(schedules=schedules)[claim]
    assert row.verdict is Verdict.UNTESTED
    assert row.reason.startswith("needs ") and not row.components


def test_untested_without_half_the_layers():
    rows = ledger(plans=(FULL, QUARTER))
    assert rows["C2"].verdict is rows["C3"].verdict is Verdict.UNTESTED


def test_one_metric_is_enough():
    rows = ledger(metrics=(NLL, SELECT))
    assert set(verdicts(rows).values()) == {Verdict.REPRODUCED}
    assert {c.metric.name for claim in CLAIMS for c in rows[claim].components} == {NLL}


def test_half_a_claim_is_not_reproduced():
    without_quarter = ledger(plans=(FULL, HALF))["C4"]
    assert without_quarter.verdict is Verdict.INCONCLUSIVE
    assert "part of the claim" in without_quarter.reason
    failed = {("progressive", None, QUARTER): "failed"}
    assert ledger(status=failed)["C4"].verdict is Verdict.INCONCLUSIVE
    failed = {("fixed 1", None, HALF): "failed"}
    assert ledger(status=failed)["C2"].verdict is Verdict.INCONCLUSIVE


def test_half_a_claim_may_be_contradicted():
    assert ledger(TRADE, plans=(FULL, HALF))["C4"].verdict is Verdict.CONTRADICTED


@pytest.mark.parametrize("levels", [FREE, TRADE, TURNED])
@pytest.mark.parametrize("seeds", [(3,), (0, 1), (0, 1, 2, 3)])
def test_few_seeds_are_at_most_inconclusive(seeds, levels):
    rows = ledger(levels, seeds=seeds)
    assert set(verdicts(rows).values()) == {Verdict.INCONCLUSIVE}
    said = f"{len(seeds)} training seeds; a verdict needs {LEAST_SEEDS}"
    if len(seeds) == 1:
        said = "one training seed: training variance is not measured"
    assert {rows[claim].reason for claim in CLAIMS} == {said}


def test_one_seed_reproduces_nothing_at_all():
    rows = ledger(seeds=(0,))
    assert Verdict.REPRODUCED not in {row.verdict for row in rows.values()}
    assert "one training seed" in rows["C5"].reason


def test_a_quick_run_is_no_result():
    rows = ledger(facts={"quick": True})
    assert set(verdicts(rows).values()) == {Verdict.INCONCLUSIVE}
    assert {rows[claim].reason for claim in CLAIMS} == {"a quick run: not a result"}
    assert rows["C5"].verdict is Verdict.REPRODUCED  # arithmetic
    nothing = ledger(schedules=("control",), facts={"quick": True})
    assert set(verdicts(nothing).values()) == {Verdict.UNTESTED}


def test_five_seeds_are_enough_and_unfinished_ones_do_not_count():
    one = ledger(status={("progressive", 2, None): "diverged"})
    assert verdicts(one)["C4"] is Verdict.REPRODUCED
    assert one["C4"].components[0].seeds == (0, 1, 3, 4, 5)
    assert one["C2"].components[0].seeds == SIX
    two = ledger(status={("progressive", s, None): "diverged" for s in (2, 5)})
    for claim in ("C3", "C4", "C7"):
        assert two[claim].verdict is Verdict.INCONCLUSIVE
        assert two[claim].reason == "4 training seeds; a verdict needs 5"
    assert two["C2"].verdict is Verdict.REPRODUCED


def test_one_plan_that_failed_takes_its_seed_out_of_its_claim():
    status = {("progressive", s, QUARTER): "failed" for s in (0, 1)}
    rows = ledger(status=status)
    assert rows["C4"].verdict is Verdict.INCONCLUSIVE
    assert "4 training seeds" in rows["C4"].reason
    assert rows["C3"].verdict is rows["C7"].verdict is Verdict.REPRODUCED


@pytest.mark.parametrize("levels", [FREE, TRADE])
@pytest.mark.parametrize("by", [-50.0, 50.0])
def test_hollow_points_decide_nothing(levels, by):
    hollow = (PlanKey(4, 2), PlanKey(2, 2), PlanKey(4, 4), PlanKey(4, 3, "nested"))
    plans = (*PLANS, *hollow)
    moved = {(s, plan): {NLL: by, FD: by} for s in SCHEDULES for plan in hollow}
    # The control trains no subnet, so that its subnets are hollow at every switch.
    moved |= {("control", plan): {NLL: by, FD: by} for plan in PLANS[1:]}
    usual = ledger(levels, plans=plans)
    assert repr(usual) == repr(ledger(levels, plans=plans, effects=moved))


def test_only_distance_and_likelihood_decide():
    assert [m.name for m in deciding_metrics(Levels(make()).metrics)] == [FD, NLL]
    moved = {("progressive", plan): {KID: 9.0, ACCURACY: -9.0, SELECT: 9.0} for plan in PLANS}
    assert repr(ledger(effects=moved)) == repr(ledger())


@pytest.mark.parametrize("levels", [FREE, TRADE, TURNED, LEVELS])
@pytest.mark.parametrize("seed_noise", [0.2, 1.0])
def test_p_values_are_corrected_within_a_claim(levels, seed_noise):
    rows = ledger(levels, seed_noise=seed_noise)
    for claim in CLAIMS:
        components = rows[claim].components
        p_holm = [c.p_holm for c in components]
        assert p_holm == pytest.approx(holm([c.p_value for c in components]), nan_ok=True)
        assert [c.outcome != 0 for c in components] == [p < 0.05 for p in p_holm]


def test_a_small_loss_within_the_margin_is_none():
    # 0.03 of 0.05 nats, and 6 % of 10 % of the distance.
    by = {8: 2.8, 4: 2.83, 2: 2.83}
    distances = {"progressive": {8: 1.0, 4: 1.06, 2: 1.06}}
    frame = make(FREE | {"progressive": by}, fd_levels=fd_levels(FREE) | distances)
    rows = judged(frame)
    assert rows["C4"].verdict is Verdict.REPRODUCED
    assert all(c.interval.low > 0 for c in rows["C4"].components)  # yet a loss, significantly


def test_margins():
    levels = Levels(make())
    full = levels.value(("control", FULL), FD)
    margin = Margin(share=0.05, nats=0.02)
    assert margin.of(levels, parse_metric(FD), ("control", FULL)) == pytest.approx(0.05 * full)
    assert margin.of(levels, parse_metric(NLL), ("control", FULL)) == 0.02
    lost = Levels(make(status={("control", None, FULL): "failed"}))
    assert np.isnan(margin.of(lost, parse_metric(FD), ("control", FULL)))


def case(frame=None, **facts) -> Case:
    return Case(study=pareto_file(**facts), levels=Levels(make() if frame is None else frame))


def test_fixed_ends_are_the_extreme_shares():
    shares = ("fixed 1", "fixed 2/3", "control", "fixed 0.1", "fixed 0.5", "progressive")
    ends = case(make(LEVELS, schedules=shares)).fixed_ends
    assert [way.name for way in ends] == ["fixed 0.1", "fixed 1"]
    assert case(make(schedules=("control", "fixed 1"))).fixed_ends is None


def test_subnets_of_half_and_a_quarter():
    assert (case().subnet(2), case().subnet(4)) == (HALF, QUARTER)
    without = case(plans=(FULL, PlanKey(6, 3), QUARTER))
    assert (without.subnet(2), without.subnet(4)) == (None, QUARTER)
    earlier = case(train_switch=2)
    assert (earlier.subnet(2), earlier.subnet(4)) == (PlanKey(4, 2), PlanKey(2, 2))


def test_names_decide_nothing():
    """The same study under other labels says the same, in other words."""
    frame, other = make(TRADE), {name: f"way {i}" for i, name in enumerate(SCHEDULES)}
    renamed = frame.assign(schedule=frame["schedule"].map(other), plan="a plan")
    usual, found = (judged(f, schedules=SCHEDULES) for f in (frame, renamed))
    for claim, row in usual.items():
        assert found[claim].verdict is row.verdict
        for ours, theirs in zip(found[claim].components, row.components, strict=True):
            assert (ours.interval, ours.p_holm) == (theirs.interval, theirs.p_holm)


def test_memory_by_arithmetic(free):
    row = free["C5"]
    saved = [c.interval.estimate for c in row.components]
    assert saved == pytest.approx([1 - kv / 28688 for kv in (17092, 10465, 5496)])
    assert row.setting == "the paper's setting"
    assert row.rests_on == "measured KV equals the arithmetic in 72 of 72 cells here"


def test_memory_contradicted_by_another_arithmetic():
    cost = PAPER_COST | {"d2@6": PAPER_COST["d2@6"] | {"kv_mib_reference": 28688 * 0.3}}
    row = ledger(facts={"paper_cost": cost})["C5"]
    assert row.verdict is Verdict.CONTRADICTED
    assert [c.outcome for c in row.components] == [1, 1, -1]


def test_memory_untested_without_arithmetic():
    rows = ledger(facts={"paper_cost": {"full": PAPER_COST["full"]}})
    assert rows["C5"].verdict is Verdict.UNTESTED
    assert rows["C6"].reason == "needs a GPU and the official weights"


def test_measured_memory_that_differs_is_counted():
    frame = make()
    there = (frame["metric"] == "kv_bytes/peak") & (frame["plan"] == QUARTER.label)
    frame.loc[there & (frame["schedule"] == "progressive"), "value"] += 1
    assert "66 of 72 cells" in judged(frame)["C5"].rests_on
    alone = frame[~frame["metric"].str.startswith("kv_bytes")]
    assert judged(alone)["C5"].rests_on == "the arithmetic alone"
