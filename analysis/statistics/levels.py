"""Tables of a study that trains: every schedule's level of every plan, and its two spreads.

Two spreads are kept apart. *Seeds*: how much models differ that were trained alike but for the
seed. *Samples*: how well one model was measured, from its disjoint sets. With several seeds an
interval is Student's t over the seeds' means; with one it is over that model's sets, and says
nothing about training.
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from analysis.frame import FINISHED
from analysis.metrics import parse_metric
from analysis.statistics.intervals import holm, paired_t

LABELS = ["schedule", "family", "cell", "selector", "switch", "subnet_depth", "train_switch"]
"""The columns that tell one plan of one schedule from another, whatever the seed."""

CONTROL = "control"


def schedules_of(frame: pd.DataFrame) -> tuple[str, ...]:
    """The schedules in the frame's order."""
    return tuple(dict.fromkeys(frame["schedule"].dropna()))


def seed_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each finished cell and metric.

    Columns: `LABELS`, `share`, `seed`, `trained` (whether the model was trained for this plan),
    `metric`, `value` (mean over sets), `standard_error` (of that mean; NaN for exact numbers and
    single sets), `sets`, `count` (images or samples in all).
    """
    finished = frame[frame["status"] == FINISHED].copy()
    finished["share"] = finished["share"].astype("float64")
    key = [*LABELS, "share", "seed", "metric"]
    grouped = finished.groupby(key, dropna=False, sort=False)
    table = grouped.agg(
        value=("value", "mean"),
        deviation=("value", "std"),
        sets=("value", "size"),
        count=("count", "sum"),
    ).reset_index()
    table["standard_error"] = table["deviation"] / np.sqrt(table["sets"])
    table["trained"] = is_trained(table)
    return table.drop(columns="deviation")


def is_trained(table: pd.DataFrame) -> pd.Series:
    """Whether a row's model was trained for its plan.

    The full network always is. A subnet is, at the switch point that its model was trained for;
    the control's subnets never are.
    """
    full = table["family"] == "full"
    at_switch = (table["switch"] == table["train_switch"]).fillna(False)
    return (full | (at_switch & (table["schedule"] != CONTROL))).astype(bool)


def level_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each plan of each schedule and metric, over the seeds.

    Columns: `LABELS`, `share`, `trained`, `metric`, `value` (mean over seeds), `low` and `high` of
    its 95 % interval, `over` (what that runs over: `seeds`, `sets`, or `exact`), `seed_sd` (NaN for
    one seed), `sample_sd` (root mean square of the seeds' standard errors: what measuring adds to
    `seed_sd`), `seeds`, `sets` (a seed), `count` (images or samples in all).
    """
    rows = []
    by_cell = _sets_by_cell(frame)
    grouped = seed_table(frame).groupby([*LABELS, "metric"], dropna=False, sort=False)
    for key, seeds in grouped:
        metric = parse_metric(key[-1])
        first = seeds.iloc[0]
        if metric.exact:
            low = high = math.nan
            over = "exact"
        elif len(seeds) > 1:
            interval = paired_t(seeds["value"].to_numpy())
            low, high, over = interval.low, interval.high, "seeds"
        else:
            mine = by_cell[first["schedule"], first["seed"], first["cell"], key[-1]]
            interval = paired_t(mine)
            low, high, over = interval.low, interval.high, "sets"
        errors = seeds["standard_error"].to_numpy(dtype=float)
        rows.append(
            dict(zip([*LABELS, "metric"], key, strict=True))
            | {
                "share": first["share"],
                "trained": first["trained"],
                "value": float(seeds["value"].mean()),
                "low": low,
                "high": high,
                "over": over,
                "seed_sd": float(seeds["value"].std()) if len(seeds) > 1 else math.nan,
                "sample_sd": float(np.sqrt(np.mean(errors**2))),
                "seeds": len(seeds),
                "sets": int(first["sets"]),
                "count": int(seeds["count"].sum()),
            }
        )
    columns = [*LABELS, "metric", "share", "trained", "value", "low", "high", "over"]
    columns += ["seed_sd", "sample_sd", "seeds", "sets", "count"]
    return pd.DataFrame(rows, columns=columns)


def _sets_by_cell(frame: pd.DataFrame) -> dict[tuple, np.ndarray]:
    finished = frame[frame["status"] == FINISHED].sort_values("set")
    key = ["schedule", "seed", "cell", "metric"]
    return {k: group["value"].to_numpy() for k, group in finished.groupby(key, dropna=False)}


def paired_values(frame: pd.DataFrame, one: tuple[str, str], other: tuple[str, str], metric: str):
    """Damage of `one` against `other`, each a (schedule, cell): one value an observation.

    With several seeds where both finished, a value a seed (the difference of the seeds' means);
    with one, a value a disjoint set. Positive is worse, in the metric's unit.

    Returns:
        The values, and the seeds.
    """
    sign = parse_metric(metric).damage_sign
    finished = frame[(frame["status"] == FINISHED) & (frame["metric"] == metric)]
    tables = []
    for schedule, cell in (one, other):
        mine = finished[(finished["schedule"] == schedule) & (finished["cell"] == cell)]
        tables.append(mine.set_index(["seed", "set"])["value"])
    difference = (sign * (tables[0] - tables[1])).dropna()
    if difference.empty:
        return np.array([]), ()
    by_seed = difference.groupby(level="seed").mean()
    seeds = tuple(int(seed) for seed in by_seed.index)
    return (by_seed if len(by_seed) > 1 else difference).to_numpy(dtype=float), seeds


def difference_table(frame: pd.DataFrame, *, reference: str = CONTROL) -> pd.DataFrame:
    """Every schedule against `reference`, plan by plan and metric by metric, paired.

    Columns: `schedule`, `cell`, `trained`, `metric`, `damage` (positive is worse), `low`, `high`,
    `p_value`, `p_holm` (over the schedules of one cell and metric), `over`, `seeds`.
    """
    rows = []
    levels = level_table(frame)
    for row in levels[levels["schedule"] != reference].itertuples():
        if parse_metric(row.metric).exact:
            continue
        values, seeds = paired_values(
            frame, (row.schedule, row.cell), (reference, row.cell), row.metric
        )
        if not len(values):
            continue
        interval = paired_t(values)
        rows.append(
            {
                "schedule": row.schedule,
                "cell": row.cell,
                "trained": row.trained,
                "metric": row.metric,
                "damage": interval.estimate,
                "low": interval.low,
                "high": interval.high,
                "p_value": interval.p_value,
                "over": "seeds" if len(seeds) > 1 else "sets",
                "seeds": len(seeds),
            }
        )
    columns = ["schedule", "cell", "trained", "metric", "damage", "low", "high", "p_value", "over"]
    table = pd.DataFrame(rows, columns=[*columns, "seeds"])
    table["p_holm"] = table.groupby(["cell", "metric"])["p_value"].transform(
        lambda p: holm(p.to_numpy())
    )
    return table


def unfinished(frame: pd.DataFrame) -> pd.DataFrame:
    """Cells without numbers: `schedule`, `seed`, `cell`, `status`."""
    bad = frame[frame["status"] != FINISHED]
    return bad[["schedule", "seed", "cell", "status"]].drop_duplicates().reset_index(drop=True)
