"""What a rival is: a peer's way to save memory, on the study's own ground.

A rival is a file of this folder that gives a `Rival`: its rule, where that is from, and the points
of a unit. All begin from the unit's base network, take as many image passes as the study's own
models (two networks share them), and are measured as those are: same test images, same uniforms.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from analysis.study_file import EQUIDISTANT, RivalFacts
from studies.cells.evaluation import Measurement
from studies.cells.training import Training
from studies.grid.point import Point
from studies.supernets import Arm, SupernetStudy
from varant.devices import element_bytes
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from studies.grid.bench import Planned


@dataclass(frozen=True, kw_only=True)
class RivalMeasurement(Measurement):
    """A plan measured in a rival's own way, as no full network is: it is compared with none."""

    def baseline(self) -> None:
        return None

    def untrained(self) -> tuple[None, None]:
        return None, None


class Rival(RivalFacts):
    """A peer's way. `points`: trainings and measured plans of a unit."""

    points: Callable[[Ground], Iterator[Point]]


@dataclass(frozen=True, kw_only=True)
class Ground:
    """What the rivals of a unit stand on.

    Attributes:
        name: the rival's.
        switch: the switch point that the study's own models are trained for.
    """

    name: str
    study: SupernetStudy[Any, Any]
    bench: Planned
    unit: int
    switch: int

    @property
    def geometry(self) -> Geometry:
        return self.bench.geometry

    @property
    def depths(self) -> tuple[int, ...]:
        """Of subnets, as the study trains them."""
        return self.study.depths(self.geometry)

    def full(self) -> DepthPlan:
        return DepthPlan.full(self.geometry.patch_nums, self.geometry.depth)

    def two_zone(self, subnet: int, switch: int, selector: str = EQUIDISTANT) -> DepthPlan:
        zones: dict[str, Any] = {"subnet_depth": subnet, "switch": switch, "selector": selector}
        return DepthPlan.two_zone(self.geometry.patch_nums, self.geometry.depth, **zones)

    def weights(self, *plans: DepthPlan) -> int:
        """Bytes of the parameters that generation under these plans, a network each, reads."""
        each = element_bytes(self.study.config.run.precision)
        return each * sum(plan_cost(self.geometry, plan).parameters for plan in plans)

    def training(self, arm: Arm, **changes: Any) -> Training:
        """From the unit's base, by the study's flags but for `changes` of the config."""
        training = self.study.training(self.bench, arm, self.unit)
        config = replace(training.config, **changes)
        shorter = config.budget_images * training.evaluate_every // training.config.budget_images
        return replace(training, config=config, evaluate_every=max(1, shorter))

    def trained(self, arm: Arm, training: Training) -> Point:
        """The point of a training."""
        placed: dict[str, Any] = {"family": "training", "selector": arm.selector}
        placed |= {"schedule": arm.label, "unit": self.unit}
        placed |= {"budget_images": training.config.budget_images}
        columns = self._columns(arm) | placed
        return Point(name=f"{arm.label} u{self.unit}", task=training, columns=columns)

    def supernet(self, arm: Arm, training: Training) -> Iterator[Point]:
        """A training, and the plans that it was for."""
        yield self.trained(arm, training)
        weights = self.weights(self.full())
        yield self.measured(arm, self.full(), training, weights=weights)
        for depth in self.depths:
            plan = self.two_zone(depth, arm.switch, arm.selector or EQUIDISTANT)
            zones = {"subnet_depth": depth, "switch": arm.switch}
            yield self.measured(arm, plan, training, weights=weights, **zones)

    def measured(
        self, arm: Arm, plan: DepthPlan, training: Training | None, *, weights: int, **zones: Any
    ) -> Point:
        """The point of a plan.

        Args:
            training: of its network; None for the base.
            weights: bytes, of all networks that it takes.
            zones: `subnet_depth` and `switch` of a plan that is not the full one.
        """
        columns = self._columns(arm) | {"weight_bytes": weights, "selector": arm.selector} | zones
        columns |= {"family": "switch"} if zones else {}
        name = f"{self.name} u{self.unit} {plan.name}"
        return self.study.plan_point(
            self.bench, name, plan, unit=self.unit, trained=training, **columns
        )

    def instead(self, point: Point, task: RivalMeasurement, label: str, **columns: Any) -> Point:
        """The point of a plan, but done by `task`, and called `label`."""
        name, placed = f"{self.name} u{self.unit} {label}", {**point.columns, "plan": label}
        return replace(point, name=name, task=task, columns=placed | columns)

    def _columns(self, arm: Arm) -> dict[str, Any]:
        """Of no anchor: a rival is held against the study's own."""
        named = {"rival": self.name, "schedule": self.name, "anchor": None, "seed": self.unit}
        return arm.columns | named
