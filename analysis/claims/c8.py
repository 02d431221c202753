"""C8: half the layers after a later switch.

Sentence: Half the layers after scale 7 instead of 6 is nearly free, with half the cache and 1.8
times the speed.

Published: The conference poster: FID + 0.3, half the cache, 1.8 times. By our arithmetic d16@7
saves 36 % as the reference keeps its cache (47 % freed), and FLOPs allow 1.56 times at most.

Estimand: The loss of half the layers one scale after the switch point of the study, of a
progressive schedule that was trained for that later point, against the full network that training
began from, as a share of that plan's untrained damage.

Rule: Non-inferiority over units, margin 10 %: the published 0.3 is 8.6 % of the untrained damage of
d16@6, that of d16@7 not being published. Reproduced where the loss is shown to be below it,
contradicted where it is shown to be beyond. A model trained for another switch point decides
nothing.

Needs: needs the base and models trained by the progressive schedule for a switch point one scale
later than the study's own.
"""

from analysis.claims.rows import Claim, LedgerRow
from analysis.claims.rules import Question, setting_of
from analysis.claims.trained import Trained

CLAIM = Claim.stated(__doc__)


def judge(case: Trained) -> LedgerRow:
    later = case.study.train_switch + 1
    plan = case.subnet(2, switch=later)
    lines = case.no_loss(Question(claim=CLAIM), case.progressive(later), plan)
    return LedgerRow(
        claim=CLAIM, setting=setting_of(case.study), verdict=lines[0].verdict, lines=lines
    )
