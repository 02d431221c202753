"""Scoring a plan cheaply: the teacher-forced NLL of select images, and its cost."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from studies.cells.cell import Cell, Measured, Network, Task
from studies.cells.evaluation import flops_share
from studies.cells.result import Measurements
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from varant.start.calibration import Speed

SCORE_SCHEMA = 1  # raise it when the meaning of a score changes


@dataclass(frozen=True, kw_only=True)
class Scoring(Task):
    """What a search looks at, never a result: `select/nll/mean` and costs of one plan."""

    plan: DepthPlan
    select_images: int
    select_sets: int
    tabled: ClassVar[bool] = False

    @property
    def images(self) -> int:
        return self.select_images

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return flops_share(self.plan, geometry) * self.images / speed.nll_images_per_second

    def identity(self, network: Network) -> dict[str, object]:
        return {
            "score": SCORE_SCHEMA,
            "model": network.model,
            "tokenizer": network.tokenizer_sha256,
            "tokens": network.tokens_digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
            "select": {"images": self.select_images, "sets": self.select_sets},
        }

    def measure(self, cell: Cell, folder: Path) -> Measured:
        from studies.cells.measuring import load_network, select_likelihood

        loaded = load_network(cell.network, cell.device)
        found = select_likelihood(
            loaded, self.plan, images=self.select_images, sets=self.select_sets
        )
        cost = plan_cost(loaded.model.geometry, self.plan, guidance=False, kv_bytes=4)
        found["kv_bytes/analytic"] = Measurements.exact(cost.kv_bytes_peak)
        found["flops/transformer"] = Measurements.exact(cost.flops)
        return Measured(metrics=found)
