"""Where may one switch, and does it matter where training did: maps and losses over switch points.

A model is trained for one switch point N and used at every M. *Transfer* is what the mismatch
costs: the model trained at N, used at M, against the model trained at M used there, paired unit
by unit. *Loss* is what switching costs at all: the model trained at M, used there, against
the full network that training began from.
"""

import math
from collections.abc import Sequence
from itertools import product, takewhile
from typing import Any

import pandas as pd

from analysis.maps.heatmap import ENDS, Heatmap, placed
from analysis.metrics import Metric
from analysis.statistics.choices import stands_in
from analysis.statistics.fronts import KV
from analysis.statistics.levels import FULL, Levels, PlanKey

COSTS = (KV, "flops/transformer")
Row = dict[str, Any]


def trained_at(levels: Levels) -> dict[int, str]:
    """Switch point to the name of the model that was trained for it."""
    models = ((way.train_switch, way.name) for way in levels.ways if not way.anchor)
    return dict(sorted((switch, name) for switch, name in models if switch is not None))


def transfer_map(levels: Levels, metric: Metric, depth: int) -> Heatmap:
    """Transfer of every pair (trained at: row, used at: column), in the metric's unit.

    The diagonal is zero by construction. Holm's correction runs over the map.
    """
    models = trained_at(levels)
    found, failed = [], []
    for trained, one in models.items():
        for used, matched in models.items():
            plan = PlanKey(subnet_depth=depth, switch=used)
            if used == trained:
                found.append((trained, used, 0.0, 0.0, 0.0, math.nan))
            elif pair := levels.paired((one, plan), (matched, plan), metric.name):
                x = pair.interval()
                found.append((trained, used, *x.ends, x.p_value))
            elif plan in levels.plans and (one, plan) not in levels.places:
                failed.append((trained, used))
    columns = ["trained", "used", *ENDS, "p_value"]
    return Heatmap(
        title=f"d{depth}: {metric.damage}",
        unit=metric.unit,
        row_title="trained at",
        column_title="used at",
        **placed(
            pd.DataFrame(found, columns=columns),
            pd.DataFrame(failed, columns=columns[:2]),
            ("trained", list(models)),
            ("used", list(models)),
        ),
    )


def switch_losses(
    levels: Levels, metric: Metric, depths: Sequence[int], half: PlanKey | None, *, decides: bool
) -> pd.DataFrame:
    """The loss of every depth at every trained switch point, with what it saves.

    Columns: `depth`, `switch`, `damage` (against the base's full network, in the metric's
    unit) with the ends `low` and `high` of its 95 % interval, `acceptable` (whether the plan stands
    in for the full network, by `choices.stands_in`, which `half` is for; None where that cannot be
    said, or the metric does not decide), `units`, and `kv_share`, `flops_share` of the full
    network's.
    """
    rows = []
    for depth, (switch, name) in product(depths, trained_at(levels).items()):
        plan = PlanKey(subnet_depth=depth, switch=switch)
        if loss := levels.loss((name, plan), metric.name):
            x, acceptable = loss.interval(), None
            if decides:
                acceptable = stands_in(levels, (name, plan), metric.name, half)
            shares = (levels.counted(plan, c) / levels.counted(FULL, c) for c in COSTS)
            rows.append((depth, switch, *x.ends, acceptable, len(loss.units), *shares))
    columns = ["depth", "switch", *ENDS, "acceptable", "units", "kv_share", "flops_share"]
    return pd.DataFrame(rows, columns=columns)


def earliest(losses: pd.DataFrame, depth: int) -> Row | None:
    """The row of `switch_losses` from which on every measured one is acceptable; None for none."""
    mine = losses[losses["depth"] == depth].sort_values("switch", ascending=False)
    good = takewhile(lambda row: row["acceptable"] is True, mine.to_dict("records"))
    found: Row | None = [None, *good][-1]
    return found
