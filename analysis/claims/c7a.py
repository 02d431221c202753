"""C7a: the full network loses nothing.

Sentence: One model serves every depth, at no cost to the full network.

Published: A single checkpoint of 2.0 billion parameters; FID of its full network about 1.95,
against 1.95 of the checkpoint that training began from.

Estimand: The loss of the progressive schedule's full network against that of the network that
training began from, as a share of the untrained damage of half the layers. Beside it the control,
which was trained on as long without subnet steps.

Rule: Non-inferiority over units, margin 2 %: reproduced where the loss is shown to be below it,
contradicted where it is shown to be beyond. A metric must have seen damage of every zone on the
ladder, since training may harm any. The control decides nothing.

Needs: needs the base, the progressive schedule and half the layers.
"""

from analysis.claims.rows import Claim, LedgerRow
from analysis.claims.rules import EVERY, Question, judged
from analysis.claims.trained import Trained
from analysis.statistics.levels import FULL

CLAIM = Claim.stated(__file__)


def judge(case: Trained) -> LedgerRow:
    question = Question(claim=CLAIM, zones=EVERY)
    plan = FULL if case.half else None
    return judged(CLAIM, case.study, case.no_loss(question, case.progressive(), plan))
