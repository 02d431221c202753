"""C2: fixed shares trade.

Sentence: A fixed subnet share trades the full network against the subnets.

Published: FID at share 0.1: full 1.96, subnet 2.68; at share 1: full 2.32, subnet 2.15.

Estimand: From the smallest fixed share to the largest, how much worse the full network gets, and
how much better the subnet of half the layers, unit by unit.

Rule: Two two-sided t tests over units. Reproduced where both differences are positive: both must
hold, so there is no correction. Contradicted where either is negative: of two two-sided tests at
5 %, that chance is at most 5 % in all.

Needs: needs two fixed shares and a subnet of half the layers.
"""

from analysis import numbers
from analysis.claims.rows import Claim, LedgerRow
from analysis.claims.rules import EVERY, Answer, Question, direction, judged, setting_of, untested
from analysis.claims.trained import Trained
from analysis.metrics import Metric
from analysis.statistics.levels import FULL

CLAIM = Claim.stated(__file__)


def judge(case: Trained) -> LedgerRow:
    ends, half = case.fixed_ends, case.half
    if ends is None or half is None:
        return untested(CLAIM, setting_of(case.study))
    low, high = (way.name for way in ends)

    def ask(metric: Metric) -> Answer | None:
        full = case.levels.paired((high, FULL), (low, FULL), metric.name)
        subnet = case.levels.paired((low, half), (high, half), metric.name)
        if not (full and subnet):
            return None
        tests = (
            direction(f"full network: {high} worse than {low}", metric, full),
            direction(f"{half.label}: {low} worse than {high}", metric, subnet),
        )
        lost, won = (numbers.interval(test.interval) for test in tests)
        return Answer(
            tests=tests,
            supports=all(test.outcome > 0 for test in tests),
            contradicts=any(test.outcome < 0 for test in tests),
            said=f"{high} in place of {low} costs the full network {lost} in {metric.short} and "
            f"spares half the layers {won}",
            heads=("both ways", "no trade"),
        )

    lines = Question(claim=CLAIM, zones=EVERY).lines(case.study, case.levels.metrics, ask)
    return judged(CLAIM, case.study, lines)
