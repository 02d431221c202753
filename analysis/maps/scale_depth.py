"""Which scales need depth: the study's maps, ready to draw.

Every map holds damage (see `analysis.statistics.damage`) with a significance mark after Holm's
correction over the tests of that map. Cells that failed are marked failed; cells that the study
does not have are NaN and not failed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from analysis.maps.heatmap import ENDS, Heatmap, placed
from analysis.metrics import Metric, parse_metric
from analysis.statistics.damage import cells_by

# Causality makes a scale's loss independent of later scales; float noise stays far below this.
NATS_OF_ROUNDING = 1e-6
# Family to the first of the places that its maps go across, and to what those are.
ACROSS = {"scale": (1, "scale that lost depth"), "switch": (0, "switch after scale")}


@dataclass(frozen=True, kw_only=True)
class DepthMaps:
    """The maps of one selector.

    Attributes:
        damage: `Damages.table`.
        failures: `Damages.failures`.
        patch_nums: sides of the scales.
    """

    damage: pd.DataFrame
    failures: pd.DataFrame
    selector: str
    patch_nums: Sequence[int]

    def scale_depth(self, metric: Metric, *, per_token: bool) -> Heatmap:
        """Damage when one scale (column) runs at a depth (row) and every other scale in full.

        `per_token` divides by the p * p tokens of that scale: damage for each that lost layers.
        """
        found, failed = self._of("scale")
        if per_token:
            tokens = found["scale"].map(lambda scale: self.patch_nums[scale - 1] ** 2)
            found = found.assign(**{name: found[name] / tokens for name in ENDS})
        title = f"{metric.damage}, {'per token of the scale' if per_token else 'per scale'}"
        return self._by_depth("scale", found, failed, metric, title=title, unit=metric.unit)

    def switch_depth(self, metric: Metric) -> Heatmap:
        """Damage of the two-zone plan d@N: depth d (row) on all scales after switch N (column)."""
        look = {"title": metric.damage, "unit": metric.unit}
        return self._by_depth("switch", *self._of("switch"), metric, **look)

    def saving(self, metric: Metric, title: str) -> Heatmap:
        """What the two-zone plan saves of an exact cost, as a share of the full network's."""
        found, failed = self._of("switch")
        found = found.assign(damage=-found["damage"] / found["full_value"])
        return self._by_depth("switch", found, failed, metric, title=title, unit="", share=True)

    def _by_depth(
        self, family: str, found: pd.DataFrame, failed: pd.DataFrame, metric: Metric, **look: Any
    ) -> Heatmap:
        """A map of a family, over the depths that it has and the places that the network has."""
        first, title = ACROSS[family]
        across = range(first, first + len(self.patch_nums))
        depths = {int(d) for cells in (found, failed) for d in cells["subnet_depth"].dropna()}
        mine, down = found[found["metric"] == metric.name], sorted(depths, reverse=True)
        grid = placed(mine, failed, ("subnet_depth", down), (family, across))
        return Heatmap(row_title="depth", column_title=title, **look, **grid)

    def propagation(self, depth: int) -> Heatmap:
        """NLL increase at each scale (column) when one (row) runs at `depth`, the others in full.

        A scale cannot see later ones, so entries before the diagonal are zero by construction: they
        are left out, unless one is not zero, which would be an error of the model and must show.
        """
        found, failed = self._of("scale", subnet_depth=depth)
        scales = range(1, len(self.patch_nums) + 1)
        seen = [parse_metric(name).scale for name in found["metric"]]
        found = found.assign(seen=pd.array(seen, dtype="Int64"))
        found = found[found["seen"].between(1, len(scales)).fillna(False)]
        causal = (found["seen"] < found["scale"]) & (found["damage"].abs() <= NATS_OF_ROUNDING)
        later = failed.merge(pd.DataFrame({"seen": list(scales)}), how="cross")
        later = later[later["seen"] >= later["scale"]]
        return Heatmap(
            title=f"NLL increase with one scale at depth {depth}",
            unit="nats/token",
            row_title="scale that lost depth",
            column_title="scale whose NLL rose",
            **placed(found[~causal], later, ("scale", scales), ("seen", scales)),
        )

    def windows(
        self, windows: Sequence[str], depth: int, metrics: Sequence[Metric]
    ) -> pd.DataFrame:
        """What it costs to run a window's scales at `depth`, by `cells_by`."""
        found, failed = self._of("window", subnet_depth=depth)
        return cells_by(found, failed, "window", windows, metrics)

    def _of(self, family: str, **place: object) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Damage and failures of one family, with these values in the columns of these names."""
        found, failed = self.damage, self.failures
        for name, value in ({"family": family, "selector": self.selector} | place).items():
            found, failed = (t[(t[name] == value).fillna(False)] for t in (found, failed))
        return found, failed
