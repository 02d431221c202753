"""All estimates and verdicts of a sensitivity study, in one value that the report arranges."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.claims.c1 import ClaimVerdict, judge_c1
from analysis.frame import FrameError, headline_metrics
from analysis.statistics.asymmetry import AsymmetryStudy, asymmetry_study
from analysis.statistics.damage import base_seeds, damage_table, failed_cells, full_levels
from reports.parts.record import SensitivityRecord
from reports.sensitivity import words as sentences


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A study's tables and verdicts: everything that the report arranges."""

    record: SensitivityRecord
    frame: pd.DataFrame
    damage: pd.DataFrame
    failures: pd.DataFrame
    levels: pd.DataFrame
    asymmetries: tuple[AsymmetryStudy, ...]  # one a selector, the study's main one first
    claim: ClaimVerdict

    @property
    def basis(self) -> str:
        """What the numbers of the headline metrics rest on, as a sentence."""
        return sentences.basis(
            self.levels, headline_metrics(self.frame), seeds=base_seeds(self.frame)
        )

    @property
    def asymmetry(self) -> AsymmetryStudy:
        """That of the study's main selector."""
        return self.asymmetries[0]


def analyse(record: SensitivityRecord, frame: pd.DataFrame) -> Findings:
    """All estimates and verdicts of a study; draws and writes nothing."""
    selectors = sorted(record.selectors, key=lambda s: s != record.selector)
    asymmetries = tuple(
        asymmetry_study(
            frame,
            patch_nums=record.patch_nums,
            windows=record.windows,
            half_depth=record.half_depth,
            selector=selector,
        )
        for selector in selectors
    )
    return Findings(
        record=record,
        frame=frame,
        damage=damage_table(frame),
        failures=failed_cells(frame),
        levels=full_levels(frame),
        asymmetries=asymmetries,
        claim=judge_c1(asymmetries[0], dataset=record.dataset),
    )


def check_together(record: SensitivityRecord, frame: pd.DataFrame, *, source: Path) -> None:
    """The frame speaks of scales, switches, depths and windows that the record has."""
    scales = len(record.patch_nums)
    for column, lowest, highest in (
        ("scale", 1, scales),
        ("switch", 0, scales),
        ("subnet_depth", 1, record.depth),
    ):
        values = frame[column].dropna()
        strange = values[(values < lowest) | (values > highest)]
        if len(strange):
            raise FrameError(
                f"{source}: {column} is {strange.iloc[0]}, outside {lowest}..{highest} of "
                "study.json; keep the two files of one study together, or run it again"
            )
    for column, known in (("window", set(record.windows)), ("selector", set(record.selectors))):
        rows = frame if column == "window" else frame[frame["family"] != "full"]
        strange = sorted(set(rows[column].dropna()) - known)
        if strange:
            raise FrameError(
                f"{source}: {column} {strange[0]!r} is not in study.json; keep the two files of "
                "one study together, or run it again"
            )
