"""Where progressive training helps: an estimate for each age of the base and each learning rate.

In one regime (age, rate) every model began at one base of its unit and saw the same data in the
same order, so schedules are compared within a unit, and intervals run over units.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd
from scipy import stats

from analysis.maps.heatmap import ENDS, Heatmap, placed
from analysis.metrics import NLL
from analysis.statistics.conflict import WHOLE
from analysis.statistics.levels import Levels, Place, PlanKey
from analysis.statistics.units import NOTHING, Observations, applied, in_common, mean_of
from analysis.study_file import BASE

LEAST_REGIMES = 3  # below them ranks of regimes say nothing


@dataclass(frozen=True, kw_only=True)
class Regime:
    """An age of the base, in training images, and a peak learning rate; with what was reached."""

    base_images: int
    lr: float
    levels: Levels

    @property
    def label(self) -> str:
        """For showing only."""
        return f"{self.base_images:,} images, rate {self.lr:g}"

    def place(self, kind: str, plan: PlanKey) -> Place | None:
        """The plan of the models of one kind of schedule; None where there are none."""
        way = next((way for way in self.levels.ways if way.kind == kind), None)
        return (way.name, plan) if way else None

    def against_fixed(self, kind: str, plans: Sequence[PlanKey]) -> Observations:
        """How much worse NLL is than under the fixed share, in nats/token, unit by unit: the mean
        over plans. Negative is better; nothing where a plan lacks a unit that others have."""
        parts = []
        for plan in plans:
            one, other = self.place(kind, plan), self.place("fixed", plan)
            if one is None or other is None:
                return NOTHING
            parts.append(self.levels.paired(one, other, NLL.name))
        return mean_of(parts) if len({part.units for part in parts}) == 1 else NOTHING


def regimes_of(frame: pd.DataFrame) -> tuple[Regime, ...]:
    """The regimes of a study's frame, ages and rates ascending.

    Levels of a regime are those of its models and of the base that they began at.
    """
    axes = ["base_images", "lr"]
    found = frame[axes].dropna().drop_duplicates().sort_values(axes)
    of_base = frame["kind"] == BASE
    return tuple(
        Regime(
            base_images=int(age),
            lr=float(lr),
            levels=Levels(frame[(frame["base_images"] == age) & (of_base | (frame["lr"] == lr))]),
        )
        for age, lr in found.itertuples(index=False)
    )


def regime_map(
    regimes: Sequence[Regime], kind: str, plans: Sequence[PlanKey], title: str
) -> Heatmap:
    """One kind of schedule against the fixed share, over (age, rate), by NLL.

    Holm's correction runs over the map.
    """
    found, failed = [], []
    for regime in regimes:
        at = (regime.base_images, regime.lr)
        if observed := regime.against_fixed(kind, plans):
            i = observed.interval()
            found.append((*at, *i.ends, i.p_value))
        else:
            failed.append(at)
    ages, rates = (sorted(set(values)) for values in zip(*_places(regimes), strict=True))
    keys = ["age", "rate"]
    drawn = Heatmap(
        title=title,
        unit=NLL.unit,
        row_title="base",
        column_title="peak learning rate",
        **placed(
            pd.DataFrame(found, columns=[*keys, *ENDS, "p_value"]),
            pd.DataFrame(failed, columns=keys),
            ("age", ages),
            ("rate", rates),
        ),
    )
    rows, columns = (f"{age:,}" for age in ages), (f"{rate:g}" for rate in rates)
    return replace(drawn, rows=tuple(rows), columns=tuple(columns))


def _places(regimes: Sequence[Regime]) -> list[tuple[int, float]]:
    return [(regime.base_images, regime.lr) for regime in regimes]


def trends(
    regimes: Sequence[Regime], kind: str, plans: Sequence[PlanKey]
) -> dict[str, Observations]:
    """What a doubling of the base's age, and one of the rate, adds to how much worse a schedule is
    than fixed: the slopes of a plane through all regimes by least squares, unit by unit.

    None for what does not vary; of units that have all regimes.
    """
    axes: dict[str, list[float]] = {"age": [r.base_images for r in regimes]}
    axes["rate"] = [r.lr for r in regimes]
    logs = {name: np.log2(values) for name, values in axes.items() if len(set(values)) > 1}
    parts = [regime.against_fixed(kind, plans) for regime in regimes]
    if not logs or not in_common(parts)[0]:
        return {}
    plane_RA = np.column_stack([np.ones(len(regimes)), *logs.values()])
    slopes_AR = np.linalg.pinv(plane_RA)[1:]
    return {
        name: applied(partial(np.dot, slope_R), parts)
        for name, slope_R in zip(logs, slopes_AR, strict=True)
    }


def explained(
    regimes: Sequence[Regime], conflict: pd.DataFrame, plans: Sequence[PlanKey]
) -> Observations:
    """Spearman's rank correlation over regimes, unit by unit, between the cosine of gradients (of
    all parameters, over moments and subnets, under the fixed share) and how much worse progressive
    is than fixed. If conflict is the reason, progressive helps where cosines are low: above zero.

    Nothing below `LEAST_REGIMES` regimes; of units that have all of them. The chance of images that
    units share is not in its interval: ranks of a few regimes are no smooth function of images.
    """
    whole = conflict[(conflict["layer"] == WHOLE) & (conflict["kind"] == "fixed")]
    cosines = whole.groupby(["unit", "base_images", "lr"])["cosine"].mean()
    differences = [regime.against_fixed("progressive", plans).by_unit for regime in regimes]
    values: dict[int, float] = {}
    for unit in sorted(set(conflict["unit"])):
        at = [(unit, *place) for place in _places(regimes)]
        if len(at) < LEAST_REGIMES or not all(unit in one for one in differences):
            continue
        if all(key in cosines.index for key in at):
            rho = stats.spearmanr([cosines[key] for key in at], [one[unit] for one in differences])
            values[unit] = float(rho.statistic)
    return Observations.alone({u: rho for u, rho in values.items() if not math.isnan(rho)})
