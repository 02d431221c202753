"""A map of estimates, ready to draw, and how it is made from rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from analysis.statistics.intervals import SIGNIFICANCE, holm

ENDS = ["damage", "low", "high"]


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """A grid of estimates. Arrays are (rows, columns).

    Attributes:
        values, low, high: NaN where there is no estimate, or no interval.
        p_holm: NaN where no test was made.
        share: values are fractions of the full network's, counted: they have no significance.
    """

    title: str
    unit: str
    row_title: str
    column_title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    p_holm: np.ndarray
    failed: np.ndarray
    share: bool = False

    @property
    def significant(self) -> np.ndarray:
        """Where the estimate differs from zero after Holm's correction over this map."""
        return np.asarray(np.nan_to_num(self.p_holm, nan=1.0) < SIGNIFICANCE)

    @property
    def better(self) -> np.ndarray:
        """Where it is significantly below zero."""
        return self.significant & (self.values < 0)

    @property
    def worse(self) -> np.ndarray:
        """Where it is significantly above zero."""
        return self.significant & (self.values > 0)

    @property
    def measured(self) -> np.ndarray:
        """Where there is an estimate."""
        return np.asarray(~np.isnan(self.values))

    @property
    def tests(self) -> int:
        return int((~np.isnan(self.p_holm)).sum())


def largest(values: np.ndarray) -> tuple[int, int] | None:
    """Row and column of the largest value; None where all are NaN."""
    if np.isnan(values).all():
        return None
    row, column = divmod(int(np.nanargmax(values)), values.shape[1])
    return row, column


def placed(
    found: pd.DataFrame,
    failed: pd.DataFrame,
    down: tuple[str, Sequence[int]],
    across: tuple[str, Sequence[int]],
) -> dict[str, Any]:
    """Fields of a map whose rows and columns are values of the columns `down` and `across`.

    Holm's correction runs over the map.

    Args:
        found: its estimates: `damage`, `low`, `high`, `p_value`.
        failed: places of cells that failed, which count where nothing was found.
    """
    (row, rows), (column, columns) = down, across
    grids = [found.pivot(index=row, columns=column, values=n) for n in (*ENDS, "p_value")]
    grids.append(pd.crosstab(failed[row], failed[column]))
    values, low, high, p, lost = (
        grid.reindex(index=rows, columns=columns).to_numpy(dtype=float) for grid in grids
    )
    return {
        "rows": tuple(map(str, rows)),
        "columns": tuple(map(str, columns)),
        "values": values,
        "low": low,
        "high": high,
        "p_holm": holm(p.ravel()).reshape(p.shape),
        "failed": (lost > 0) & np.isnan(values),
    }
