"""A search over training schedules: what its trials were, which win, and what retraining says.

A trial is scored on select images by two numbers in nats/token: the NLL of the full network
(`full`) and the mean NLL of its subnets (`subnets`). They choose; what is reported is measured on
test images, on models trained again with other seeds.
"""

from collections.abc import Sequence
from itertools import product
from typing import get_args

import numpy as np
import pandas as pd

from analysis.metrics import Metric
from analysis.search_file import TrialFacts
from analysis.statistics.fronts import non_dominated
from analysis.statistics.intervals import SIGNIFICANCE, holm
from analysis.statistics.levels import FULL, Levels, PlanKey
from analysis.statistics.units import mean_of
from analysis.study_file import Zone

OBJECTIVES: tuple[Zone, ...] = get_args(Zone)
PARAMETERS = ("start share", "end share", "first phase", "ramp of the rest", "ramp shape")
START, END, FIRST, RAMP, SHAPE = PARAMETERS
SUBNETS, COMPROMISE = "best subnets", "best compromise"


def trial_table(trials: Sequence[TrialFacts], *, reference: str) -> pd.DataFrame:
    """Trials that were scored, best compromise first.

    Columns: `number`, `label` (None for what the search proposed), `is_reference` (whether it is
    that of `reference`), `curve`, `PARAMETERS`, `OBJECTIVES`, and `compromise`: the mean of the
    objectives, in nats/token; `rank` by it, from 1; `front`: no other trial is better in both.
    """
    rows = [{**t.model_dump(), **t.parameters} for t in trials if t.status == "finished"]
    table = pd.DataFrame(rows, columns=["number", "label", "curve", *PARAMETERS, *OBJECTIVES])
    table["is_reference"] = table["label"] == reference
    table["compromise"] = table[list(OBJECTIVES)].mean(axis=1)
    table["front"] = non_dominated(table[list(OBJECTIVES)].to_numpy(dtype=float).reshape(-1, 2))
    table = table.sort_values(["compromise", "number"]).reset_index(drop=True)
    table["rank"] = np.arange(1, len(table) + 1)
    return table


def winners(table: pd.DataFrame) -> dict[str, int]:
    """Trials to train again, by what they won: numbers of a `trial_table`.

    `COMPROMISE`: the least mean of the objectives. `SUBNETS`: the best subnets among trials whose
    full network is no worse than the reference's (of all, where that was not scored). A trial that
    is both is named once, and the reference not at all: it is trained anyway.
    """
    if table.empty:
        return {}
    known = table[table["is_reference"]]
    limit = known["full"].iloc[0] if len(known) else np.inf
    subnets = table[table["full"] <= limit].sort_values(["subnets", "number"])
    found = {COMPROMISE: int(table["number"].iloc[0])}
    if len(subnets) and int(subnets["number"].iloc[0]) not in found.values():
        found[SUBNETS] = int(subnets["number"].iloc[0])
    return {name: number for name, number in found.items() if number not in set(known["number"])}


def retrained(
    levels: Levels, metrics: Sequence[Metric], *, reference: str, subnets: Sequence[PlanKey]
) -> pd.DataFrame:
    """Every other schedule with subnets against `reference`: trained with fresh seeds, measured on
    test images.

    Columns: `schedule`; `zone`: `full`, or `subnets`, the mean over these plans; `metric`;
    `damage`, the paired difference (positive is worse), with `low`, `high` and `p_value`; `units`
    that the interval runs over; `p_holm`, over schedules and
    zones of one metric; `sign`: +1 worse, -1 better, 0 not different at 5 % after Holm.
    """
    zones: dict[Zone, Sequence[PlanKey]] = {"full": (FULL,), "subnets": subnets}
    schedules = [way.name for way in levels.ways if way.name != reference and not way.anchor]
    rows = []
    for metric, schedule, (zone, plans) in product(metrics, schedules, zones.items()):
        parts = [levels.paired((schedule, p), (reference, p), metric.name) for p in plans]
        if not all(parts) or len({part.units for part in parts}) > 1:
            continue  # a subnet lacks a unit that others have
        i = mean_of(parts).interval()
        measured = (i.estimate, i.low, i.high, i.p_value, len(parts[0].units))
        rows.append((schedule, zone, metric.name, *measured))
    columns = ["schedule", "zone", "metric", "damage", "low", "high", "p_value", "units"]
    table = pd.DataFrame(rows, columns=columns)
    p_values = table.groupby("metric")["p_value"]
    table["p_holm"] = p_values.transform(lambda p: holm(p.to_numpy()))
    table["sign"] = np.sign(table["damage"]).where(table["p_holm"] < SIGNIFICANCE, 0).astype(int)
    return table
