"""C2: a fixed subnet share trades the full network against the subnets.

From the smallest to the largest fixed share the full network must get worse and the subnet of half
the layers better.
"""

from analysis.claims.claim import Claim, LedgerRow
from analysis.claims.rules import Case, ruled, untested
from analysis.statistics.levels import FULL

CLAIM = Claim(
    id="C2",
    short="fixed shares trade",
    sentence="A fixed subnet share trades the full network against the subnets.",
    published="FID at share 0.1: full 1.96, subnet 2.68; at share 1: full 2.32, subnet 2.15",
    needs="needs two fixed shares and a subnet of half the layers",
)


def judge(case: Case) -> LedgerRow:
    """Two directions a metric."""
    ends, half, components = case.fixed_ends, case.half, []
    if ends is None or half is None:
        return untested(CLAIM, case.setting)
    low, high = (way.name for way in ends)
    for metric in case.metrics:
        for plan, worse, better in ((FULL, high, low), (half, low, high)):
            label = f"{plan.label}: {worse} worse than {better}"
            components += case.compared(label, metric, (worse, plan), (better, plan))
    rests_on = f"{low} and {high}: full and {half.label}"
    return ruled(CLAIM, case, components, tests=2, rests_on=rests_on)
