"""Damage: how much worse than the full network a cell is, paired, with interval.

    damage = value - the full network's value, with the sign that makes worse positive

The two values come from the same base network and the same disjoint set of images or samples, so
what the set itself contributes to both cancels.
"""

from __future__ import annotations

import math

import pandas as pd

from analysis.frame import FINISHED
from analysis.metrics import parse_metric
from analysis.statistics.intervals import Interval, holm, paired_t

CELL_KEY = ["family", "cell", "selector", "scale", "window", "switch", "subnet_depth"]
"""The columns that tell one cell of a figure from another, whatever the base network."""


def base_seeds(frame: pd.DataFrame) -> tuple[int, ...]:
    """The base networks of the study, ascending, failed ones included."""
    return tuple(int(seed) for seed in sorted(frame["base_seed"].unique()))


def paired_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each finished value of a cell that is not full, beside the full network's.

    Columns: those of `CELL_KEY`, `base_seed`, `metric`, `set`, `value`, `full_value`, `damage`
    (in the metric's unit, positive is worse) and `count` (images or samples behind the value).
    """
    key = ["base_seed", "metric", "set"]
    finished = frame[frame["status"] == FINISHED]
    full = finished[finished["family"] == "full"].drop_duplicates(key)
    full = full[[*key, "value"]].rename(columns={"value": "full_value"})
    cells = finished[finished["family"] != "full"].drop_duplicates([*CELL_KEY, *key])
    cells = cells[[*CELL_KEY, *key, "value", "count"]]
    pairs = cells.merge(full, on=key, how="inner")
    sign = pairs["metric"].map(lambda name: parse_metric(name).damage_sign).astype("float64")
    pairs["damage"] = sign * (pairs["value"] - pairs["full_value"])
    return pairs


def pooled_interval(differences: pd.DataFrame, column: str, *, over_seeds: bool) -> Interval:
    """The paired t interval for the mean of `column`.

    With `over_seeds` the observations are the base networks' own means (so B networks leave B - 1
    degrees of freedom); otherwise they are the disjoint sets of the one network.
    """
    if over_seeds:
        return paired_t(differences.groupby("base_seed")[column].mean().to_numpy())
    return paired_t(differences[column].to_numpy())


def damage_table(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell and metric: the estimated damage and what it rests on.

    Columns: those of `CELL_KEY`, `metric`, `damage`, `low`, `high`, `standard_error`,
    `degrees_of_freedom`, `p_value` (unadjusted), `p_holm` (after Holm's correction over all cells
    of one family, selector and metric, which is one heatmap), `value` and `full_value` (means),
    `base_seeds`, `sets` (disjoint sets a base network, NaN for exact numbers) and `count` (images
    or samples in all). Exact numbers have no interval.
    """
    over_seeds = len(base_seeds(frame)) > 1
    rows = []
    grouped = paired_differences(frame).groupby([*CELL_KEY, "metric"], dropna=False, sort=False)
    for key, pairs in grouped:
        exact = parse_metric(key[-1]).exact or pairs["set"].isna().all()
        interval = pooled_interval(pairs, "damage", over_seeds=over_seeds)
        seeds = pairs["base_seed"].nunique()
        rows.append(
            dict(zip([*CELL_KEY, "metric"], key, strict=True))
            | {
                "damage": interval.estimate,
                "low": math.nan if exact else interval.low,
                "high": math.nan if exact else interval.high,
                "standard_error": math.nan if exact else interval.standard_error,
                "degrees_of_freedom": 0 if exact else interval.degrees_of_freedom,
                "p_value": math.nan if exact else interval.p_value,
                "value": float(pairs["value"].mean()),
                "full_value": float(pairs["full_value"].mean()),
                "base_seeds": seeds,
                "sets": math.nan if exact else len(pairs) / seeds,
                "count": int(pairs["count"].sum()),
            }
        )
    columns = [
        *CELL_KEY,
        "metric",
        "damage",
        "low",
        "high",
        "standard_error",
        "degrees_of_freedom",
        "p_value",
        "value",
        "full_value",
        "base_seeds",
        "sets",
        "count",
    ]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = table.groupby(["family", "selector", "metric"], dropna=False)[
        "p_value"
    ].transform(lambda p: holm(p.to_numpy()))
    whole = dict.fromkeys(("scale", "switch", "subnet_depth"), "Int64")
    return table.astype(whole | {"damage": "float64", "value": "float64"})


def full_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """The full network's own level of each metric.

    Columns: `metric`, `value` (mean), `low`, `high` (95 % t interval of the mean, over sets for
    one base network and over base networks for several), `base_seeds`, `sets`, `count`.
    """
    full = frame[(frame["status"] == FINISHED) & (frame["family"] == "full")]
    full = full.drop_duplicates(["base_seed", "metric", "set"])
    over_seeds = len(base_seeds(frame)) > 1
    rows = []
    for metric, values in full.groupby("metric"):
        exact = parse_metric(metric).exact or values["set"].isna().all()
        interval = pooled_interval(values, "value", over_seeds=over_seeds)
        seeds = values["base_seed"].nunique()
        rows.append(
            {
                "metric": metric,
                "value": interval.estimate,
                "low": math.nan if exact else interval.low,
                "high": math.nan if exact else interval.high,
                "base_seeds": seeds,
                "sets": math.nan if exact else len(values) / seeds,
                "count": int(values["count"].sum()),
            }
        )
    return pd.DataFrame(rows)


def failed_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each cell that failed under some base network: `CELL_KEY` and `base_seed`."""
    failed = frame[frame["status"] != FINISHED]
    return failed[[*CELL_KEY, "base_seed"]].drop_duplicates().reset_index(drop=True)
