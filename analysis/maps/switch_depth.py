"""Where may one switch, and does it matter where training did: maps and losses over switch points.

A model is trained for one switch point N and used at every M. *Transfer* is what the mismatch
costs: the model trained at N, used at M, against the model trained at M used there, paired by
sets and seeds. *Loss* is what switching costs at all: the model trained at M, used there, against
the full network of the control, which was trained as long without subnets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.frame import FINISHED
from analysis.maps.scale_depth import Heatmap
from analysis.metrics import Metric
from analysis.statistics.fronts import NON_INFERIORITY_NATS
from analysis.statistics.intervals import Interval, holm, paired_t
from analysis.statistics.levels import CONTROL, paired_values, seed_table


def trained_at(frame: pd.DataFrame) -> dict[int, str]:
    """Switch point to the schedule label of the model that was trained for it."""
    models = frame[frame["schedule"] != CONTROL].drop_duplicates("schedule")
    pairs = {int(row.train_switch): str(row.schedule) for row in models.itertuples()}
    return dict(sorted(pairs.items()))


def transfer_map(frame: pd.DataFrame, metric: Metric, depth: int) -> Heatmap:
    """Transfer of every pair (trained at: row, used at: column), in the metric's unit.

    The diagonal is zero by construction. Holm's correction runs over the map.
    """
    labels = trained_at(frame)
    switches = tuple(labels)
    size = len(switches)
    values, low, high, p = (np.full((size, size), np.nan) for _ in range(4))
    failed = np.zeros((size, size), dtype=bool)
    for i, one in enumerate(switches):
        for j, used in enumerate(switches):
            cell = f"d{depth}@{used}"
            if i == j:
                values[i, j] = low[i, j] = high[i, j] = 0.0
                continue
            found, _ = paired_values(frame, (labels[one], cell), (labels[used], cell), metric.name)
            if not len(found):
                mine = frame[(frame["schedule"] == labels[one]) & (frame["cell"] == cell)]
                failed[i, j] = bool(len(mine)) and not (mine["status"] == FINISHED).any()
                continue
            interval = paired_t(found)
            values[i, j], low[i, j], high[i, j] = interval.estimate, interval.low, interval.high
            p[i, j] = interval.p_value
    names = tuple(str(switch) for switch in switches)
    return Heatmap(
        title=f"d{depth}: {metric.damage}",
        unit=metric.unit,
        row_title="trained at",
        column_title="used at",
        rows=names,
        columns=names,
        values=values,
        low=low,
        high=high,
        p_holm=holm(p.ravel()).reshape(p.shape),
        failed=failed,
    )


@dataclass(frozen=True, kw_only=True)
class SwitchLoss:
    """A subnet depth at the switch point that its model was trained for.

    Attributes:
        loss: against the control's full network, 95 % interval, in the metric's unit.
        upper: upper end of the one-sided 95 % interval of the loss; NaN where there is none.
        kv_share, flops_share: of the full network's.
        seeds: training seeds behind the loss.
    """

    depth: int
    switch: int
    loss: Interval
    upper: float
    kv_share: float
    flops_share: float
    seeds: int

    @property
    def acceptable(self) -> bool:
        """Whether a loss of `NON_INFERIORITY_NATS` is excluded; of NLL only."""
        return math.isfinite(self.upper) and self.upper < NON_INFERIORITY_NATS


def switch_losses(frame: pd.DataFrame, metric: Metric, depths: Sequence[int]) -> list[SwitchLoss]:
    """The loss of every depth at every trained switch point, with what it saves."""
    labels, found = trained_at(frame), []
    exact = seed_table(frame)
    exact = exact.drop_duplicates(["cell", "metric"]).set_index(["cell", "metric"])["value"]
    for depth in depths:
        for switch, label in labels.items():
            cell = f"d{depth}@{switch}"
            values, seeds = paired_values(frame, (label, cell), (CONTROL, "full"), metric.name)
            if not len(values):
                continue
            shares = [
                float(exact.get((cell, name), math.nan) / exact.get(("full", name), math.nan))
                for name in ("kv_bytes/peak", "flops/transformer")
            ]
            found.append(
                SwitchLoss(
                    depth=depth,
                    switch=switch,
                    loss=paired_t(values),
                    upper=paired_t(values, confidence=0.90).high,
                    kv_share=shares[0],
                    flops_share=shares[1],
                    seeds=len(seeds),
                )
            )
    return found


def earliest(losses: Sequence[SwitchLoss], depth: int) -> SwitchLoss | None:
    """The earliest switch from which on every measured one is acceptable; None where none is."""
    mine = sorted((x for x in losses if x.depth == depth), key=lambda x: x.switch)
    best = None
    for one in reversed(mine):
        if not one.acceptable:
            break
        best = one
    return best
