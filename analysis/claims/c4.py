"""C4: subnets nearly free.

Sentence: Subnets of half and a quarter of the layers are nearly free in quality.

Published: FID 2.05 (d16) and 2.12 or 2.15 (d8) against 1.95; 2.97 or 2.67 (d2). Of the untrained
damage d16 keeps 2.9 %, d8 at most 5.8 %.

Estimand: The loss of a subnet of the progressive schedule, against the full network that training
began from, as a share of the damage that the same plan has on that network untrained.

Rule: Non-inferiority over units for each part: below 5 % for half the layers, below 10 % for a
quarter and for the shallowest. A part is reproduced where the loss is shown to be below its margin,
contradicted where it is shown to be beyond, after Holm's correction over half and a quarter,
either of which would contradict the claim. The claim needs both; the shallowest, which the paper
publishes and does not call free, is a line beside them.

Needs: needs the base, the progressive schedule and this subnet (the fewest layers: fewer than a
quarter).
"""

from analysis.claims.rows import Claim, LedgerRow
from analysis.claims.rules import Question, all_of, setting_of
from analysis.claims.trained import Trained

CLAIM = Claim.stated(__file__)
HALF, QUARTER, SHALLOWEST = "half the layers", "a quarter of the layers", "the fewest layers"


def judge(case: Trained) -> LedgerRow:
    plans = {HALF: case.half, QUARTER: case.subnet(4), SHALLOWEST: case.shallowest}
    both = [plans[part] for part in (HALF, QUARTER)]
    found = {
        part: case.no_loss(Question(claim=CLAIM, part=part), case.progressive(), plan, among=both)
        for part, plan in plans.items()
    }
    verdict = all_of([*found[HALF], *found[QUARTER]])
    lines = tuple(line for both in found.values() for line in both)
    return LedgerRow(claim=CLAIM, setting=setting_of(case.study), verdict=verdict, lines=lines)
