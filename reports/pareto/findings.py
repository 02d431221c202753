"""All estimates and verdicts of a pareto study, in one value that the report arranges."""

import math
from pathlib import Path

import pandas as pd

from analysis.claims.ledger import judge_claims
from analysis.claims.rules import deciding
from analysis.claims.trained import Trained
from analysis.errors import FrameError, was_written
from analysis.frame import read_parquet
from analysis.metrics import Metric
from analysis.statistics.choices import ChosenPlan, choose_plans, half_of
from analysis.statistics.fronts import frontier, hypervolume_table, trades
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.noninferiority import fieller
from analysis.statistics.units import common_of
from analysis.study_file import ParetoFile
from reports.parts.metrics import judging_metrics, main_metrics

CURVE_COLUMNS = ("schedule", "unit", "images_seen", "plan", "value", "images")


class ParetoFindings:
    """A study's tables and verdicts: everything that the report arranges. Draws and writes nothing.

    Attributes:
        shown: plans of the main tables: full, and what was trained for, the deepest first.
        metrics: those that decide.
        main: those of the main tables: of the first feature space, and NLL.
        frontiers: one for each of `metrics` that some trained plan was measured by.
        trades: by metric, a subnet each, the deepest first.
        shares: of `remaining`.
        curves: of `load_curves`.
    """

    def __init__(self, study: ParetoFile, frame: pd.DataFrame, curves: pd.DataFrame | None) -> None:
        self.study, self.levels, self.curves = study, Levels(frame), curves
        levels, full_kv, depths = self.levels, study.kv_full_bytes, sorted(study.depths)[::-1]
        subnets = [PlanKey(subnet_depth=depth, switch=study.train_switch) for depth in depths]
        self.shown = plans = (FULL, *subnets)
        self.metrics = judging_metrics(study, levels.metrics)
        self.main = main_metrics(study, levels.metrics)
        known = set(levels.models["metric"])
        measured = [metric for metric in self.metrics if metric.name in known]
        planes = [frontier(levels, metric, full_kv=full_kv) for metric in measured]
        self.frontiers = tuple(plane for plane in planes if len(plane.front))
        self.trades = trades(levels, self.metrics, subnets)
        self.shares = remaining(Trained(study=study, levels=levels), self.metrics, plans)
        metrics = [plane.metric for plane in self.frontiers]
        self.hypervolumes = hypervolume_table(levels, metrics, plans[-1], full_kv=full_kv)
        half = half_of(study.geometry.depth, study.depths, study.train_switch)
        votes = deciding(study, self.metrics)
        self.chosen = choose_plans(
            levels, study.kv_budgets, full_kv=full_kv, half=half, deciding=votes
        )
        self.ledger = judge_claims(study, levels)

    def trained_for(self, chosen: ChosenPlan) -> bool:
        """Whether the model of a chosen plan was trained for it."""
        return self.levels.way(chosen.schedule).trains(chosen.plan)


def remaining(
    case: Trained, metrics: tuple[Metric, ...], plans: tuple[PlanKey, ...]
) -> pd.DataFrame:
    """What is left of the untrained damage, by every way to train and each plan it trained for.

    Of the full network: of the damage of half the layers. Columns: `schedule`, `plan`, `likelihood`
    (whether it is that, or sample quality), `share` with the ends `low`, `high` of Fieller's 90 %
    interval (infinite where the untrained damage is not clear of zero, NaN for one unit), `margin`.
    """
    rows = []
    for way in case.levels.ways:
        for plan in plans:
            if way is case.levels.base or not way.trains(plan):
                continue
            for metric in metrics:
                loss = case.loss("", metric, (way.name, plan))
                lost, untrained = loss.paired
                if not lost:
                    continue
                common = common_of(lost, untrained)
                share = fieller(lost.values, untrained.values, common_2R=common)
                if math.isnan(share.estimate):
                    continue
                at = (way.name, plan.label, metric.kind == "nll")
                rows.append((*at, *share.ends, loss.margin))
    columns = ["schedule", "plan", "likelihood", "share", "low", "high", "margin"]
    return pd.DataFrame(rows, columns=columns)


def load_curves(path: Path) -> pd.DataFrame | None:
    """`curves.parquet` over units; None where the study wrote none.

    Columns: `schedule`, `plan`, `thousands` (of image passes), select NLL in nats/token as `mean`,
    `low` and `high` (the range), and `images` behind each value.

    Raises:
        FrameError: a file that is no parquet, or lacks a column.
    """
    if not was_written(path):
        return None
    table = read_parquet(path)
    missing = [name for name in CURVE_COLUMNS if name not in table.columns]
    if missing:
        raise FrameError(f"{path}: missing columns {', '.join(missing)}; run the study again")
    if table.empty:
        return None
    grouped = table.groupby(["schedule", "plan", "images_seen"], sort=False)
    ends = {"mean": ("value", "mean"), "low": ("value", "min"), "high": ("value", "max")}
    lines = grouped.agg(**ends, images=("images", "first")).reset_index()
    return lines.assign(thousands=lines["images_seen"] / 1000)
