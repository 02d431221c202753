"""The ledger: the claims that a study which trains can speak of, and what it says of each."""

from collections.abc import Sequence

import numpy as np

from analysis.claims import c1
from analysis.claims.rules import (
    FREE_MARGIN,
    FULL_MARGIN,
    Case,
    Claim,
    Component,
    LedgerRow,
    Margin,
    ruled,
    tested,
    untested,
)
from analysis.statistics.fronts import KV, trade
from analysis.statistics.intervals import Interval, Verdict
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.units import Observations
from analysis.study_file import ParetoFile

C2 = Claim(
    id="C2",
    short="fixed shares trade",
    sentence="A fixed subnet share trades the full network against the subnets.",
    published="FID at share 0.1: full 1.96, subnet 2.68; at share 1: full 2.32, subnet 2.15",
    needs="needs two fixed shares and a subnet of half the layers",
)
C3 = Claim(
    id="C3",
    short="progressive breaks the trade",
    sentence="The progressive schedule breaks that frontier, without loss to the full network.",
    published="FID: full about 1.95, subnet about 2.05 (d16)",
    needs="needs the progressive schedule, two fixed shares and half the layers",
)
C4 = Claim(
    id="C4",
    short="subnets nearly free",
    sentence="Subnets of half and a quarter of the layers are nearly free in quality.",
    published="FID 2.05 (d16) and 2.12 (d8) against 1.95",
    needs="needs the control, the progressive schedule and its subnets",
)
C5 = Claim(
    id="C5",
    short="memory saved",
    sentence="Memory falls by 40-65 % (half, quarter depth) and 80 % (d2).",
    published="KV 16,092 MB (d16) of 28,677 MB; 40-65 % and 80 % in the abstract",
    needs="the study wrote no costs of VAR-d30",
)
C6 = Claim(
    id="C6",
    short="latency saved",
    sentence="Latency falls by 1.7 (d16), 2.6 (d8) and 3.5 times (d2).",
    published="3.62 s to 2.12 s for d16",
    needs="needs a GPU and the official weights",
)
C7 = Claim(
    id="C7",
    short="one model at no cost",
    sentence="One model serves every depth, switched at run time, at no cost.",
    published="a single checkpoint of 2.0 billion parameters",
    needs="needs the control and the progressive schedule",
)
PAPERS = "the paper's setting"
SAVED = {"d16@6": (0.40, 0.65), "d8@6": (0.40, 0.65), "d2@6": (0.80, 0.80)}
# The published percentages are rounded, to 5 for the ranges.
TOLERANCE = 0.015


def judge_claims(study: ParetoFile, levels: Levels) -> tuple[LedgerRow, ...]:
    """C1 to C7 by the rules of `analysis.claims.rules`."""
    case = Case(study=study, levels=levels)
    half, quarter = case.subnet(2), case.subnet(4)
    return (
        untested(c1.CLAIM, case.setting),
        _fixed_shares_trade(case),
        _progressive_breaks_the_trade(case),
        _no_loss(C4, case, tuple(dict.fromkeys((half, quarter))), FREE_MARGIN),
        _memory_saved(case),
        _latency_saved(case),
        _no_loss(C7, case, (FULL,), FULL_MARGIN, but=", of one budget"),
    )


def _fixed_shares_trade(case: Case) -> LedgerRow:
    """C2: two directions a metric.

    From the smallest to the largest fixed share the full network must get worse and the subnet of
    half the layers better.
    """
    ends, half, components = case.fixed_ends, case.subnet(2), []
    if ends is None or half is None:
        return untested(C2, case.setting)
    low, high = (way.name for way in ends)
    for metric in case.metrics:
        for plan, worse, better in ((FULL, high, low), (half, low, high)):
            label = f"{plan.label}: {worse} worse than {better}"
            components += case.compared(label, metric, (worse, plan), (better, plan))
    rests_on = f"{low} and {high}: full and {half.label}"
    return ruled(C2, case, components, tests=2, rests_on=rests_on)


def _progressive_breaks_the_trade(case: Case) -> LedgerRow:
    """C3: a direction and a margin a metric.

    The subnet of half the layers must lie beyond the front of the fixed shares, and the full
    network be no worse than that of the smallest fixed share.
    """
    levels, ends, half, way = case.levels, case.fixed_ends, case.subnet(2), case.levels.progressive
    if ends is None or half is None or way is None:
        return untested(C3, case.setting)
    components, first = [], ends[0].name
    for metric in case.metrics:
        plane = trade(levels, metric, half)
        gaps = plane.gaps(way.name) if plane else {}
        if not gaps:
            continue
        values = np.array([gap.value for gap in gaps.values()])
        clamped = sum(gap.clamped for gap in gaps.values())
        note = f"beyond the ends of the front in {clamped} of {len(gaps)} seeds" if clamped else ""
        label = f"{half.label}: beyond the front of fixed shares"
        observed = Observations(
            values=values, units=tuple(gaps), replicates=(np.empty(0),) * len(gaps)
        )
        components += tested(label, metric, observed, note=note)
        label, places = f"full: no worse than {first}", ((way.name, FULL), (first, FULL))
        components += case.compared(label, metric, *places, FULL_MARGIN)
    shares = ", ".join(fixed.name for fixed in levels.fixed)
    rests_on = f"{way.name} against {shares}: full and {half.label}"
    return ruled(C3, case, components, tests=2, rests_on=rests_on)


def _no_loss(
    claim: Claim, case: Case, wanted: Sequence[PlanKey | None], margin: Margin, *, but: str = ""
) -> LedgerRow:
    """C4, C7: a margin a metric and plan.

    Plans of the progressive schedule must be no worse than the full network of the control, which
    was trained as long without subnets. None of `wanted`: what was not measured.
    """
    way, control = case.levels.progressive, case.levels.control
    plans = [plan for plan in wanted if plan is not None]
    if way is None or control is None:
        return untested(claim, case.setting)
    components = []
    for metric in case.metrics:
        for plan in plans:
            label = f"{plan.label} of {way.name} against the control's full network"
            if plan.is_full:
                label = f"full network of {way.name} against the control's"
            places = (way.name, plan), (control.name, FULL)
            components += case.compared(label, metric, *places, margin)
    shown = ", ".join(plan.label for plan in plans)
    rests_on = f"{way.name} {shown} against {control.name} full{but}"
    return ruled(claim, case, components, tests=len(wanted), rests_on=rests_on)


def _memory_saved(case: Case) -> LedgerRow:
    """C5: whether the saved share of each plan is the published one.

    Arithmetic for VAR-d30, trusted as far as our sampler's measured cache equals it.
    """
    cost = case.study.paper_cost
    if not cost.keys() >= {"full", *SAVED}:
        return untested(C5, PAPERS)
    components = []
    for plan, (least, most) in SAVED.items():
        saved = 1 - cost[plan].kv_mib_reference / cost["full"].kv_mib_reference
        inside = least - TOLERANCE <= saved <= most + TOLERANCE
        exact = Interval(estimate=saved, low=saved, high=saved)
        label = f"{plan}: KV saved, reference style"
        components.append(Component(label=label, interval=exact, outcome=1 if inside else -1))
    reason, verdict = "arithmetic, no interval", Verdict.REPRODUCED
    if any(component.outcome < 0 for component in components):
        verdict = Verdict.CONTRADICTED
    elif len(case.study.units) == 1:
        verdict = Verdict.INCONCLUSIVE
        reason += "; with one training seed no claim is called reproduced"
    return LedgerRow(
        claim=C5,
        setting=PAPERS,
        verdict=verdict,
        components=tuple(components),
        reason=reason,
        rests_on=_measured_kv(case.levels),
    )


def _measured_kv(levels: Levels) -> str:
    """Whether the measured cache is the computed one, in every cell of this study."""
    models = levels.models.set_index(["schedule", "plan", "unit"])
    peak, analytic = (
        models.loc[models["metric"] == name, "value"] for name in (KV, "kv_bytes/analytic")
    )
    if peak.empty:
        return "the arithmetic alone"
    equal = int((peak == analytic.reindex(peak.index)).sum())
    return f"measured KV equals the arithmetic in {equal} of {len(peak)} cells here"


def _latency_saved(case: Case) -> LedgerRow:
    """C6: not tested by training; what FLOPs alone would allow is said."""
    cost = case.study.paper_cost
    wanted = [plan for plan in SAVED if plan in cost]
    bounds = ", ".join(f"{plan} {1 / cost[plan].flops_share:.1f}" for plan in wanted)
    said = f"; FLOPs alone would allow {bounds} times" if bounds else ""
    return untested(C6, PAPERS, but=said)
