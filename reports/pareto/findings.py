"""All estimates and verdicts of a pareto study, in one value that the report arranges."""

from pathlib import Path

import pandas as pd

from analysis.claims.ledger import judge_claims
from analysis.claims.rules import deciding_metrics
from analysis.frame import FrameError, read_parquet
from analysis.statistics.choices import choose_plans
from analysis.statistics.fronts import frontier, hypervolume_table, trade
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.study_file import ParetoFile

CURVE_COLUMNS = ("schedule", "seed", "images_seen", "plan", "value", "images")


class ParetoFindings:
    """A study's tables and verdicts: everything that the report arranges. Draws and writes nothing.

    Attributes:
        shown: plans of the main tables: full, and what was trained for, the deepest first.
        metrics: those that decide.
        frontiers: one for each of them that some trained plan was measured by.
        trades: by name of the metric, a subnet each, the deepest first.
        curves: of `load_curves`.
    """

    def __init__(self, study: ParetoFile, frame: pd.DataFrame, curves: pd.DataFrame | None) -> None:
        self.study, self.levels, self.curves = study, Levels(frame), curves
        levels, full_kv, depths = self.levels, study.kv_full_bytes, sorted(study.depths)[::-1]
        subnets = [PlanKey(subnet_depth=depth, switch=study.train_switch) for depth in depths]
        self.shown = tuple(plan.label for plan in (FULL, *subnets))
        self.metrics = deciding_metrics(levels.metrics)
        planes = [frontier(levels, metric, full_kv=full_kv) for metric in self.metrics]
        self.frontiers = tuple(plane for plane in planes if len(plane.front))
        self.trades = {
            metric.name: [found for subnet in subnets if (found := trade(levels, metric, subnet))]
            for metric in self.metrics
        }
        self.hypervolumes = hypervolume_table(self.frontiers, study.reference_point)
        self.chosen = choose_plans(levels, study.kv_budgets, full_kv=full_kv)
        self.ledger = judge_claims(study, levels)


def load_curves(path: Path) -> pd.DataFrame | None:
    """`curves.parquet` over seeds; None where the study wrote none.

    Columns: `schedule`, `plan`, `thousands` (of image passes), select NLL in nats/token as `mean`,
    `low` and `high` (the range), and `images` behind each value.

    Raises:
        FrameError: a file that is no parquet, or lacks a column.
    """
    if not path.exists():
        return None
    table = read_parquet(path)
    missing = [name for name in CURVE_COLUMNS if name not in table.columns]
    if missing:
        raise FrameError(f"{path}: missing columns {', '.join(missing)}; run the study again")
    if table.empty:
        return None
    grouped = table.groupby(["schedule", "plan", "images_seen"], sort=False)
    ends = {
        name: ("value", how) for name, how in (("mean", "mean"), ("low", "min"), ("high", "max"))
    }
    lines = grouped.agg(**ends, images=("images", "first")).reset_index()
    return lines.assign(thousands=lines["images_seen"] / 1000)
