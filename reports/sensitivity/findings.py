"""All estimates, maps and verdicts of a sensitivity study, for the report to arrange."""

import pandas as pd

from analysis.claims.c1 import judge_c1
from analysis.frame import headline_metrics
from analysis.maps.scale_depth import DepthMaps
from analysis.metrics import parse_metric
from analysis.statistics.asymmetry import asymmetry_study
from analysis.statistics.damage import Damages
from analysis.study_file import SensitivityFile
from reports.parts.metrics import judging_metrics, main_metrics

SAVINGS = {"kv_bytes/peak": "KV saved", "flops/transformer": "FLOPs saved"}


class Findings:
    """A study's tables and verdicts. Draws and writes nothing.

    Attributes:
        metrics: of quality, in the order of a report, without those of the second feature space.
        judging: those of them that have a line in the ledger.
        every: all of quality.
        savings: exact metrics, those of `SAVINGS`.
        selectors: the study's main one first.
    """

    def __init__(self, study: SensitivityFile, frame: pd.DataFrame) -> None:
        self.study, self.damages, self.every = study, Damages(frame), headline_metrics(frame)
        self.metrics = main_metrics(study, self.every)
        self.judging = judging_metrics(study, self.metrics)
        known = set(frame["metric"])
        self.savings = tuple(parse_metric(name) for name in SAVINGS if name in known)
        order = sorted(study.selectors, key=lambda selector: selector != study.selector)
        self.selectors = tuple(SelectorFindings(self, frame, selector) for selector in order)
        self.main, self.units = self.selectors[0], self.damages.units
        self.failed = [
            f"{row.plan} ({row.selector}, unit {row.unit})"
            for row in self.damages.failures.itertuples()
        ]


class SelectorFindings:
    """What the plans of one selector cost.

    Attributes:
        windows: of `cells_by`, at half depth.
        scales: by metric, as measured and for each token.
        switches, savings: two-zone plans, what they cost and what they save.
        propagation: None without a plan at half depth.
        claim: what this selector's plans say of C1.
    """

    def __init__(self, found: Findings, frame: pd.DataFrame, selector: str) -> None:
        study, damages, metrics = found.study, found.damages, found.metrics
        self.selector = selector
        self.asymmetry = asymmetry_study(damages, frame, study, selector=selector)
        self.claim = judge_c1(self.asymmetry, study)
        maps = DepthMaps(
            damage=damages.table,
            failures=damages.failures,
            selector=selector,
            patch_nums=study.geometry.patch_nums,
        )
        windows, half = tuple(study.windows), study.half_depth
        self.windows = maps.windows(windows, half, [*metrics, *found.savings])
        scales = [[maps.scale_depth(m, per_token=each) for each in (False, True)] for m in metrics]
        self.scales = tuple((whole, each) for whole, each in scales if whole.rows)
        self.switches = tuple(drawn for drawn in map(maps.switch_depth, metrics) if drawn.rows)
        saved = (maps.saving(m, SAVINGS[m.name]) for m in found.savings)
        self.savings = tuple(drawn for drawn in saved if drawn.rows)
        spread = maps.propagation(half)
        self.propagation = spread if spread.tests or spread.failed.any() else None
