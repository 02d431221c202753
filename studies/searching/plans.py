"""The adaptive search of `studies.search`: plans of any depth at any scale within a memory limit.

NSGA-II (or TPE), begun from every two-zone plan that fits; no plan is scored twice.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import optuna

from analysis.search_file import ScoredPlan
from analysis.statistics.fronts import non_dominated
from varant.model.cost import PlanCost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.randomness import stream

BATCH = 8  # plans asked for at once: fixed, so that a search is the same whatever the workers
POPULATION = 24
MOST_REPEATS = 3_000  # proposals in a row that are too large or known before the search gives up

Plans = Sequence[DepthPlan]
Scores = tuple[float, float | None]  # select NLL, and the distance where that is the objective
Score = Callable[[Plans], Sequence[Scores | None]]  # None where it failed


@dataclass(frozen=True, kw_only=True)
class PlanSpace:
    """The plans of a network whose peak cache stays within a limit.

    Attributes:
        kv_limit: peak bytes an image.
        cost_of: what a plan costs, an image.
    """

    geometry: Geometry
    kv_limit: int
    cost_of: Callable[[DepthPlan], PlanCost]

    def of(self, depths: Sequence[int]) -> DepthPlan:
        return DepthPlan.per_scale(self.geometry.patch_nums, self.geometry.depth, depths=depths)

    def again(self, scored: Sequence[ScoredPlan]) -> list[DepthPlan]:
        sides, depth = self.geometry.patch_nums, self.geometry.depth
        return [DepthPlan(sides, depth, one.layers) for one in scored]

    def fits(self, plan: DepthPlan) -> bool:
        return self.cost_of(plan).kv_bytes_peak <= self.kv_limit

    def two_zone(self) -> list[DepthPlan]:
        """Every two-zone plan within the limit, the full network if it is."""
        sides, depth = self.geometry.patch_nums, self.geometry.depth
        plans = [
            DepthPlan.two_zone(sides, depth, subnet_depth=subnet, switch=switch)
            for subnet in range(1, depth)
            for switch in range(len(sides))
        ]
        return [plan for plan in [*plans, DepthPlan.full(sides, depth)] if self.fits(plan)]

    def examples(self, count: int, *, seed: int) -> list[DepthPlan]:
        """At least so many plans, to reckon with: the two-zone ones and random ones."""
        plans, rng = self.two_zone(), stream(seed, "example plans")
        while len(plans) < count:
            scales = len(self.geometry.patch_nums)
            depths = rng.integers(1, self.geometry.depth + 1, size=scales).tolist()
            while not self.fits(plan := self.of(depths)):
                depths[depths.index(max(depths))] -= 1
            plans.append(plan)
        return plans


def front_of(plans: Collection[ScoredPlan], weighed: str) -> tuple[ScoredPlan, ...]:
    """Plans that no other is better than, by ascending cost; of equals the first."""
    points = np.array([(getattr(one, weighed), one.minimised) for one in plans], dtype=float)
    front = compress(plans, non_dominated(points.reshape(-1, 2), ties=False))
    return tuple(sorted(front, key=lambda one: (getattr(one, weighed), one.minimised)))


@dataclass(frozen=True, kw_only=True)
class PlanSearch:
    """Proposes plans and has them scored.

    Attributes:
        weighed: what quality is weighed against, kv or flops: a field of `ScoredPlan`.
    """

    space: PlanSpace
    score: Score
    weighed: str
    sampler: str
    seed: int

    def run(self, trials: int) -> dict[str, ScoredPlan]:
        """So many plans by digest; all two-zone ones, however many: they are the comparison."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = (
            optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=self.seed)
            if self.sampler == "nsga2"
            else optuna.samplers.TPESampler(seed=self.seed, multivariate=True)
        )
        proposals = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        seeds = self.space.two_zone()
        for plan in seeds:
            proposals.enqueue_trial({f"scale {k + 1}": d for k, d in enumerate(plan.depths)})
        scored: dict[str, ScoredPlan] = {}
        wanted = max(trials, len(seeds))
        while len(scored) < wanted:
            batch = self._ask(proposals, scored, min(BATCH, wanted - len(scored)))
            if not batch:
                break
            scored |= self.scores_of([plan for _, plan in batch])
            for trial, plan in batch:
                self._tell(proposals, trial, scored.get(plan.digest))
        return scored

    def _ask(
        self, proposals: optuna.Study, scored: Mapping[str, ScoredPlan], most: int
    ) -> list[tuple[optuna.Trial, DepthPlan]]:
        """New plans within the limit; what is known is told at once and costs nothing."""
        geometry = self.space.geometry
        batch: dict[str, tuple[optuna.Trial, DepthPlan]] = {}
        repeats = 0
        while len(batch) < most and repeats < MOST_REPEATS:
            trial = proposals.ask()
            scales = range(1, len(geometry.patch_nums) + 1)
            depths = [trial.suggest_int(f"scale {k}", 1, geometry.depth) for k in scales]
            plan = self.space.of(depths)
            known = scored.get(plan.digest)
            if known is None and plan.digest not in batch and self.space.fits(plan):
                batch[plan.digest] = (trial, plan)
            else:
                repeats += 1
                self._tell(proposals, trial, known)
        return list(batch.values())

    def _tell(self, proposals: optuna.Study, trial: optuna.Trial, found: ScoredPlan | None) -> None:
        if found is None:
            proposals.tell(trial, state=optuna.trial.TrialState.FAIL)
        else:
            proposals.tell(trial, (found.minimised, float(getattr(found, self.weighed))))

    def scores_of(self, plans: Plans) -> dict[str, ScoredPlan]:
        """The plans that could be scored, by their digest."""
        found = {}
        for plan, scores in zip(plans, self.score(plans), strict=True):
            if scores is not None:
                nll, distance = scores
                cost = self.space.cost_of(plan)
                found[plan.digest] = ScoredPlan(
                    plan=plan.name,
                    layers=plan.layers,
                    select_nll=nll,
                    select_distance=distance,
                    kv=cost.kv_bytes_peak,
                    flops=cost.flops,
                )
        return found

    def fronts(self, scored: Mapping[str, ScoredPlan]) -> dict[str, tuple[ScoredPlan, ...]]:
        """The two-zone front and the found front of what `run` gave, by objective and cost."""
        seeds = {plan.digest for plan in self.space.two_zone()}
        two_zone = [one for digest, one in scored.items() if digest in seeds]
        groups = {"two-zone": two_zone, "found": scored.values()}
        return {name: front_of(plans, self.weighed) for name, plans in groups.items()}

    def rank(self, plan_of: Callable[[Sequence[int]], DepthPlan]) -> dict[int, tuple[int, ...]]:
        """Depth to the layers that greedy removal on select images leaves.

        Args:
            plan_of: the plan that keeps these layers.
        """
        kept = list(range(self.space.geometry.depth))
        ranked: dict[int, tuple[int, ...]] = {}
        while len(kept) > 1:
            smaller = {layer: plan_of([k for k in kept if k != layer]) for layer in kept}
            found = self.scores_of(list(smaller.values()))
            scored = [layer for layer, plan in smaller.items() if plan.digest in found]
            if not scored:
                break
            kept.remove(min(scored, key=lambda layer: found[smaller[layer].digest].minimised))
            ranked[len(kept)] = tuple(kept)
        return ranked
