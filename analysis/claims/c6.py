"""C6: latency falls. Not tested by training; what FLOPs alone would allow is said."""

from analysis.claims.claim import Claim, LedgerRow
from analysis.claims.rules import Case, untested

CLAIM = Claim(
    id="C6",
    short="latency saved",
    sentence="Latency falls by 1.7 (d16), 2.6 (d8) and 3.5 times (d2).",
    published="3.62 s to 2.12 s for d16",
    needs="needs a GPU and the official weights",
)


def judge(case: Case) -> LedgerRow:
    """Untested, with the bounds that arithmetic gives."""
    cost = case.study.paper_cost
    wanted = [plan for plan in ("d16@6", "d8@6", "d2@6") if plan in cost]
    bounds = ", ".join(f"{plan} {1 / cost[plan].flops_share:.1f}" for plan in wanted)
    said = f"; FLOPs alone would allow {bounds} times" if bounds else ""
    return untested(CLAIM, "the paper's setting", but=said)
