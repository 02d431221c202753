"""A cache budget for late scales: the full network, with fewer keys and values kept.

HACK (arXiv 2504.09261) and ScaleKV compress the cache of late scales, training-free, head by head,
by the attention that a pair gets. The rule here, HACK's without its two kinds of heads (all have
one budget): from the last bridge scale on, once a layer has run at a scale, each of its heads keeps
the pairs that this scale's queries gave the most attention to, as many as the budget, and the
others are gone for good. Budgets are shares of the tokens that a full cache ends with.

The network is the base trained on without subnet steps, the study's control. KV is what is held at
once, a scale's new pairs before the choice included. FLOPs have less attention, and one more
product of queries and keys wherever pairs are chosen. Teacher-forced NLL is not measured: what is
kept hangs on what was drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from studies.cells.cell import Cell, Network
from studies.grid.point import Point
from studies.rivals.costs import Budget, budget_cost
from studies.rivals.rival import Ground, Rival, RivalMeasurement
from studies.supernets import control
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry

if TYPE_CHECKING:
    from studies.cells.measuring import UnderPlan

SHARES = (1 / 2, 1 / 4, 1 / 8)


@dataclass(frozen=True, kw_only=True)
class Budgeted(RivalMeasurement):
    """A network measured with a cache of that budget."""

    budget: Budget

    def identity(self, network: Network) -> dict[str, object]:
        kept = {"tokens": self.budget.tokens, "first": self.budget.first}
        return super().identity(network) | {"cache_budget": kept}

    def flops_share(self, geometry: Geometry) -> float:
        return budget_cost(geometry, self.plan, self.budget)[1] / plan_cost(geometry).flops

    def subject(self, cell: Cell) -> UnderPlan:
        from studies.rivals.budgeted import BudgetedSubject

        return BudgetedSubject(**vars(super().subject(cell)), budget=self.budget)


def points(ground: Ground) -> Iterator[Point]:
    arm, plan = replace(control(ground.switch), label=f"{ground.name} network"), ground.full()
    training = ground.training(arm)
    yield ground.trained(arm, training)
    weights, cached = ground.weights(plan), sum(plan.tokens[:-1])
    for share in SHARES:
        budget = Budget(tokens=max(1, round(share * cached)), first=max(0, ground.switch - 1))
        point = ground.measured(arm, plan, training, weights=weights)
        task = Budgeted(**vars(point.task), budget=budget)
        kept = {"family": "plan", "kv_tokens": budget.tokens}
        yield ground.instead(point, task, f"kv {budget.tokens}", **kept)


CACHE_BUDGET = Rival(
    name="cache-budget",
    rule="the full network, whose heads keep the keys and values most attended to, from the "
    "switch on",
    source="HACK, arXiv 2504.09261, with one budget for all heads",
    points=points,
)
