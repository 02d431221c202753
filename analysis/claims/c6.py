"""C6: latency saved.

Sentence: Latency falls by 1.7 (d16), 2.6 (d8) and 3.5 times (d2).

Published: 3.62 s to 2.12 s for d16, VAR-d30 at batch 64 on one L20.

Estimand: The time of a generation of the full network over that of the subnet, both with the
official weights' geometry, timed by turns on one GPU.

Rule: Every factor, published in steps of 0.1, has to lie within 0.05 of the range of the repeats of
its plan after scale 6: reproduced where all three do, contradicted where one does not. Only VAR-d30
at batch 64 on a GPU decides, in five turns or more, and says on which. A study of small networks
has no such timing: the bound that FLOPs alone would allow is said, and what was measured instead.

Needs: needs five turns on a GPU with the official geometry.
"""

from collections.abc import Mapping

from analysis.claims.costs import Costs, speedup_test
from analysis.claims.rows import Claim, Kind, LedgerRow, Line
from analysis.claims.rules import untested
from analysis.claims.trained import PAPERS, Trained
from analysis.efficiency_file import OURS
from analysis.maps.generation import Sampling
from analysis.statistics.levels import PlanKey
from analysis.study_file import PaperCost

CLAIM = Claim.stated(__file__)
PUBLISHED = {PlanKey(16, 6): 1.7, PlanKey(8, 6): 2.6, PlanKey(2, 6): 3.5}


def judge(case: Trained) -> LedgerRow:
    return untested(CLAIM, PAPERS, kind=Kind.TIMING, but=_bounds(case.study.paper_cost))


def judge_costs(case: Costs) -> LedgerRow:
    sampling = case.papers
    lacking = {plan.label for plan in PUBLISHED} - case.study.plans.keys()
    if sampling is None or case.study.quick or lacking:
        here = "".join(_instead(one) for one in case.samplings[-1:])
        said = _bounds(case.study.paper_cost) + here
        return untested(CLAIM, PAPERS, kind=Kind.TIMING, but=said)
    tests = tuple(speedup_test(sampling, plan, factor) for plan, factor in PUBLISHED.items())
    measured = " / ".join(f"{test.interval.estimate:.2f}" for test in tests)
    said = f"{measured} times, published {' / '.join(map(str, PUBLISHED.values()))}"
    reason = f"range of the repeats by turns, {case.study.measured_on}"
    line = Line.agreeing(Kind.TIMING, "", tests, said=said, reason=reason)
    return LedgerRow(claim=CLAIM, setting=PAPERS, verdict=line.verdict, lines=(line,))


def _bounds(cost: Mapping[str, PaperCost]) -> str:
    known = [plan.label for plan in PUBLISHED if plan.label in cost]
    bounds = ", ".join(f"{plan} {1 / cost[plan].flops_share:.1f}" for plan in known)
    return f"; FLOPs alone would allow {bounds} times" if bounds else ""


def _instead(sampling: Sampling) -> str:
    measured = sampling.latency.loc[OURS].drop(index=sampling.study.full)
    said = ", ".join(f"{plan} {row.speedup:.2f}" for plan, row in measured.iterrows())
    return f"; measured instead on {sampling.study.measured_on}, batch {sampling.batch}: {said}"
