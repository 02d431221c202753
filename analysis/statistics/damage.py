"""Damage: how much worse than the full network a plan is, paired, with interval.

    damage = value - the full network's value, with the sign that makes worse positive

The two values come from the same base network and the same disjoint set of images or samples, so
what the set itself contributes to both cancels.

With one base network the intervals run over its disjoint sets and speak of this network; with
several (`over_seeds`) they run over the networks' own means, so that B networks leave B - 1 degrees
of freedom. A network counts that failed: what it leaves over is no statement on networks.
"""

import math
from collections.abc import Sequence

import pandas as pd

from analysis.frame import FINISHED, PLAN_KEY
from analysis.metrics import Metric, parse_metric
from analysis.statistics.intervals import grouped_t, holm

NETWORK = ["schedule", "seed", "base_seed"]
"""The columns that tell one network under test from another."""
PLAN = ["plan", *PLAN_KEY]
INTERVAL = ["low", "high", "standard_error", "degrees_of_freedom", "p_value"]


def base_seeds(frame: pd.DataFrame) -> tuple[int, ...]:
    """The base networks of the study, ascending, failed ones included."""
    return tuple(int(seed) for seed in sorted(frame["base_seed"].unique()))


def paired_differences(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each finished value of a plan that is not full, beside the full network's.

    Columns: the frame's, `full_value` and `damage` (in the metric's unit, positive is worse).
    """
    key = [*NETWORK, "metric", "set"]
    finished = frame[frame["status"] == FINISHED]
    full = finished[finished["family"] == "full"].drop_duplicates(key)
    full = full[[*key, "value"]].rename(columns={"value": "full_value"})
    plans = finished[finished["family"] != "full"].drop_duplicates([*PLAN, *key])
    pairs = plans.merge(full, on=key)
    signs = {name: parse_metric(name).damage_sign for name in pairs["metric"].unique()}
    sign = pairs["metric"].map(signs).astype("float64")
    return pairs.assign(damage=sign * (pairs["value"] - pairs["full_value"]))


def interval_table(
    values: pd.DataFrame, keys: Sequence[str], column: str, *, over_seeds: bool
) -> pd.DataFrame:
    """The mean of `column` in every group of `keys`, and what it rests on; groups are the index.

    Columns: `estimate`, `low`, `high`, `standard_error`, `degrees_of_freedom`, `p_value`,
    `base_seeds`, `sets` (disjoint sets a base network) and `count` (images or samples in all).
    Exact numbers, which have no sets, have no interval.
    """
    keys = list(keys)
    observed = values
    if over_seeds:
        by_seed = values.groupby([*keys, "base_seed"], dropna=False, sort=False)
        observed = by_seed[column].mean().reset_index()
    found = grouped_t(observed, keys, column)
    rests_on = values.groupby(keys, dropna=False, sort=False).agg(
        base_seeds=("base_seed", "nunique"), sets=("set", "count"), count=("count", "sum")
    )
    found = found.join(rests_on)
    sets = found["sets"].astype("float64")
    found["sets"] = (sets / found["base_seeds"]).where(sets > 0)
    exact = found["sets"].isna()
    found.loc[exact, INTERVAL] = math.nan
    return found.assign(degrees_of_freedom=found["degrees_of_freedom"].fillna(0).astype("int64"))


def damage_table(pairs: pd.DataFrame, *, over_seeds: bool) -> pd.DataFrame:
    """One row for each plan and metric of `paired_differences`: the damage and what it rests on.

    Columns: `plan`, those of `PLAN_KEY`, `metric`, `damage` and the other columns of
    `interval_table`, `value` and `full_value` (means), and `p_holm`: after Holm's correction over
    all plans of one family, selector and metric, which is one heatmap.
    """
    key = [*PLAN, "metric"]
    found = interval_table(pairs, key, "damage", over_seeds=over_seeds)
    means = pairs.groupby(key, dropna=False, sort=False)[["value", "full_value"]].mean()
    table = found.rename(columns={"estimate": "damage"}).join(means).reset_index()
    maps = table.groupby(["family", "selector", "metric"], dropna=False)["p_value"]
    return table.assign(p_holm=maps.transform(lambda p: holm(p.to_numpy())))


def full_levels(frame: pd.DataFrame) -> pd.DataFrame:
    """The full network's own level of each metric, which are the index: `interval_table` of it."""
    full = frame[(frame["status"] == FINISHED) & (frame["family"] == "full")]
    full = full.drop_duplicates(["base_seed", "metric", "set"])
    over_seeds = len(base_seeds(frame)) > 1
    return interval_table(full, ["metric"], "value", over_seeds=over_seeds)


def failed_cells(frame: pd.DataFrame) -> pd.DataFrame:
    """One row for each plan that failed under some base network: its columns and `base_seed`."""
    failed = frame[frame["status"] != FINISHED]
    return failed[[*PLAN, "base_seed"]].drop_duplicates().reset_index(drop=True)


def cells_by(
    damage: pd.DataFrame,
    failures: pd.DataFrame,
    column: str,
    names: Sequence[str],
    metrics: Sequence[Metric],
) -> pd.DataFrame:
    """Rows of `damage`, indexed by metric and by `column`: one for each of `metrics` and `names`.

    NaN where there is no estimate; the new column `failed` says whether that is why.
    """
    index = pd.MultiIndex.from_product([[m.name for m in metrics], names], names=["metric", column])
    table = damage.set_index(["metric", column]).reindex(index)
    broken = table.index.get_level_values(column).isin(failures[column])
    return table.assign(failed=table["damage"].isna() & broken)
