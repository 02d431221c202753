"""C5: memory saved.

Sentence: Memory falls by 40–65 % (half and a quarter of the layers) and by 80 % (d2).

Published: 40–65 % and 80 % in the abstract; KV 16,092 MB (d16) of 28,677 MB in a table, batch 64.

Estimand: The share of the KV cache of VAR-d30 that d16, d8 and d2 save after scale N, counted as
the reference keeps it (every pair that was computed, 6 bytes), for N = 5, 6, 7.

Rule: Arithmetic, without interval: a plan agrees where it saves 40, 65 and 80 %, as published in
steps of 5, so within 2.5 points. The claim's verdict is that of N = 6, the published "6+4 steps":
reproduced where all three agree, else contradicted. It is trusted as far as the cache that our
sampler measures equals the arithmetic.

Needs: the study wrote no costs of VAR-d30.
"""

from collections.abc import Mapping
from dataclasses import replace
from itertools import product, starmap

from analysis import numbers
from analysis.claims.costs import Costs
from analysis.claims.rows import Claim, Evidence, Kind, LedgerRow, Line
from analysis.claims.rules import untested
from analysis.claims.trained import PAPERS, Trained
from analysis.efficiency_file import OURS
from analysis.statistics.fronts import KV
from analysis.statistics.intervals import Interval
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.study_file import PaperCost

CLAIM = Claim.stated(__file__)
PUBLISHED = {16: 0.40, 8: 0.65, 2: 0.80}  # by layers after the switch point
TOLERANCE = 0.025
SWITCHES = (5, 6, 7)
PAPERS_SWITCH = 6
PUBLISHED_MB = 16_092  # of d16


def judge(case: Trained) -> LedgerRow:
    return _row(case.study.paper_cost, _measured(case.levels))


def judge_costs(case: Costs) -> LedgerRow:
    memory = [one.memory.loc[OURS] for one in case.samplings]
    equal = sum(int((one["kv_live"] == one["kv_analytic"]).sum()) for one in memory)
    measured = f"measured KV equals the arithmetic in {equal} of {sum(map(len, memory))} plans here"
    return _row(case.study.paper_cost, measured if memory else "the arithmetic alone")


def _row(paper_cost: Mapping[str, PaperCost], measured: str) -> LedgerRow:
    plans = [FULL, *starmap(PlanKey, product(PUBLISHED, SWITCHES))]
    if not paper_cost.keys() >= {plan.label for plan in plans}:
        return untested(CLAIM, PAPERS, kind=Kind.ARITHMETIC)
    kv = {plan: paper_cost[plan.label].kv_mib_reference for plan in plans}
    halves = (PlanKey(16, n) for n in SWITCHES)
    half = min(halves, key=lambda plan: abs(kv[plan] - PUBLISHED_MB))
    nearest = f"the published {PUBLISHED_MB:,} MB is nearest to {half.label}, {kv[half]:,.0f} MiB"
    lines = {n: _line(n, kv) for n in SWITCHES}
    own = lines[PAPERS_SWITCH]
    alone = sum(line.verdict is own.verdict for line in lines.values()) == 1
    lines[PAPERS_SWITCH] = replace(
        own,
        said=f"{own.said} at N = {PAPERS_SWITCH}{' only' * alone}",
        reason=f"{own.reason}; {measured}; {nearest}",
    )
    return LedgerRow(claim=CLAIM, setting=PAPERS, verdict=own.verdict, lines=tuple(lines.values()))


def _line(switch: int, kv: Mapping[PlanKey, float]) -> Line:
    saved = {depth: 1 - kv[PlanKey(depth, switch)] / kv[FULL] for depth in PUBLISHED}
    tests = tuple(
        Evidence(
            label=f"{PlanKey(depth, switch).label}: KV saved, reference style",
            interval=Interval(estimate=share, low=share, high=share),
            outcome=1 if abs(share - PUBLISHED[depth]) <= TOLERANCE else -1,
            note=f"published {numbers.percent(PUBLISHED[depth])}",
        )
        for depth, share in saved.items()
    )
    agrees = all(test.outcome > 0 for test in tests)
    ours, theirs = (
        " / ".join(f"{100 * share:.0f}" for share in shares.values())
        for shares in (saved, PUBLISHED)
    )
    said = f"{ours} % {'agrees with' if agrees else 'is not'} the abstract's {theirs} %"
    reason = "arithmetic, no interval"
    return Line.agreeing(Kind.ARITHMETIC, f"N = {switch}", tests, said=said, reason=reason)


def _measured(levels: Levels) -> str:
    """Whether the measured cache is the computed one, in every model of this study."""
    names = (KV, "kv_bytes/analytic")
    held = [[levels.observed(at, name).by_unit for name in names] for at in levels.places]
    equal = [kv == analytic.get(unit) for peak, analytic in held for unit, kv in peak.items()]
    if not equal:
        return "the arithmetic alone"
    return f"measured KV equals the arithmetic in {sum(equal)} of {len(equal)} cells here"
