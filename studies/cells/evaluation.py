"""Measuring a network under a depth plan, and scoring a plan cheaply."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from analysis.metrics import SELECT
from studies.cells.cell import Cell, Evaluation, Network, Task
from studies.cells.result import WHOLE_FILE, CellResult, Measurements
from studies.cells.training import Training
from varant.files import write_json
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from studies.cells.measuring import DamagedImages, UnderPlan
    from varant.start.calibration import Speed

# Raise one when the meaning of a result or of a score changes: finished cells then run again.
RESULT_SCHEMA, SCORE_SCHEMA = 4, 2
# Of features: finished cells whose scores are older get what they lack from those that they keep.
SCORES = "mind, common"
SCORING_SECONDS = 1.0  # of an evaluation, whatever it measures
RECONSTRUCTED = 2_750  # images a CPU-second of the smallest preset, decoded and given features


class Scored(Task):
    """Something whose folder keeps features of images, and the scores of these."""

    @abc.abstractmethod
    def labels(self, cell: Cell) -> np.ndarray:
        """(N,) classes of the images."""

    def finished(self, cell: Cell, folder: Path, metrics: Mapping[str, Measurements]) -> CellResult:
        """The result, when the folder has all the rest."""
        write_json(folder / WHOLE_FILE, cell.identity)
        facts = {"scores": SCORES}
        return CellResult(digest=cell.digest, metrics=metrics, facts=facts)

    def lacks(self, known: CellResult) -> bool:
        if known.facts.get("scores") == SCORES:
            return False
        mind = [one for name, one in known.metrics.items() if name.startswith("mind/")]
        shared = any(one.common for one in known.metrics.values())
        return not mind or (shared and not all(one.common for one in mind))

    def complete(self, cell: Cell, folder: Path, known: CellResult) -> CellResult:
        from studies.cells.measuring import score_kept

        found = score_kept(cell, self.labels(cell), folder)
        had = known.metrics
        added = {k: one for k, one in found.items() if k not in had or one.common > had[k].common}
        facts = {**known.facts, "scores": SCORES}
        return replace(known, metrics={**known.metrics, **added}, facts=facts)


@dataclass(frozen=True, kw_only=True)
class PlanTask(Task):
    """Something that is done with one plan on one network.

    Attributes:
        evaluation: counts no images but those that it looks at.
    """

    plan: DepthPlan
    evaluation: Evaluation

    @property
    def images(self) -> int:
        wanted = self.evaluation
        return wanted.samples + wanted.nll_images + wanted.select_images

    @property
    def splits(self) -> tuple[str, ...]:
        return ("select",) if self.evaluation.select_images else ()

    def identity(self, network: Network) -> dict[str, object]:
        return {
            "model": network.model,
            "precision": network.precision,
            "tokenizer": network.held_out.tokenizer_sha256,
            "tokens": network.tokens_digest,
            "plan": {"depth": self.plan.depth, "layers": self.plan.layers},
            "patch_nums": self.plan.patch_nums,
        }

    def baseline(self) -> Self | None:
        """The same of the full plan."""
        full = DepthPlan.full(self.plan.patch_nums, self.plan.depth)
        return None if self.plan.is_full else replace(self, plan=full)

    @property
    def tabled_plan(self) -> DepthPlan | None:
        return self.plan if self.tabled else None

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        wanted = self.evaluation
        likelihood = (wanted.nll_images + wanted.select_images) / speed.nll_images_per_second
        sampling = wanted.samples / speed.samples_per_second
        return self.flops_share(geometry) * (sampling + likelihood)

    def flops_share(self, geometry: Geometry) -> float:
        """FLOPs of a pass as a share of a full one's."""
        return plan_cost(geometry, self.plan).flops / plan_cost(geometry).flops

    def subject(self, cell: Cell) -> UnderPlan:
        """What metrics ask: the network under its plan, or what a peer's way puts in its place."""
        from studies.cells.measuring import UnderPlan, load_network

        return UnderPlan(loaded=load_network(cell.network, cell.device), plan=self.plan)


@dataclass(frozen=True, kw_only=True)
class Measurement(PlanTask, Scored):
    """All that a study reports of a plan."""

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return super().seconds(speed, geometry) + SCORING_SECONDS

    def identity(self, network: Network) -> dict[str, object]:
        own: dict[str, object] = {"schema": RESULT_SCHEMA}
        own |= {"evaluation": self.evaluation.model_dump()}
        return super().identity(network) | network.held_out.identity | own

    def untrained(self) -> tuple[Measurement | None, Measurement | None]:
        own = replace(self, trained=None)
        if not self.plan.is_full:
            return (own, own.baseline()) if self.trained else (None, None)
        if not isinstance(self.trained, Training):
            return None, None
        # Nothing is dropped: the measure is what half the layers lose, as of claim C7a.
        sides, depth, switch = self.plan.patch_nums, self.plan.depth, self.trained.config.switch
        half = DepthPlan.two_zone(sides, depth, subnet_depth=max(1, depth // 2), switch=switch)
        return replace(own, plan=half), own

    def floor(self) -> RealImages:
        return RealImages(unit=self.unit, samples=self.evaluation.samples)

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        from studies.cells.measuring import evaluate

        metrics = evaluate(cell, self.subject(cell), self.evaluation, self.labels(cell), folder)
        return self.finished(cell, folder, metrics)

    def labels(self, cell: Cell) -> np.ndarray:
        from studies.cells.measuring import load_network

        classes = load_network(cell.network, cell.device).model.num_classes
        return np.arange(self.evaluation.samples) % classes


@dataclass(frozen=True, kw_only=True)
class Likelihood(PlanTask):
    """Teacher-forced NLL of the unit's test images alone: nothing is drawn."""

    def identity(self, network: Network) -> dict[str, object]:
        images = self.evaluation.nll_images
        own: dict[str, object] = {"schema": RESULT_SCHEMA, "nll_images": images}
        own |= {"shared": True} if network.held_out.shared else {}
        return super().identity(network) | {"held_out": network.held_out.tokens_digest} | own

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        from studies.cells.measuring import likelihood

        found = likelihood(self.subject(cell), self.evaluation.nll_images)
        write_json(folder / WHOLE_FILE, cell.identity)
        return CellResult(digest=cell.digest, metrics=found)


@dataclass(frozen=True, kw_only=True)
class Scoring(PlanTask):
    """What a search looks at, never a result: `select/nll/mean` and costs of one plan and, where
    samples are drawn, their Frechet distance to select images in the deciding feature space."""

    tabled: ClassVar[bool] = False

    def baseline(self) -> None:
        """Nothing: it chooses."""

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return super().seconds(speed, geometry) + self.evaluation.samples / RECONSTRUCTED

    def identity(self, network: Network) -> dict[str, object]:
        wanted = self.evaluation
        own: dict[str, object] = {"score": SCORE_SCHEMA, "select_images": wanted.select_images}
        if wanted.samples:
            own |= {
                "evaluation": wanted.model_dump(),
                "extractor": network.held_out.extractors[0].identity,
            }
        return super().identity(network) | own

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        from studies.cells.measuring import costs_of, select_distance, select_likelihood

        subject, wanted = self.subject(cell), self.evaluation
        found = select_likelihood(subject, wanted.select_images)
        if wanted.samples:
            found |= select_distance(cell, subject, wanted)
        found |= costs_of(subject, guidance=False)
        return CellResult(digest=cell.digest, metrics=found)

    def scores(self, values: Mapping[str, float]) -> tuple[float, float | None] | None:
        """Select NLL, and the distance where samples are drawn; None of a failed result, or of one
        that is no number."""
        nll = values.get(SELECT.name, math.nan)
        own = [name for name in values if name.startswith("select/") and "/nll/" not in name]
        distance = values[own[0]] if own else None
        return (nll, distance) if math.isfinite(nll + (distance or 0.0)) else None


@dataclass(frozen=True, kw_only=True)
class RealImages(Scored):
    """Reconstructed held-out images, scored as samples are: the floor, or a rung of the ladder.

    Attributes:
        samples: as many images, or all that there are.
        rung: of `varant.evaluation.ladder`; None for images as they are.
        draw: seed of what the damage draws.
        part: seed of the random part of the images that is taken; None for the first ones.
    """

    samples: int
    rung: str | None = None
    draw: int = 0
    part: int | None = None

    @property
    def images(self) -> int:
        return self.samples

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return self.samples / RECONSTRUCTED + SCORING_SECONDS

    def identity(self, network: Network) -> dict[str, object]:
        own = {"schema": RESULT_SCHEMA, "rung": self.rung, "draw": self.draw}
        part = {} if self.part is None else {"part": self.part}
        return network.held_out.identity | own | {"samples": self.samples} | part

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        from studies.cells.measuring import evaluate_real

        metrics = evaluate_real(cell, self._real(cell), folder)
        return self.finished(cell, folder, metrics)

    def labels(self, cell: Cell) -> np.ndarray:
        return self._real(cell).labels_N

    def _real(self, cell: Cell) -> DamagedImages:
        from studies.cells.measuring import damaged_images

        return damaged_images(cell, self.rung, self.samples, draw=self.draw, part=self.part)
