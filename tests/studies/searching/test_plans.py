"""The search over plans: ranking and fronts on known numbers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from study_commands import Command

from analysis.search_file import ScoredPlan
from studies.search import Search, SearchConfig
from studies.searching.plans import PlanSearch, front_of
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan


@pytest.mark.parametrize("objective", ["nll", "distance"])
def test_ranking_leaves_out_the_layer_that_costs_least(objective):
    """Planted: each layer has a price; 0 and 3 replace each other, so both are never left out."""
    prices = (0.1, 0.5, 0.3, 0.2)
    geometry = Geometry(
        patch_nums=(1, 2, 3, 4, 6),
        depth=4,
        width=32,
        heads=2,
        vocab_size=128,
        code_channels=8,
        num_classes=10,
    )

    def price(plan: DepthPlan) -> float:
        assert all(layers == (0, 1, 2, 3) for layers in plan.layers[:3])
        assert plan.layers[3] == plan.layers[4]
        gone = set(range(4)) - set(plan.layers[4])
        return sum(prices[layer] for layer in gone) + 9.0 * ({0, 3} <= gone)

    def plan_of(layers: Sequence[int]) -> DepthPlan:
        return study._late_plan(geometry, layers)

    study = Command(study=Search, config=SearchConfig).of(switch=3)
    search = PlanSearch(
        space=study.space(geometry),
        score=lambda plans: [
            (price(plan), None) if objective == "nll" else (0.0, price(plan)) for plan in plans
        ],
        weighed="kv",
        sampler="nsga2",
        seed=0,
    )
    assert search.rank(plan_of) == {3: (1, 2, 3), 2: (1, 3), 1: (3,)}


def test_front_of_known_points():
    costs = [(3, 1.0), (1, 3.0), (2, 2.0), (2, 2.0), (2, 2.5), (1, 4.0)]
    plans = [
        ScoredPlan(plan=str(i), layers=((0,),), select_nll=nll, kv=kv, flops=0)
        for i, (kv, nll) in enumerate(costs)
    ]
    assert [one.plan for one in front_of(plans, "kv")] == ["1", "2", "0"]
    by_distance = [
        one.model_copy(update={"select_nll": 0.0, "select_distance": one.select_nll})
        for one in plans
    ]
    assert [one.plan for one in front_of(by_distance, "kv")] == ["1", "2", "0"]
    assert front_of([], "kv") == ()
