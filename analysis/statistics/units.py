"""Units: what an interval runs over, and how the rows of a frame become their values.

A unit is a base network with all that hangs on it: its training seed, its uniforms, its own test
images. What is compared within a unit shares these, so differences are taken unit by unit, and a
Student's t over units holds the spread of bases, of training and of evaluation at once. Several
training seeds on one base are averaged before.

One unit alone has its jackknife replicates instead: their interval says how well this network was
measured, and nothing of networks.

Where data are finite, units share the reference or the test images, whose chance shifts all units
alike and is in no spread between them. Replicates without each block of what is shared, averaged
over units, tell its standard error, which is added (`intervals.with_common`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import pandas as pd

from analysis.frame import FINISHED
from analysis.statistics.intervals import Interval, jackknife_t, paired_t, with_common
from analysis.study_file import COMMON_BLOCK

LEAST_UNITS = 5
"""Below so many no claim has a verdict."""
WHOLE = -1  # stands for the missing group of a score on all samples


@dataclass(frozen=True, kw_only=True)
class Observations:
    """One number a unit.

    Attributes:
        values: (U,), each a mean over the unit's training seeds.
        units: ascending.
        replicates: (G,) of each unit, the jackknife's; empty where there are none.
        count: images or samples behind the values, in all; 0 for exact numbers.
        seed_deviation: standard deviation of training seeds on one base, pooled over units; NaN
            where each has one.
        common_UR: each unit's value without each of R blocks of what all units share; (U, 0) where
            they share nothing.
    """

    values: np.ndarray
    units: tuple[int, ...]
    replicates: tuple[np.ndarray, ...]
    count: int = 0
    seed_deviation: float = float("nan")
    common_UR: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))

    @property
    def common_R(self) -> np.ndarray:
        """(R,) the mean without each block of what all units share."""
        return self.common_UR.mean(axis=0) if self.common_UR.size else np.empty(0)

    @classmethod
    def alone(cls, by_unit: Mapping[int, float]) -> Self:
        """Numbers that have no replicates."""
        values, replicates = np.array(list(by_unit.values())), (np.empty(0),) * len(by_unit)
        return cls(values=values, units=tuple(by_unit), replicates=replicates)

    def __bool__(self) -> bool:
        return len(self.units) > 0

    @property
    def over(self) -> str:
        return "units" if len(self.units) > 1 else "samples"

    @property
    def by_unit(self) -> dict[int, float]:
        return dict(zip(self.units, self.values.tolist(), strict=True))

    @property
    def mean(self) -> float:
        """Over units; NaN for none."""
        return float(self.values.mean()) if self else float("nan")

    @property
    def sample_error(self) -> float:
        """Root mean square of the units' jackknife standard errors, what measuring adds; or NaN."""
        squares = [(len(r) - 1) * r.var() for r in self.replicates if len(r) > 1]
        return float(np.sqrt(np.mean(squares))) if squares else float("nan")

    def times(self, factor: float) -> Self:
        replicates = tuple(factor * one for one in self.replicates)
        return self._with(factor * self.values, self.units, replicates, factor * self.common_UR)

    def minus(self, other: Self) -> Self:
        """Unit by unit, of the units that both have; replicates where both have as many."""
        one, two = in_common([self, other])
        pairs = zip(one.replicates, two.replicates, strict=True)
        differences = tuple(a - b if len(a) == len(b) else a[:0] for a, b in pairs)
        common_UR = np.empty((0, 0))
        if one.common_UR.shape == two.common_UR.shape:
            common_UR = one.common_UR - two.common_UR
        return self._with(one.values - two.values, one.units, differences, common_UR)

    def of_units(self, units: tuple[int, ...]) -> Self:
        """Those of these units, which it has."""
        at = [self.units.index(unit) for unit in units]
        replicates = tuple(self.replicates[i] for i in at)
        common_UR = self.common_UR[at] if self.common_UR.size else self.common_UR
        return self._with(self.values[at], units, replicates, common_UR)

    def pooled(self, units: tuple[int, ...]) -> Self:
        """The mean over units, as what each of `units` has."""
        values, shared = np.full(len(units), self.mean), (len(units), len(self.common_R))
        alone = (np.empty(0),) * len(units)
        return self._with(values, units, alone, np.broadcast_to(self.common_R, shared))

    def _with(
        self,
        values: np.ndarray,
        units: tuple[int, ...],
        replicates: tuple[np.ndarray, ...],
        common_UR: np.ndarray,
    ) -> Self:
        return type(self)(
            values=values, units=units, replicates=replicates, count=self.count, common_UR=common_UR
        )

    def interval(self, *, confidence: float = 0.95) -> Interval:
        """Student's t over units, with what they share, or the jackknife's of one; `ValueError` for
        none."""
        if len(self.units) == 1:
            return jackknife_t(self.values[0], self.replicates[0], confidence=confidence)
        own = paired_t(self.values, confidence=confidence)
        return with_common(own, self.common_R, confidence=confidence)

    def bounds(self) -> Interval | None:
        """`interval`; None for no units."""
        return self.interval() if self else None


def in_common(parts: Sequence[Observations]) -> list[Observations]:
    """Each of the units that all have."""
    units = tuple(unit for unit in parts[0].units if all(unit in part.units for part in parts))
    return [part.of_units(units) for part in parts]


def applied(function: Callable[[np.ndarray], float], parts: Sequence[Observations]) -> Observations:
    """A number that is no sum of others, such as an area: of P parts, in the units that all have.

    Args:
        function: of (P,) values of one unit. Without each block of what units share it is applied
            again, so that what they share is in the interval; an interval of one unit it has not.
    """
    parts = in_common(parts)
    units = parts[0].units
    values_U = [function(values_P) for values_P in np.stack([part.values for part in parts]).T]
    common_UR = np.empty((0, 0))
    if units and len({part.common_UR.shape for part in parts}) == 1 and parts[0].common_UR.size:
        stacked_PUR = np.stack([part.common_UR for part in parts])
        common_UR = np.apply_along_axis(function, 0, stacked_PUR)
    return Observations(
        values=np.array(values_U),
        units=units,
        replicates=(np.empty(0),) * len(units),
        common_UR=common_UR,
    )


def mean_of(parts: Sequence[Observations]) -> Observations:
    """Their mean, unit by unit; at least one, all of the same units."""
    total = parts[0]
    for part in parts[1:]:
        total = total.minus(part.times(-1.0))
    return total.times(1 / len(parts))


def common_of(one: Observations, other: Observations) -> np.ndarray:
    """(2, R) the means of both without each block of what their units share; (2, 0) for nothing."""
    both = (one.common_R, other.common_R)
    return np.stack(both) if len(both[0]) == len(both[1]) else np.empty((2, 0))


NOTHING = Observations(values=np.empty(0), units=(), replicates=())


def observed(
    frame: pd.DataFrame, keys: Sequence[str], where: pd.Series | None = None
) -> dict[tuple[Any, ...], Observations]:
    """The finished values of a frame in every group of `keys`, in order of appearance.

    Missing values are a group of their own, as None. `where`: of these rows only.
    """
    chosen = frame["status"] == FINISHED
    chosen = chosen if where is None else chosen & where
    rows = frame.loc[chosen, [*keys, "unit", "seed", "group", "value", "count"]]
    rows = rows.assign(
        group=rows["group"].fillna(WHOLE).astype("int32"),
        seed=rows["seed"].fillna(WHOLE).astype(int),
        place=rows.groupby(list(keys), sort=False, dropna=False).ngroup().astype("int32"),
    )
    again = rows.duplicated(["place", "unit", "seed", "group"])
    rows = rows[~again] if again.any() else rows  # a copy of all rows is the most that it takes
    whole = rows[rows["group"] == WHOLE]
    counts = np.bincount(whole["place"], weights=whole["count"])
    deviations = _seed_deviations(whole)
    first = rows.drop_duplicates("place")[list(keys)].astype(object)
    names = first.where(first.notna(), None).itertuples(index=False, name=None)
    places, columns = _means(rows)
    # Rows of one place lie together, in order of place.
    starts = np.flatnonzero(np.diff(places, prepend=-1))[1:]
    parts = zip(*(np.split(column, starts) for column in columns), strict=True)
    found = {}
    # Of no rows there is still one part, and no name.
    for place, (name, (values, units, groups)) in enumerate(zip(names, parts, strict=False)):
        here, common = groups == WHOLE, groups >= COMMON_BLOCK
        own = ~here & ~common
        found[name] = Observations(
            values=values[here],
            units=tuple(units[here].tolist()),
            replicates=tuple(values[own & (units == unit)] for unit in units[here]),
            common_UR=_common(values[common], units[common], units[here]),
            count=int(counts[place]),
            seed_deviation=float(deviations[place]),
        )
    return found


def _seed_deviations(whole: pd.DataFrame) -> np.ndarray:
    """By place, the standard deviation of values over the seeds of a unit, pooled over units; NaN
    where every unit has one seed."""
    places, values = whole["place"].to_numpy(), whole["value"].to_numpy()
    _, first_C, cells = np.unique(
        np.stack([places, whole["unit"]]), axis=1, return_index=True, return_inverse=True
    )
    sizes_C = np.bincount(cells)
    squares = (values - (np.bincount(cells, weights=values) / sizes_C)[cells]) ** 2
    freedom = np.bincount(places[first_C], weights=sizes_C - 1)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.sqrt(np.bincount(places, weights=squares) / freedom))


def _means(rows: pd.DataFrame) -> tuple[np.ndarray, list[np.ndarray]]:
    """Place; and value, unit and group: the mean over seeds of each, in order of all three.

    By sorting: of 2.1 million rows a report took 4 CPU-s and 100 MB less than by grouping them.
    """
    names = ("place", "unit", "group")
    keys = [rows[name].to_numpy(dtype=np.int32) for name in names]
    order = np.lexsort(keys[::-1])
    keys = [key[order] for key in keys]
    new_N = np.ones(len(order), dtype=bool)
    new_N[1:] = np.logical_or.reduce([key[1:] != key[:-1] for key in keys])
    starts = np.flatnonzero(new_N)
    values = rows["value"].to_numpy()[order]
    sizes = np.diff(starts, append=len(order))
    means = np.add.reduceat(values, starts) / sizes if len(order) else values
    place, unit, group = (key[starts] for key in keys)
    return place, [means, unit, group]


def _common(values_N: np.ndarray, units_N: np.ndarray, units_U: np.ndarray) -> np.ndarray:
    """(U, R) of replicates that lie unit by unit; (0, 0) where a unit has not as many as others,
    such as one that an earlier version measured."""
    if len(values_N):
        each, counts = np.unique(units_N, return_counts=True)
        if len(each) == len(units_U) and len(set(counts)) == 1:
            return values_N.reshape(len(units_U), -1)
    return np.empty((0, 0))
