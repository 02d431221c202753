"""All estimates, maps and verdicts of a sensitivity study, for the report to arrange."""

from dataclasses import dataclass

import pandas as pd

from analysis.claims.c1 import judge_c1
from analysis.claims.rows import LedgerRow
from analysis.frame import headline_metrics
from analysis.maps.heatmap import Heatmap
from analysis.maps.scale_depth import DepthMaps
from analysis.metrics import Metric, parse_metric
from analysis.statistics.asymmetry import AsymmetryStudy, asymmetry_study
from analysis.statistics.damage import Damages
from analysis.study_file import SensitivityFile
from reports.parts.metrics import judging_metrics, main_metrics

SAVINGS = {"kv_bytes/peak": "KV saved", "flops/transformer": "FLOPs saved"}


@dataclass(frozen=True, kw_only=True)
class SelectorFindings:
    """What the plans of one selector cost.

    Attributes:
        windows: of `cells_by`, at half depth.
        scales: by metric, as measured and for each token.
        switches, savings: two-zone plans, what they cost and what they save.
        propagation: None without a plan at half depth.
        claim: what this selector's plans say of C1.
    """

    selector: str
    asymmetry: AsymmetryStudy
    windows: pd.DataFrame
    scales: tuple[tuple[Heatmap, Heatmap], ...]
    switches: tuple[Heatmap, ...]
    savings: tuple[Heatmap, ...]
    propagation: Heatmap | None
    claim: LedgerRow


@dataclass(frozen=True, kw_only=True)
class Findings:
    """A study's tables and verdicts.

    Attributes:
        metrics: of quality, in the order of a report, without those of the second feature space.
        judging: those of them that have a line in the ledger.
        every: all of quality.
        savings: exact metrics, those of `SAVINGS`.
        selectors: the study's main one first.
    """

    study: SensitivityFile
    damages: Damages
    metrics: tuple[Metric, ...]
    judging: tuple[Metric, ...]
    every: tuple[Metric, ...]
    savings: tuple[Metric, ...]
    selectors: tuple[SelectorFindings, ...]

    @property
    def units(self) -> tuple[int, ...]:
        return self.damages.units

    @property
    def failed(self) -> list[str]:
        return [
            f"{row.plan} ({row.selector}, unit {row.unit})"
            for row in self.damages.failures.itertuples()
        ]

    @property
    def main(self) -> SelectorFindings:
        return self.selectors[0]


def analyse(study: SensitivityFile, frame: pd.DataFrame) -> Findings:
    """All estimates and verdicts of a study; draws and writes nothing."""
    damages, every = Damages(frame), headline_metrics(frame)
    metrics = main_metrics(study, every)
    savings = tuple(parse_metric(name) for name in SAVINGS if (frame["metric"] == name).any())
    patch_nums, half = study.geometry.patch_nums, study.half_depth
    selectors = []
    for selector in sorted(study.selectors, key=lambda s: s != study.selector):
        asymmetry = asymmetry_study(damages, frame, study, selector=selector)
        maps = DepthMaps(
            damage=damages.table,
            failures=damages.failures,
            selector=selector,
            patch_nums=patch_nums,
        )
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
                claim=judge_c1(asymmetry, study),
            )
        )
    return Findings(
        study=study,
        damages=damages,
        metrics=metrics,
        judging=judging_metrics(study, metrics),
        every=every,
        savings=savings,
        selectors=tuple(selectors),
    )
