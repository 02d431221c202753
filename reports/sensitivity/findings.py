"""All estimates, maps and verdicts of a sensitivity study, for the report to arrange."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis.claims.c1 import judge_c1
from analysis.claims.claim import LedgerRow
from analysis.frame import FrameError, find_metric, headline_metrics
from analysis.maps.heatmap import Heatmap
from analysis.maps.scale_depth import DepthMaps
from analysis.metrics import Metric
from analysis.statistics.asymmetry import AsymmetryStudy, asymmetry_study
from analysis.statistics.damage import (
    base_seeds,
    damage_table,
    failed_cells,
    full_levels,
    paired_differences,
)
from analysis.study_file import SensitivityFile

SAVINGS = (("kv_bytes/peak", "KV saved"), ("flops/transformer", "FLOPs saved"))


@dataclass(frozen=True, kw_only=True)
class SelectorFindings:
    """What the plans of one selector cost.

    Attributes:
        windows: of `cells_by`, at half depth.
        scales: by metric, as measured and for each token.
        switches, savings: two-zone plans, what they cost and what they save.
        propagation: None without a plan at half depth.
    """

    asymmetry: AsymmetryStudy
    windows: pd.DataFrame
    scales: tuple[tuple[Heatmap, Heatmap], ...]
    switches: tuple[Heatmap, ...]
    savings: tuple[Heatmap, ...]
    propagation: Heatmap | None

    @property
    def selector(self) -> str:
        return self.asymmetry.selector


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A study's tables and verdicts.

    Attributes:
        damage, failures, levels: of `analysis.statistics.damage`.
        metrics: of quality, in the order of a report.
        savings: exact metrics with their titles.
        selectors: the study's main one first.
    """

    study: SensitivityFile
    frame: pd.DataFrame
    damage: pd.DataFrame
    failures: pd.DataFrame
    levels: pd.DataFrame
    metrics: tuple[Metric, ...]
    savings: tuple[tuple[Metric, str], ...]
    seeds: tuple[int, ...]
    selectors: tuple[SelectorFindings, ...]
    claim: LedgerRow

    @property
    def main(self) -> SelectorFindings:
        """Of the study's main selector."""
        return self.selectors[0]


def analyse(study: SensitivityFile, frame: pd.DataFrame) -> Findings:
    """All estimates and verdicts of a study; draws and writes nothing."""
    seeds, pairs, failures = base_seeds(frame), paired_differences(frame), failed_cells(frame)
    damage = damage_table(pairs, over_seeds=len(seeds) > 1)
    metrics = headline_metrics(frame)
    savings = tuple((m, title) for name, title in SAVINGS if (m := find_metric(frame, name)))
    patch_nums = study.geometry.patch_nums
    selectors = []
    for selector in sorted(study.selectors, key=lambda s: s != study.selector):
        asymmetry = asymmetry_study(pairs, study, selector=selector, networks=len(seeds))
        maps = DepthMaps(damage=damage, failures=failures, selector=selector, patch_nums=patch_nums)
        scales = [
            (maps.scale_depth(m, per_token=False), maps.scale_depth(m, per_token=True))
            for m in metrics
        ]
        spread = maps.propagation(study.half_depth)
        shown = [*metrics, *(m for m, _ in savings)]
        selectors.append(
            SelectorFindings(
                asymmetry=asymmetry,
                windows=maps.windows(tuple(study.windows), study.half_depth, shown),
                scales=tuple(pair for pair in scales if pair[0].rows),
                switches=tuple(d for m in metrics if (d := maps.switch_depth(m)).rows),
                savings=tuple(d for m, said in savings if (d := maps.saving(m, said)).rows),
                propagation=spread if spread.tests or spread.failed.any() else None,
            )
        )
    return Findings(
        study=study,
        frame=frame,
        damage=damage,
        failures=failures,
        levels=full_levels(frame),
        metrics=metrics,
        savings=savings,
        seeds=seeds,
        selectors=tuple(selectors),
        claim=judge_c1(selectors[0].asymmetry, dataset=study.dataset.name),
    )


def check_together(study: SensitivityFile, frame: pd.DataFrame, *, source: Path) -> None:
    """The frame speaks of scales, switches, depths and windows that the study file has."""
    scales = len(study.geometry.patch_nums)
    for column, allowed in (
        ("scale", range(1, scales + 1)),
        ("switch", range(scales + 1)),
        ("subnet_depth", range(1, study.geometry.depth + 1)),
        ("window", study.windows),
        ("selector", study.selectors),
    ):
        strange = set(frame.loc[frame["family"] != "full", column].dropna()) - set(allowed)
        if strange:
            raise FrameError(
                f"{source}: {column} {min(strange)!r} is not in study.json; keep the two files of "
                "one study together, or run it again"
            )
