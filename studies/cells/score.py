"""A cell that scores a plan cheaply: the teacher-forced NLL of select images, and its cost."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch

from studies.cells.cell import Cell, Measured
from studies.cells.evaluation import Network, flops_share, likelihood, load_network
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
    def identity(self) -> dict:
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
            found = likelihood(
                loaded,
                self.plan,
                loaded.tokens.select,
                images=self.select_images,
                sets=self.select_sets,
                prefix="select/",
                names=("nll/mean",),
            )
        cost = plan_cost(loaded.model.geometry, self.plan, guidance=False, kv_bytes=4)
        exact = {"kv_bytes/analytic": cost.kv_bytes_peak, "flops/transformer": cost.flops}
        found |= {k: Measurements(values=(float(v),), count=0) for k, v in exact.items()}
        return Measured(metrics=found)
