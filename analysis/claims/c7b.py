"""C7b: switching costs nothing.

Sentence: Depth is switched at run time, at no cost, in one model.

Published: A single checkpoint whose depth is chosen at each generation; no timing.

Estimand: The time of a generation under a depth plan right after one under another plan, over that
of one after the same plan, timed by turns.

Rule: Reproduced where the ratio's range over repeats holds 1, contradicted where it lies above. It
is a statement about a machine and a sampler; a study that trains has no such timing.

Needs: needs timings by turns of a sampler that switches, which no study takes yet.
"""

from analysis.claims.rows import Claim, Kind, LedgerRow
from analysis.claims.rules import setting_of, untested
from analysis.claims.trained import Trained

CLAIM = Claim.stated(__doc__)


def judge(case: Trained) -> LedgerRow:
    return untested(CLAIM, setting_of(case.study), kind=Kind.TIMING)
