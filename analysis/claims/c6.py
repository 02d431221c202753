"""C6: latency saved.

Sentence: Latency falls by 1.7 (d16), 2.6 (d8) and 3.5 times (d2).

Published: 3.62 s to 2.12 s for d16, VAR-d30 at batch 64 on one L20.

Estimand: The time of a generation of the full network over that of the subnet, both with the
official weights' geometry, timed by turns on one GPU.

Rule: Reproduced where the published factor lies within the range of the repeats, contradicted where
it lies outside. A study of small networks has no such timing: only the bound that FLOPs alone would
allow is said.

Needs: needs a GPU and the official geometry.
"""

from analysis.claims.rows import Claim, Kind, LedgerRow
from analysis.claims.rules import untested
from analysis.claims.trained import PAPERS, Trained

CLAIM = Claim.stated(__doc__)
PLANS = ("d16@6", "d8@6", "d2@6")


def judge(case: Trained) -> LedgerRow:
    cost = case.study.paper_cost
    bounds = ", ".join(f"{p} {1 / cost[p].flops_share:.1f}" for p in PLANS if p in cost)
    said = f"; FLOPs alone would allow {bounds} times" if bounds else ""
    return untested(CLAIM, PAPERS, kind=Kind.TIMING, but=said)
