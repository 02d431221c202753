"""The ledger: what a study that trains says of each claim, in nine rows."""

from analysis.claims import c1, c2, c3, c4, c5, c6, c7a, c7b, c8
from analysis.claims.rows import LedgerRow
from analysis.claims.rules import setting_of, untested
from analysis.claims.trained import Trained
from analysis.statistics.levels import Levels
from analysis.study_file import ParetoFile


def judge_claims(study: ParetoFile, levels: Levels) -> tuple[LedgerRow, ...]:
    """C1 to C8, each by the rule in the docstring of its module."""
    case = Trained(study=study, levels=levels)
    trained = (claim.judge(case) for claim in (c2, c3, c4, c5, c6, c7a, c7b, c8))
    return untested(c1.CLAIM, setting_of(study)), *trained
