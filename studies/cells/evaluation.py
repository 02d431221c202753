"""Measuring a network under a depth plan."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from studies.cells.cell import Cell, Measured, Network, Task
from studies.cells.protocol import Evaluation
from varant.files import write_json
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from varant.start.calibration import Speed

RESULT_SCHEMA = 2  # raise it when the meaning of a result changes: finished cells then run again
IDENTITY_FILE = "config.json"
SCORING_SECONDS = 0.7  # of an evaluation, whatever it measures


def flops_share(plan: DepthPlan, geometry: Geometry) -> float:
    """FLOPs of a pass under `plan` as a share of a full one's."""
    return plan_cost(geometry, plan).flops / plan_cost(geometry).flops


@dataclass(frozen=True, kw_only=True)
class Measurement(Task):
    """One plan on one network."""

    plan: DepthPlan
    evaluation: Evaluation

    @property
    def images(self) -> int:
        wanted = self.evaluation
        return wanted.samples + wanted.nll_images + wanted.select_images

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        wanted = self.evaluation
        likelihood = (wanted.nll_images + wanted.select_images) / speed.nll_images_per_second
        sampling = wanted.samples / speed.samples_per_second
        return flops_share(self.plan, geometry) * (sampling + likelihood) + SCORING_SECONDS

    def identity(self, network: Network) -> dict[str, object]:
        reference = network.reference_digest
        return {
            "schema": RESULT_SCHEMA,
            "model": network.model,
            "tokenizer": network.tokenizer_sha256,
            "tokens": network.tokens_digest,
            "extractor": network.extractor.digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
            "evaluation": asdict(self.evaluation),
        } | ({"reference": reference} if reference else {})

    def baseline(self) -> Measurement | None:
        """The full plan of the same network."""
        full = DepthPlan.full(self.plan.patch_nums, self.plan.depth)
        return None if self.plan.is_full else replace(self, plan=full)

    def measure(self, cell: Cell, folder: Path) -> Measured:
        from studies.cells.measuring import evaluate

        metrics = evaluate(cell, self.plan, self.evaluation, folder)
        write_json(folder / IDENTITY_FILE, cell.identity)
        return Measured(metrics=metrics)
