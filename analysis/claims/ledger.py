"""The ledger: what a study that trains says of each claim, in nine rows, what one that measures
costs says of those that are about costs, and one of many regimes of C3 in each."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.claims import c1, c2, c3, c4, c5, c6, c7a, c7b, c8
from analysis.claims.costs import Costs
from analysis.claims.rows import Kind, LedgerRow, Line
from analysis.claims.rules import setting_of, untested
from analysis.claims.trained import Trained
from analysis.maps.regimes import Regime
from analysis.statistics.levels import Levels
from analysis.study_file import ParetoFile, RegimeFile


def judge_claims(study: ParetoFile, levels: Levels) -> tuple[LedgerRow, ...]:
    """C1 to C8, each by the rule in the docstring of its module."""
    case = Trained(study=study, levels=levels)
    trained = (claim.judge(case) for claim in (c2, c3, c4, c5, c6, c7a, c7b, c8))
    return untested(c1.CLAIM, setting_of(study)), *trained


def judge_costs(case: Costs) -> tuple[LedgerRow, ...]:
    return tuple(claim.judge_costs(case) for claim in (c5, c6, c7b, c8))


def judge_regimes(study: RegimeFile, regimes: Sequence[Regime]) -> LedgerRow:
    """A line of likelihood a regime, its part. The row itself stays untested: sample quality
    decides C3, and this study draws no sample; it explains what others judge."""
    row = untested(c3.CLAIM, setting_of(study), but="; no sample is drawn here, only likelihood")
    return replace(row, lines=(*row.lines, *(_line(study, regime) for regime in regimes)))


def _line(study: RegimeFile, regime: Regime) -> Line:
    judged = c3.judge(Trained(study=study, levels=regime.levels))
    found = judged.of(Kind.LIKELIHOOD) or judged.lines
    return replace(found[0], kind=Kind.LIKELIHOOD, part=regime.label)
