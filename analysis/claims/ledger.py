"""The ledger: what a study that trains says of each of the paper's claims."""

from dataclasses import replace

from analysis.claims import c1, c2, c3, c4, c5, c6, c7
from analysis.claims.claim import LedgerRow
from analysis.claims.rules import Case, untested
from analysis.statistics.intervals import Verdict
from analysis.statistics.levels import Levels
from analysis.study_file import ParetoFile


def judge_claims(study: ParetoFile, levels: Levels) -> tuple[LedgerRow, ...]:
    """C1 to C7 by the rules of `analysis.claims.rules`."""
    case = Case(study=study, levels=levels)
    rows = [untested(c1.CLAIM, case.setting)]
    rows += [claim.judge(case) for claim in (c2, c3, c4, c5, c6, c7)]
    return tuple(_limited(row, study) for row in rows)


def _limited(row: LedgerRow, study: ParetoFile) -> LedgerRow:
    """The row with no more of a verdict than one seed, or a quick run, can carry."""
    if len(study.seeds) == 1 and row.verdict is Verdict.REPRODUCED:
        said = "with one training seed no claim is called reproduced"
        row = replace(row, verdict=Verdict.INCONCLUSIVE, reason=f"{row.reason}; {said}")
    if study.quick and row.verdict is not Verdict.UNTESTED and not row.arithmetic:
        row = replace(row, verdict=Verdict.INCONCLUSIVE, reason="a quick run: not a result")
    return row
