"""Measuring a network under a depth plan, and scoring a plan cheaply."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from studies.cells.cell import Cell, Evaluation, Network, Task
from studies.cells.result import CellResult
from varant.files import write_json
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from varant.start.calibration import Speed

# Raise one when the meaning of a result or of a score changes: finished cells then run again.
RESULT_SCHEMA, SCORE_SCHEMA = 2, 1
IDENTITY_FILE = "config.json"
SCORING_SECONDS = 0.7  # of an evaluation, whatever it measures


@dataclass(frozen=True, kw_only=True)
class PlanTask(Task):
    """Something that is done with one plan on one network."""

    plan: DepthPlan

    def identity(self, network: Network) -> dict[str, object]:
        return {
            "model": network.model,
            "tokenizer": network.tokenizer_sha256,
            "tokens": network.tokens_digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
        }

    def flops_share(self, geometry: Geometry) -> float:
        """FLOPs of a pass as a share of a full one's."""
        return plan_cost(geometry, self.plan).flops / plan_cost(geometry).flops


@dataclass(frozen=True, kw_only=True)
class Measurement(PlanTask):
    """All that a study reports of a plan."""

    evaluation: Evaluation

    @property
    def images(self) -> int:
        wanted = self.evaluation
        return wanted.samples + wanted.nll_images + wanted.select_images

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        wanted = self.evaluation
        likelihood = (wanted.nll_images + wanted.select_images) / speed.nll_images_per_second
        sampling = wanted.samples / speed.samples_per_second
        return self.flops_share(geometry) * (sampling + likelihood) + SCORING_SECONDS

    def identity(self, network: Network) -> dict[str, object]:
        own = {"schema": RESULT_SCHEMA, "extractor": network.extractor.digest}
        own |= {"evaluation": self.evaluation.model_dump()}
        reference = network.reference_digest
        return super().identity(network) | own | ({"reference": reference} if reference else {})

    def baseline(self) -> Measurement | None:
        """The full plan of the same network."""
        full = DepthPlan.full(self.plan.patch_nums, self.plan.depth)
        return None if self.plan.is_full else replace(self, plan=full)

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        from studies.cells.measuring import evaluate

        metrics = evaluate(cell, self.plan, self.evaluation, folder)
        write_json(folder / IDENTITY_FILE, cell.identity)
        return CellResult(digest=cell.digest, metrics=metrics)


@dataclass(frozen=True, kw_only=True)
class Scoring(PlanTask):
    """What a search looks at, never a result: `select/nll/mean` and costs of one plan."""

    select_images: int
    select_sets: int
    tabled: ClassVar[bool] = False

    @property
    def images(self) -> int:
        return self.select_images

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return self.flops_share(geometry) * self.images / speed.nll_images_per_second

    def identity(self, network: Network) -> dict[str, object]:
        select = {"images": self.select_images, "sets": self.select_sets}
        return super().identity(network) | {"score": SCORE_SCHEMA, "select": select}

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        from studies.cells.measuring import costs_of, load_network, select_likelihood

        loaded = load_network(cell.network, cell.device)
        found = select_likelihood(loaded, self.plan, self.select_images, self.select_sets)
        found |= costs_of(loaded, self.plan, guidance=False)
        return CellResult(digest=cell.digest, metrics=found)
