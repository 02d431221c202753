"""Measuring a network under a depth plan."""

from __future__ import annotations

import functools
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from studies.cells.cell import Cell, Measured, Task
from studies.cells.protocol import Evaluation
from studies.cells.site import Network, Site
from studies.cells.training import Training
from varant.files import write_json
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from varant.start.calibration import Speed

RESULT_SCHEMA = 2  # raise it when the meaning of a result changes: finished cells then run again
IDENTITY_FILE = "config.json"
SCORING_SECONDS = 0.7  # of an evaluation, whatever it measures


@dataclass(frozen=True, kw_only=True)
class Measurement(Task):
    """One plan on one network.

    Attributes:
        trained: how the network is trained in this study; None for the base itself.
    """

    plan: DepthPlan
    evaluation: Evaluation
    base_seed: int
    trained: Training | None = None

    @property
    def images(self) -> int:
        wanted = self.evaluation
        return wanted.samples + wanted.nll_images + wanted.select_images

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        wanted = self.evaluation
        likelihood = (wanted.nll_images + wanted.select_images) / speed.nll_images_per_second
        sampling = wanted.samples / speed.samples_per_second
        return flops_share(self.plan, geometry) * (sampling + likelihood) + SCORING_SECONDS

    def cell(self, site: Site) -> EvaluationCell:
        network = site.network(
            self.base_seed, self.trained.cell(site).digest if self.trained else None
        )
        return EvaluationCell(
            task=self, network=network, batch=site.sample_batch, device=site.device
        )


def flops_share(plan: DepthPlan, geometry: Geometry) -> float:
    """FLOPs of a pass under `plan` as a share of a full one's."""
    return plan_cost(geometry, plan).flops / plan_cost(geometry).flops


@dataclass(frozen=True, kw_only=True)
class EvaluationCell(Cell):
    """A measurement at a network.

    Attributes:
        batch: images generated at once; each draws its own uniforms, so it is no identity.
    """

    task: Measurement
    network: Network
    batch: int = 250
    device: str = "cpu"

    @property
    def plan(self) -> DepthPlan:
        return self.task.plan

    @functools.cached_property
    def identity(self) -> dict[str, object]:
        reference = self.network.reference_digest
        return {
            "schema": RESULT_SCHEMA,
            "model": self.network.model,
            "tokenizer": self.network.tokenizer_sha256,
            "tokens": self.network.tokens_digest,
            "extractor": self.network.extractor.digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
            "evaluation": asdict(self.task.evaluation),
        } | ({"reference": reference} if reference else {})

    @property
    def needs(self) -> str | None:
        return self.network.trained_by

    def baseline(self) -> EvaluationCell | None:
        """The full plan of the same network."""
        if self.plan.is_full:
            return None
        full = DepthPlan.full(self.plan.patch_nums, self.plan.depth)
        return replace(self, task=replace(self.task, plan=full))

    def measure(self, folder: Path) -> Measured:
        from studies.cells.measuring import evaluate

        metrics = evaluate(
            self.network,
            self.plan,
            self.task.evaluation,
            folder,
            batch=self.batch,
            device=self.device,
        )
        write_json(folder / IDENTITY_FILE, self.identity)
        return Measured(metrics=metrics)
