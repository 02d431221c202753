"""A cell that scores a plan cheaply: the teacher-forced NLL of select images, and its cost."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from studies.cells.cell import Cell, Measured
from studies.cells.evaluation import Network, flops_share, load_network, select_likelihood
from studies.cells.result import Measurements
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.start.calibration import Speed

SCORE_SCHEMA = 1  # raise it when the meaning of a score changes


@dataclass(frozen=True, kw_only=True)
class ScoreCell(Cell):
    """What a search looks at, never a result: `select/nll/mean` and costs of one plan."""

    network: Network
    plan: DepthPlan
    select_images: int
    select_sets: int
    device: str = "cpu"
    tabled: ClassVar[bool] = False

    @functools.cached_property
    def identity(self) -> dict[str, object]:
        return {
            "score": SCORE_SCHEMA,
            "model": self.network.model,
            "tokenizer": self.network.tokenizer_sha256,
            "tokens": self.network.tokens_digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
            "select": {"images": self.select_images, "sets": self.select_sets},
        }

    @property
    def images(self) -> int:
        return self.select_images

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return flops_share(self.plan, geometry) * self.images / speed.nll_images_per_second

    def measure(self, folder: Path) -> Measured:
        loaded = load_network(self.network, self.device)
        with torch.inference_mode():
            found = select_likelihood(
                loaded, self.plan, images=self.select_images, sets=self.select_sets
            )
        cost = plan_cost(loaded.model.geometry, self.plan, guidance=False, kv_bytes=4)
        found["kv_bytes/analytic"] = Measurements.exact(cost.kv_bytes_peak)
        found["flops/transformer"] = Measurements.exact(cost.flops)
        return Measured(metrics=found)
