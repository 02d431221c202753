"""Two models: a large one draws the early scales, a small one the late ones.

CoDe (Z. Chen et al., CVPR 2025, arXiv 2411.17787): the drafter draws scales 1 to N, its cache is
freed, the refiner takes the drafted tokens as a prefix and draws the rest; each is fine-tuned for
its own scales. Here the drafter is the base, the refiner a network of d of its layers; each takes
half of the passes, with the loss on its own scales alone. KV is the larger of the two caches, which
are never held at once; the refiner's holds the drafted scales too. FLOPs are the drafter's N scales
and all scales of the refiner, whose head runs at its own only. Weights are both networks'.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from studies.cells.cell import Cell, Network, Task
from studies.cells.training import Training
from studies.grid.point import Point
from studies.rivals.costs import handover_cost
from studies.rivals.rival import Ground, Rival, RivalMeasurement
from studies.supernets import Arm, control
from varant.errors import UserError
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.training.schedule import Schedule

if TYPE_CHECKING:
    from studies.cells.measuring import UnderPlan
    from varant.data.tokens import TokenSplit
    from varant.training.run import Evaluator


@dataclass(frozen=True, kw_only=True)
class SpecialistTraining(Training):
    """A training for some scales, watched on those: `select/nll/...` in it is their mean."""

    def identity(self, network: Network) -> dict[str, object]:
        return super().identity(network) | {"watched": "own scales"}

    def evaluator(self, select: TokenSplit) -> Evaluator:
        from studies.rivals.drafted import SpecialistEvaluator

        return SpecialistEvaluator(**vars(super().evaluator(select)))


@dataclass(frozen=True, kw_only=True)
class TwoModels(RivalMeasurement):
    """Drafter and refiner measured together; `trained` and `plan` are the refiner's.

    Attributes:
        switch: scales that the drafter draws.
    """

    drafter: Training
    switch: int

    @property
    def also_trained(self) -> tuple[Task, ...]:
        return (self.drafter,)

    def flops_share(self, geometry: Geometry) -> float:
        drafts = DepthPlan.full(geometry.patch_nums, geometry.depth)
        cost = handover_cost(geometry, drafts, self.plan, self.switch, guidance=True)
        return cost[1] / plan_cost(geometry).flops

    def identity(self, network: Network) -> dict[str, object]:
        return super().identity(network) | {"drafted_scales": self.switch}

    def subject(self, cell: Cell) -> UnderPlan:
        from studies.cells.measuring import load_network
        from studies.rivals.drafted import Drafted

        (other,) = cell.others
        drafter = load_network(other, cell.device)
        return Drafted(**vars(super().subject(cell)), drafter=drafter, switch=self.switch)


def points(ground: Ground) -> Iterator[Point]:
    switch, scales = ground.switch, len(ground.geometry.patch_nums)
    if switch == 0:
        raise UserError("--rivals two-models: the large one draws no scale; give --train-switch 1")
    early = tuple(float(k < switch) for k in range(scales))
    half = ground.study.config.training.budget_images // 2  # of the passes, for each of the two
    arm = replace(control(switch), label=f"{ground.name} drafter")
    own = ground.training(arm, scale_weights=early, budget_images=half)
    drafter = SpecialistTraining(**vars(own))
    yield ground.trained(arm, drafter)
    late = tuple(1.0 - weight for weight in early)
    for depth in ground.depths:
        plan = ground.two_zone(depth, 0)
        arm = Arm(label=f"{ground.name} d{depth}", schedule=Schedule.fixed(1.0), switch=0)
        how = {"depths": (depth,), "scale_weights": late, "budget_images": half}
        refiner = SpecialistTraining(**vars(ground.training(arm, **how)))
        yield ground.trained(arm, refiner)
        weights = ground.weights(ground.full(), plan)
        zones = {"subnet_depth": depth, "switch": switch}
        point = ground.measured(arm, plan, refiner, weights=weights, **zones)
        task = TwoModels(**vars(point.task), drafter=drafter, switch=switch)
        yield ground.instead(point, task, ground.two_zone(depth, switch).name)


TWO_MODELS = Rival(
    name="two-models",
    rule="the base draws the scales before the switch, a network of d of its layers the others; "
    "each trained for its scales on half of the passes",
    source="CoDe, arXiv 2411.17787",
    points=points,
)
