"""All estimates and verdicts of a pareto study, in one value that the report arranges."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from analysis.claims.ledger import LedgerRow, judge_claims
from analysis.statistics.fronts import ChosenPlan, choose_plans, hypervolume_table
from analysis.statistics.levels import difference_table, level_table, unfinished
from reports.parts.record import ParetoRecord


@dataclass(frozen=True, kw_only=True)
class ParetoFindings:
    """A study's tables and verdicts: everything that the report arranges."""

    record: ParetoRecord
    frame: pd.DataFrame
    curves: pd.DataFrame | None
    levels: pd.DataFrame
    differences: pd.DataFrame
    hypervolumes: pd.DataFrame
    unfinished: pd.DataFrame
    chosen: tuple[ChosenPlan, ...]
    ledger: tuple[LedgerRow, ...]

    @property
    def subnets(self) -> tuple[str, ...]:
        """The subnets that models were trained for, the deepest first."""
        switch = self.record.train_switch
        return tuple(f"d{depth}@{switch}" for depth in sorted(self.record.depths, reverse=True))


def analyse(record: ParetoRecord, frame: pd.DataFrame, curves: pd.DataFrame | None):
    """All estimates and verdicts of a study; draws and writes nothing."""
    return ParetoFindings(
        record=record,
        frame=frame,
        curves=curves,
        levels=level_table(frame),
        differences=difference_table(frame),
        hypervolumes=hypervolume_table(frame, record.reference_point, full_kv=record.kv_full_bytes),
        unfinished=unfinished(frame),
        chosen=tuple(choose_plans(frame, record.kv_budgets, full_kv=record.kv_full_bytes)),
        ledger=judge_claims(frame, record.facts),
    )
