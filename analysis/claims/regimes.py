"""C3 in every regime: by its own rule, at each age of the base and each learning rate."""

from collections.abc import Sequence
from dataclasses import replace

from analysis.claims import c3
from analysis.claims.rows import Kind, LedgerRow, Line
from analysis.claims.rules import setting_of, untested
from analysis.claims.trained import Trained
from analysis.maps.regimes import Regime
from analysis.study_file import RegimeFile


def judge_regimes(study: RegimeFile, regimes: Sequence[Regime]) -> LedgerRow:
    """A line of likelihood a regime, its part. The row itself stays untested: sample quality
    decides C3, and this study draws no sample; it explains what others judge."""
    row = untested(c3.CLAIM, setting_of(study), but="; no sample is drawn here, only likelihood")
    return replace(row, lines=(*row.lines, *(_line(study, regime) for regime in regimes)))


def _line(study: RegimeFile, regime: Regime) -> Line:
    judged = c3.judge(Trained(study=study, levels=regime.levels))
    found = judged.of(Kind.LIKELIHOOD) or judged.lines
    return replace(found[0], kind=Kind.LIKELIHOOD, part=regime.label)
