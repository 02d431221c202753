"""Which scales need depth: the study's maps, ready to draw.

Every map holds damage (see `analysis.statistics.damage`) with a significance mark after Holm's
correction over the tests of that map. Cells that failed are marked failed; cells that the study
does not have are NaN and not failed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.metrics import Metric, parse_metric
from analysis.statistics.intervals import SIGNIFICANCE, holm

# Causality makes a scale's loss independent of later scales; float noise stays far below this.
NATS_OF_ROUNDING = 1e-6


@dataclass(frozen=True, kw_only=True)
class Heatmap:
    """A grid of estimates. Arrays are (rows, columns)."""

    title: str
    unit: str
    row_title: str
    column_title: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: np.ndarray  # NaN where there is no estimate
    low: np.ndarray
    high: np.ndarray
    p_holm: np.ndarray  # NaN where no test was made
    failed: np.ndarray  # bool
    exact: bool = False  # counted numbers: significance has no meaning
    share: bool = False  # values are fractions of the full network's

    @property
    def significant(self) -> np.ndarray:
        """Where the estimate differs from zero after Holm's correction over this map."""
        return np.nan_to_num(self.p_holm, nan=1.0) < SIGNIFICANCE

    @property
    def tests(self) -> int:
        """How many tests the correction counted."""
        return int((~np.isnan(self.p_holm)).sum())


def scale_depth_heatmap(
    damage: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    metric: Metric,
    patch_nums: Sequence[int],
    selector: str,
    per_token: bool,
) -> Heatmap:
    """Damage when one scale (column) runs at a depth (row) and every other scale in full.

    `per_token` divides by the p * p tokens of that scale: damage for each token that lost layers.
    """
    tokens = np.square(np.asarray(patch_nums, dtype=np.float64))
    return _grid(
        damage,
        failures,
        family="scale",
        metric=metric,
        selector=selector,
        title=f"{metric.damage}, {'per token of the scale' if per_token else 'per scale'}",
        column="scale",
        column_title="scale that lost depth",
        columns=range(1, len(patch_nums) + 1),
        rescale=(lambda value: value / tokens) if per_token else None,
    )


def switch_depth_heatmap(
    damage: pd.DataFrame, failures: pd.DataFrame, *, metric: Metric, scales: int, selector: str
) -> Heatmap:
    """Damage of the two-zone plan d@N: depth d (row) on all scales after the switch N (column)."""
    return _grid(
        damage,
        failures,
        family="switch",
        metric=metric,
        selector=selector,
        title=metric.damage,
        column="switch",
        column_title="switch after scale",
        columns=range(scales),
    )


def saving_heatmap(
    damage: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    metric: Metric,
    title: str,
    scales: int,
    selector: str,
) -> Heatmap:
    """What the two-zone plan saves of an exact cost, as a share of the full network's."""
    rows = damage[(damage["metric"] == metric.name) & (damage["family"] == "switch")]
    shares = rows.assign(damage=-rows["damage"] / rows["full_value"])
    return _grid(
        shares,
        failures,
        family="switch",
        metric=metric,
        selector=selector,
        title=title,
        column="switch",
        column_title="switch after scale",
        columns=range(scales),
        share=True,
    )


def propagation_map(
    damage: pd.DataFrame, failures: pd.DataFrame, *, depth: int, scales: int, selector: str
) -> Heatmap:
    """NLL increase at each scale (column) when one scale (row) runs at `depth`, the others in full.

    A scale cannot see later ones, so entries before the diagonal are zero by construction: they
    are left out, unless one is not zero, which would be an error of the model and must show.
    """
    values, low, high, p = (np.full((scales, scales), np.nan) for _ in range(4))
    failed = np.zeros((scales, scales), dtype=bool)
    mine = damage[
        (damage["family"] == "scale")
        & (damage["subnet_depth"] == depth).fillna(False)
        & (damage["selector"] == selector)
    ]
    for row in mine.itertuples():
        metric = parse_metric(row.metric)
        if metric.kind != "nll" or metric.scale is None or metric.scale > scales:
            continue
        lost, seen = row.scale - 1, metric.scale - 1
        if seen < lost and abs(row.damage) <= NATS_OF_ROUNDING:
            continue
        values[lost, seen], low[lost, seen] = row.damage, row.low
        high[lost, seen], p[lost, seen] = row.high, row.p_value
    for row in failures.itertuples():
        if row.family != "scale" or row.subnet_depth != depth or row.selector != selector:
            continue
        if np.isnan(values[row.scale - 1]).all():
            failed[row.scale - 1, row.scale - 1 :] = True
    names = tuple(str(scale) for scale in range(1, scales + 1))
    return Heatmap(
        title=f"NLL increase with one scale at depth {depth}",
        unit="nats/token",
        row_title="scale that lost depth",
        column_title="scale whose NLL rose",
        rows=names,
        columns=names,
        values=values,
        low=low,
        high=high,
        p_holm=holm(p.ravel()).reshape(p.shape),
        failed=failed,
    )


@dataclass(frozen=True, kw_only=True)
class WindowDamage:
    """Damage of each window at half depth, for one metric, with intervals."""

    metric: Metric
    names: tuple[str, ...]
    scales: tuple[tuple[int, ...], ...]
    estimate: tuple[float, ...]  # NaN where there is none
    low: tuple[float, ...]
    high: tuple[float, ...]
    failed: tuple[bool, ...]


def window_damage(
    damage: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    metric: Metric,
    windows: Mapping[str, Sequence[int]],
    depth: int,
    selector: str,
) -> WindowDamage:
    """What it costs to run all scales of a window at `depth`, window by window, unnormalised."""
    nowhere = (math.nan, math.nan, math.nan)
    found = {
        row.window: (row.damage, row.low, row.high)
        for row in damage[(damage["family"] == "window") & (damage["metric"] == metric.name)]
        .dropna(subset=["subnet_depth"])
        .itertuples()
        if row.selector == selector and row.subnet_depth == depth
    }
    broken = failures[(failures["family"] == "window") & (failures["selector"] == selector)]
    columns = list(zip(*(found.get(name, nowhere) for name in windows), strict=True))
    return WindowDamage(
        metric=metric,
        names=tuple(windows),
        scales=tuple(tuple(s) for s in windows.values()),
        estimate=columns[0],
        low=columns[1],
        high=columns[2],
        failed=tuple(name not in found and name in set(broken["window"]) for name in windows),
    )


def _grid(
    damage: pd.DataFrame,
    failures: pd.DataFrame,
    *,
    family: str,
    metric: Metric,
    selector: str,
    title: str,
    column: str,
    column_title: str,
    columns: Sequence[int],
    rescale: Callable[[np.ndarray], np.ndarray] | None = None,
    share: bool = False,
) -> Heatmap:
    """A depth x `column` map of one metric over the cells of one family and selector."""
    cells = damage[(damage["family"] == family) & (damage["selector"] == selector)]
    broken = failures[(failures["family"] == family) & (failures["selector"] == selector)]
    every = pd.concat([cells["subnet_depth"], broken["subnet_depth"]]).dropna()
    depths = sorted({int(depth) for depth in every}, reverse=True)
    place = {(depth, c): (i, j) for i, depth in enumerate(depths) for j, c in enumerate(columns)}
    shape = (len(depths), len(columns))
    values, low, high, p = (np.full(shape, np.nan) for _ in range(4))
    failed = np.zeros(shape, dtype=bool)
    for row in cells[cells["metric"] == metric.name].itertuples():
        at = place[int(row.subnet_depth), int(getattr(row, column))]
        values[at], low[at], high[at], p[at] = row.damage, row.low, row.high, row.p_value
    for row in broken.itertuples():
        at = place[int(row.subnet_depth), int(getattr(row, column))]
        failed[at] = np.isnan(values[at])
    if rescale is not None:
        values, low, high = rescale(values), rescale(low), rescale(high)
    return Heatmap(
        title=title,
        unit="" if share else metric.unit,
        row_title="depth",
        column_title=column_title,
        rows=tuple(str(d) for d in depths),
        columns=tuple(str(c) for c in columns),
        values=values,
        low=low,
        high=high,
        p_holm=holm(p.ravel()).reshape(shape),
        failed=failed,
        exact=metric.exact,
        share=share,
    )
