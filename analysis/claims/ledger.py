"""The ledger: what a study that trains says of each claim, in nine rows, and what one that measures
costs says of those that are about costs."""

import pandas as pd

from analysis.claims import c1, c2, c3, c4, c5, c6, c7a, c7b, c8
from analysis.claims.costs import Costs
from analysis.claims.rows import LedgerRow
from analysis.claims.rules import setting_of, untested
from analysis.claims.trained import Trained
from analysis.efficiency_file import EfficiencyFile
from analysis.statistics.levels import Levels
from analysis.study_file import ParetoFile


def judge_claims(study: ParetoFile, levels: Levels) -> tuple[LedgerRow, ...]:
    """C1 to C8, each by the rule in the docstring of its module."""
    case = Trained(study=study, levels=levels)
    trained = (claim.judge(case) for claim in (c2, c3, c4, c5, c6, c7a, c7b, c8))
    return untested(c1.CLAIM, setting_of(study)), *trained


def judge_costs(study: EfficiencyFile, frame: pd.DataFrame) -> tuple[LedgerRow, ...]:
    case = Costs(study, frame)
    return tuple(claim.judge_costs(case) for claim in (c5, c6, c7b, c8))
