"""Scoring a plan cheaply: the teacher-forced NLL of select images, and its cost."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from studies.cells.cell import Cell, Measured, Task
from studies.cells.evaluation import flops_share
from studies.cells.result import Measurements
from studies.cells.site import Network, Site
from studies.cells.training import Training
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from varant.start.calibration import Speed

SCORE_SCHEMA = 1  # raise it when the meaning of a score changes


@dataclass(frozen=True, kw_only=True)
class Scoring(Task):
    """What a search looks at, never a result: `select/nll/mean` and costs of one plan.

    Attributes:
        trained: how the network is trained in this study; None for the base itself.
    """

    plan: DepthPlan
    base_seed: int
    trained: Training | None = None
    select_images: int
    select_sets: int
    tabled: ClassVar[bool] = False

    @property
    def images(self) -> int:
        return self.select_images

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return flops_share(self.plan, geometry) * self.images / speed.nll_images_per_second

    def cell(self, site: Site) -> ScoreCell:
        network = site.network(
            self.base_seed, self.trained.cell(site).digest if self.trained else None
        )
        return ScoreCell(task=self, network=network, device=site.device)


@dataclass(frozen=True, kw_only=True)
class ScoreCell(Cell):
    """A scoring at a network."""

    task: Scoring
    network: Network
    device: str = "cpu"

    @functools.cached_property
    def identity(self) -> dict[str, object]:
        plan = self.task.plan
        return {
            "score": SCORE_SCHEMA,
            "model": self.network.model,
            "tokenizer": self.network.tokenizer_sha256,
            "tokens": self.network.tokens_digest,
            "plan": {"depth": plan.depth, "layers": plan.layers},
            "patch_nums": plan.patch_nums,
            "select": {"images": self.task.select_images, "sets": self.task.select_sets},
        }

    @property
    def needs(self) -> str | None:
        return self.network.trained_by

    def measure(self, folder: Path) -> Measured:
        from studies.cells.measuring import load_network, select_likelihood

        loaded, task = load_network(self.network, self.device), self.task
        found = select_likelihood(
            loaded, task.plan, images=task.select_images, sets=task.select_sets
        )
        cost = plan_cost(loaded.model.geometry, task.plan, guidance=False, kv_bytes=4)
        found["kv_bytes/analytic"] = Measurements.exact(cost.kv_bytes_peak)
        found["flops/transformer"] = Measurements.exact(cost.flops)
        return Measured(metrics=found)
