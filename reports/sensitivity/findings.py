"""All estimates, maps and verdicts of a sensitivity study, for the report to arrange."""

from dataclasses import dataclass

import pandas as pd

from analysis.claims.c1 import judge_c1
from analysis.claims.rules import LedgerRow
from analysis.frame import headline_metrics
from analysis.maps.heatmap import Heatmap
from analysis.maps.scale_depth import DepthMaps
from analysis.metrics import Metric, parse_metric
from analysis.statistics import damage as damages
from analysis.statistics.asymmetry import AsymmetryStudy, asymmetry_study
from analysis.study_file import SensitivityFile

SAVINGS = {"kv_bytes/peak": "KV saved", "flops/transformer": "FLOPs saved"}


@dataclass(frozen=True, kw_only=True)
class SelectorFindings:
    """What the plans of one selector cost.

    Attributes:
        windows: of `cells_by`, at half depth.
        scales: by metric, as measured and for each token.
        switches, savings: two-zone plans, what they cost and what they save.
        propagation: None without a plan at half depth.
    """

    selector: str
    asymmetry: AsymmetryStudy
    windows: pd.DataFrame
    scales: tuple[tuple[Heatmap, Heatmap], ...]
    switches: tuple[Heatmap, ...]
    savings: tuple[Heatmap, ...]
    propagation: Heatmap | None


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A study's tables and verdicts.

    Attributes:
        damage, failures, levels: of `analysis.statistics.damage`.
        metrics: of quality, in the order of a report.
        savings: exact metrics, those of `SAVINGS`.
        selectors: the study's main one first.
    """

    study: SensitivityFile
    damage: pd.DataFrame
    failures: pd.DataFrame
    levels: pd.DataFrame
    metrics: tuple[Metric, ...]
    savings: tuple[Metric, ...]
    seeds: tuple[int, ...]
    selectors: tuple[SelectorFindings, ...]
    claim: LedgerRow

    @property
    def failed(self) -> list[str]:
        """Names of the cells without numbers."""
        return [
            f"{row.plan} ({row.selector}, base seed {row.base_seed})"
            for row in self.failures.itertuples()
        ]

    @property
    def main(self) -> SelectorFindings:
        """Of the study's main selector."""
        return self.selectors[0]


def analyse(study: SensitivityFile, frame: pd.DataFrame) -> Findings:
    """All estimates and verdicts of a study; draws and writes nothing."""
    seeds, failures = damages.base_seeds(frame), damages.failed_cells(frame)
    pairs = damages.paired_differences(frame)
    damage = damages.damage_table(pairs, over_seeds=len(seeds) > 1)
    metrics = headline_metrics(frame)
    savings = tuple(parse_metric(name) for name in SAVINGS if (frame["metric"] == name).any())
    patch_nums, half = study.geometry.patch_nums, study.half_depth
    selectors = []
    for selector in sorted(study.selectors, key=lambda s: s != study.selector):
        asymmetry = asymmetry_study(pairs, study, selector=selector, networks=len(seeds))
        maps = DepthMaps(damage=damage, failures=failures, selector=selector, patch_nums=patch_nums)
        scales = [[maps.scale_depth(m, per_token=each) for each in (False, True)] for m in metrics]
        saved = (maps.saving(m, SAVINGS[m.name]) for m in savings)
        spread = maps.propagation(half)
        selectors.append(
            SelectorFindings(
                selector=selector,
                asymmetry=asymmetry,
                windows=maps.windows(tuple(study.windows), half, [*metrics, *savings]),
                scales=tuple((whole, each) for whole, each in scales if whole.rows),
                switches=tuple(d for d in map(maps.switch_depth, metrics) if d.rows),
                savings=tuple(d for d in saved if d.rows),
                propagation=spread if spread.tests or spread.failed.any() else None,
            )
        )
    return Findings(
        study=study,
        damage=damage,
        failures=failures,
        levels=damages.full_levels(frame),
        metrics=metrics,
        savings=savings,
        seeds=seeds,
        selectors=tuple(selectors),
        claim=judge_c1(selectors[0].asymmetry, dataset=study.dataset.name),
    )
