"""Damage: how much worse than the full network of its unit a plan is, with interval.

    damage = value - the full network's value, with the sign that makes worse positive

The two values share test images or uniforms, so what these contribute to both cancels. Intervals
run over units (`analysis.statistics.units`); a unit that failed counts among the study's.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import pandas as pd

from analysis.frame import COLUMNS, FINISHED, PENDING, PLAN_KEY
from analysis.metrics import Metric, parse_metric
from analysis.statistics.intervals import holm
from analysis.statistics.units import NOTHING, Observations, observed
from analysis.study_file import REAL

PLAN = ["plan", *PLAN_KEY]
MEASURED = ["low", "high", "standard_error", "degrees_of_freedom", "p_value", "units", "count"]


class Place(NamedTuple):
    """A plan of a study's grid by the columns of `PLAN`, and a metric."""

    plan: str
    family: str
    scale: int | None
    window: str | None
    switch: int | None
    subnet_depth: int | None
    selector: str
    metric: str


class Damages:
    """What every plan of one way to train costs.

    Attributes:
        units: of the study, ascending, failed ones included.
        full, floor: by metric, the full network's own values, and those of real images.
        values: by place, the plans' own.
        failures: a row for each plan that failed in some unit: the columns of `PLAN`, and `unit`.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        whole, of_real = frame["family"] == "full", frame["family"] == REAL
        self.units = tuple(sorted(frame["unit"].unique().tolist()))
        self.full = {key[0]: one for key, one in observed(frame, ["metric"], whole).items()}
        self.floor = {key[0]: one for key, one in observed(frame, ["metric"], of_real).items()}
        plans = observed(frame, [*PLAN, "metric"], ~whole & ~of_real)
        self.values = {Place(*key): one for key, one in plans.items()}
        failed = frame[~frame["status"].isin((FINISHED, PENDING)) & ~of_real]
        self.failures = failed[[*PLAN, "unit"]].drop_duplicates().reset_index(drop=True)

    def units_of(self, *families: str) -> tuple[int, ...]:
        """Units in which plans of these families were measured, ascending."""
        found = (one.units for place, one in self.values.items() if place.family in families)
        return tuple(sorted({unit for units in found for unit in units}))

    @cached_property
    def damage(self) -> dict[Place, Observations]:
        """Of every place in which a unit has both, in the metric's unit, positive is worse."""
        found = {
            place: one.minus(self.full.get(place.metric, NOTHING)).times(
                parse_metric(place.metric).damage_sign
            )
            for place, one in self.values.items()
        }
        return {place: one for place, one in found.items() if one}

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a place: the damage and what it rests on.

        Columns: those of `Place`, `damage`, `low` and `high` of its 95 % interval,
        `standard_error`, `degrees_of_freedom`, `p_value`, `units`, `count` (images or samples in
        all), `value` and `full_value` (means), and `p_holm`: after Holm's correction over all plans
        of one family, selector and metric, which is one heatmap. Exact numbers have no interval.
        """
        rows = []
        for place, one in self.damage.items():
            i, own, full = one.interval(), self.values[place], self.full[place.metric]
            ends = (i.low, i.high, i.standard_error, i.degrees_of_freedom, i.p_value)
            if parse_metric(place.metric).exact:
                ends = (math.nan, math.nan, math.nan, 0, math.nan)
            rows.append((*place, one.mean, *ends, len(one.units), one.count, own.mean, full.mean))
        columns = [*Place._fields, "damage", *MEASURED, "value", "full_value"]
        table = pd.DataFrame(rows, columns=columns)
        table = table.astype({name: COLUMNS[name] for name in PLAN_KEY})
        maps = table.groupby(["family", "selector", "metric"], dropna=False)["p_value"]
        return table.assign(p_holm=maps.transform(lambda p: holm(p.to_numpy())))


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
