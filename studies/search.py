"""Is there a better plan than two zones? Any depth at any scale of a trained supernet.

    python -m studies.search --model runs/my-supernet --kv-limit 0.4 --workers 2

Searches depth plans (one depth a scale) whose peak KV cache stays within a limit, by NSGA-II (or
TPE) seeded with every two-zone plan that fits. The search looks at the teacher-forced NLL of select
images and at KV (or FLOPs); no plan is scored twice, in this run or another. Then the found front
and the two-zone front are measured on test images and fresh samples: the difference of their
hypervolumes, with interval, is the answer. `--selectors ranked,equidistant,nested` compares which
layers to keep at equal depth; `ranked` leaves out, one after another, the layer whose absence at
the late scales costs the least NLL on select images.

Cost on two idle cores with --workers 2: about a minute for 150 plans of the small default. Expect
plans for memory that two zones do not fit well, and little where the supernet was trained.
"""

from __future__ import annotations

import math
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean

import optuna
import tyro

from analysis.searches.plans import front_of
from studies.cells.cell import Cell
from studies.cells.result import FINISHED
from studies.cells.score import ScoreCell
from studies.grid.bench import Bench
from studies.grid.flags import StudyFlags
from studies.grid.point import Outcome, Point, Results
from studies.study import Study
from varant.errors import UserError, exit_codes, require_count
from varant.files import write_json
from varant.flags import parse_list
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import SELECTORS, DepthPlan, default_depths
from varant.randomness import stream
from varant.store.checkpoint import read_config

SAMPLERS = ("nsga2", "tpe")
COSTS = ("kv", "flops")
RANKED = "ranked"
GROUPS = ("two-zone", "found")  # fronts that are compared
BATCH = 8  # plans asked for at once: fixed, so that a search is the same whatever the workers
POPULATION = 24
MOST_REPEATS = 3_000  # proposals in a row that are too large or known before the search gives up
PLANS_FILE = "plans.json"


@dataclass(frozen=True, kw_only=True)
class SearchFlags(StudyFlags):
    """Flags of the study."""

    kv_limit: str = "0.4"
    """Most peak KV cache: a share of the full network's, or bytes an image."""
    trials: int = 150
    """Different plans to score."""
    sampler: str = "nsga2"
    """nsga2 or tpe."""
    cost: str = "kv"
    """What is weighed against quality: kv or flops (the limit is on KV in any case)."""
    switch: int | None = None
    """Switch point of the selector comparison; default: the one that the supernet was trained for,
    or six tenths of the scales."""
    selectors: str = "equidistant"
    """Layers to keep at equal depth: a list of ranked, equidistant, nested, first, last."""
    score_images: int = 500
    """Select images that a plan is scored on."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """A plan with what the search knows of it."""

    plan: DepthPlan
    nll: float  # select images, nats/token
    kv: int  # peak bytes an image
    flops: int

    def cost(self, kind: str) -> int:
        return self.kv if kind == "kv" else self.flops


class Search(Study):
    """Searches plans on select images and measures fronts on test images."""

    name = "search"
    question = (
        "Does a plan that gives every scale its own depth beat two zones, at equal memory? Plans "
        "of a trained supernet are searched on select images and compared on test images."
    )
    flags: SearchFlags

    def __init__(self, flags: SearchFlags, command: str = "") -> None:
        super().__init__(flags, command)
        self.scored: dict[str, Scored] = {}
        self.ranked: dict[int, tuple[int, ...]] = {}

    def quick_flags(self, flags: SearchFlags) -> SearchFlags:
        quick = super().quick_flags(flags)
        if flags.trials == SearchFlags().trials:
            quick = replace(quick, trials=24)
        return replace(quick, score_images=100)

    def check(self, bench: Bench) -> None:
        flags, geometry = self.flags, bench.geometry
        require_count("--trials", flags.trials)
        require_count("--score-images", flags.score_images)
        if flags.model is None and flags.var is None:
            raise UserError("--model: give a supernet's folder; python -m varant.train makes one")
        for flag, value, known in (
            ("--sampler", flags.sampler, SAMPLERS),
            ("--cost", flags.cost, COSTS),
        ):
            if value not in known:
                raise UserError(f"{flag} {value}: use one of {', '.join(known)}")
        for selector in self.selectors:
            if selector not in (*SELECTORS, RANKED):
                known = ", ".join((RANKED, *SELECTORS))
                raise UserError(f"--selectors {selector}: use one of {known}")
        scales = len(geometry.patch_nums)
        if flags.switch is not None and not 0 <= flags.switch < scales:
            raise UserError(
                f"--switch {flags.switch}: the network has {scales} scales; use 0 to {scales - 1}"
            )
        self.kv_limit(geometry)

    @cached_property
    def selectors(self) -> tuple[str, ...]:
        return parse_list("--selectors", self.flags.selectors)

    def _cost(self, geometry: Geometry, plan: DepthPlan | None = None):
        return plan_cost(geometry, plan, guidance=self.flags.cfg != 0, kv_bytes=4)

    def kv_limit(self, geometry: Geometry) -> int:
        """The limit in bytes an image.

        Raises:
            UserError: no number, or less than the smallest plan needs.
        """
        text = self.flags.kv_limit
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise UserError(
                f"--kv-limit {text}: give a share of the full network's KV such as 0.4, or bytes"
            )
        limit = int(value * self._cost(geometry).kv_bytes_peak if value <= 1 else value)
        smallest = DepthPlan.per_scale(
            geometry.patch_nums, geometry.depth, depths=[1] * len(geometry.patch_nums)
        )
        needed = self._cost(geometry, smallest).kv_bytes_peak
        if limit < needed:
            raise UserError(
                f"--kv-limit {text}: {limit:,} bytes an image; the smallest plan needs {needed:,}"
            )
        return limit

    def trained_switch(self, geometry: Geometry) -> int | None:
        """The switch point that the supernet says it was trained for."""
        if self.flags.model is None:
            return None
        note = read_config(self.flags.model).get("note") or {}
        training = (note.get("identity") or {}).get("training") or {}
        switch = training.get("switch")
        if not training.get("depths") or not isinstance(switch, int):
            return None
        return switch if switch < len(geometry.patch_nums) else None

    def switch(self, geometry: Geometry) -> int:
        trained = self.trained_switch(geometry)
        default = round(0.6 * len(geometry.patch_nums)) if trained is None else trained
        return default if self.flags.switch is None else self.flags.switch

    def two_zone_plans(self, geometry: Geometry) -> list[DepthPlan]:
        """Every two-zone plan within the limit, the full network if it is."""
        limit = self.kv_limit(geometry)
        plans = [
            DepthPlan.two_zone(
                geometry.patch_nums, geometry.depth, subnet_depth=depth, switch=switch
            )
            for depth in range(1, geometry.depth)
            for switch in range(len(geometry.patch_nums))
        ]
        plans.append(DepthPlan.full(geometry.patch_nums, geometry.depth))
        return [p for p in plans if self._cost(geometry, p).kv_bytes_peak <= limit]

    # The search.

    def explore(self, bench: Bench, run: Callable[[Sequence[Cell]], Results]) -> None:
        geometry = bench.geometry
        trained = self.trained_switch(geometry)
        if self.flags.switch is not None and trained not in (None, self.flags.switch):
            print(
                f"warning: --switch {self.flags.switch}: the supernet was trained for {trained}",
                file=sys.stderr,
            )
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        sampler = (
            optuna.samplers.NSGAIISampler(population_size=POPULATION, seed=self.flags.seed)
            if self.flags.sampler == "nsga2"
            else optuna.samplers.TPESampler(seed=self.flags.seed, multivariate=True)
        )
        proposals = optuna.create_study(directions=["minimize", "minimize"], sampler=sampler)
        seeds = self.two_zone_plans(geometry)
        for plan in seeds:
            proposals.enqueue_trial({f"scale {k + 1}": d for k, d in enumerate(plan.depths)})
        # Two zones are scored whole, whatever the number of trials: they are the comparison.
        wanted = max(self.flags.trials, len(seeds))
        while len(self.scored) < wanted:
            batch = self._ask(bench, proposals, wanted - len(self.scored))
            if not batch:
                break
            scores = self._score(bench, [plan for _, plan in batch], run)
            for trial, plan in batch:
                found = scores.get(plan.digest)
                if found is None:
                    proposals.tell(trial, state=optuna.trial.TrialState.FAIL)
                    continue
                self.scored[plan.digest] = found
                proposals.tell(trial, self._objectives(found))
        if RANKED in self.selectors:
            self.ranked = self._rank(bench, run)

    def _ask(self, bench: Bench, proposals: optuna.Study, most: int) -> list[tuple]:
        """New plans within the limit; what is known is told at once and costs nothing."""
        geometry, limit = bench.geometry, self.kv_limit(bench.geometry)
        batch: dict[str, tuple] = {}
        repeats = 0
        while len(batch) < min(BATCH, most) and repeats < MOST_REPEATS:
            trial = proposals.ask()
            depths = [
                trial.suggest_int(f"scale {k + 1}", 1, geometry.depth)
                for k in range(len(geometry.patch_nums))
            ]
            plan = DepthPlan.per_scale(geometry.patch_nums, geometry.depth, depths=depths)
            known = self.scored.get(plan.digest)
            if known is not None:
                proposals.tell(trial, self._objectives(known))
                repeats += 1
            elif plan.digest in batch or self._cost(geometry, plan).kv_bytes_peak > limit:
                proposals.tell(trial, state=optuna.trial.TrialState.FAIL)
                repeats += 1
            else:
                batch[plan.digest] = (trial, plan)
        return list(batch.values())

    def _objectives(self, scored: Scored) -> tuple[float, float]:
        return scored.nll, float(scored.cost(self.flags.cost))

    def _score_cell(self, bench: Bench, plan: DepthPlan) -> ScoreCell:
        images = min(self.flags.score_images, bench.dataset.sizes["select"])
        sets = min(20, images)
        return ScoreCell(
            network=bench.networks[0],
            plan=plan,
            select_images=images - images % sets,
            select_sets=sets,
            device=self.flags.device,
        )

    def _score(
        self, bench: Bench, plans: Sequence[DepthPlan], run: Callable[[Sequence[Cell]], Results]
    ) -> dict[str, Scored]:
        """The plans that could be scored, by their digest."""
        cells = {plan.digest: self._score_cell(bench, plan) for plan in plans}
        results = run(list(cells.values()))
        found = {}
        for plan in plans:
            result = results[cells[plan.digest].digest]
            if result.status == FINISHED:
                cost = self._cost(bench.geometry, plan)
                found[plan.digest] = Scored(
                    plan=plan,
                    nll=fmean(result.metrics["select/nll/mean"].values),
                    kv=cost.kv_bytes_peak,
                    flops=cost.flops,
                )
        return found

    def _late_plan(self, geometry: Geometry, layers: Sequence[int]) -> DepthPlan:
        switch, every = self.switch(geometry), tuple(range(geometry.depth))
        late = (tuple(layers),) * (len(geometry.patch_nums) - switch)
        return DepthPlan(geometry.patch_nums, geometry.depth, (every,) * switch + late)

    def _rank(
        self, bench: Bench, run: Callable[[Sequence[Cell]], Results]
    ) -> dict[int, tuple[int, ...]]:
        """Depth to the layers that greedy removal on select images leaves."""
        geometry = bench.geometry
        kept = list(range(geometry.depth))
        ranked = {}
        while len(kept) > 1:
            smaller = {
                layer: self._late_plan(geometry, [k for k in kept if k != layer]) for layer in kept
            }
            scores = self._score(bench, list(smaller.values()), run)
            nll = {
                layer: scores[plan.digest].nll
                for layer, plan in smaller.items()
                if plan.digest in scores
            }
            if not nll:
                break
            kept.remove(min(nll, key=nll.__getitem__))
            ranked[len(kept)] = tuple(kept)
        return ranked

    # What is measured on test images.

    def fronts(self, geometry: Geometry) -> dict[str, list[Scored]]:
        """The two-zone front and the found front, by select NLL and cost."""
        seeds = {plan.digest for plan in self.two_zone_plans(geometry)}
        groups = {
            "two-zone": [s for d, s in self.scored.items() if d in seeds],
            "found": list(self.scored.values()),
        }
        kind = self.flags.cost
        return {
            name: [group[i] for i in front_of([(s.cost(kind), s.nll) for s in group])]
            for name, group in groups.items()
        }

    def points(self, bench: Bench) -> list[Point]:
        geometry = bench.geometry
        full = DepthPlan.full(geometry.patch_nums, geometry.depth)
        points = [self._point(bench, "full", "full", full)]
        if bench.made:
            scored = [one.plan for one in self.scored.values()]
            for group, front in self.fronts(geometry).items():
                points += [self._point(bench, group, s.plan.name, s.plan) for s in front]
        else:  # what is found is not known; these cost about as much
            seeds = self.two_zone_plans(geometry)
            scored = self._examples(geometry, max(self.flags.trials, len(seeds)))
            points += [self._point(bench, "found", plan.name, plan) for plan in seeds]
        points += [self._scored_point(bench, plan) for plan in scored]
        if len(self.selectors) > 1 or self.selectors == (RANKED,):
            points += self._selector_points(bench)
        return points

    def _scored_point(self, bench: Bench, plan: DepthPlan) -> Point:
        """A plan that was scored: in MLflow, where parallel coordinates compare plans."""
        depths = {f"depth_scale_{k + 1:02d}": depth for k, depth in enumerate(plan.depths)}
        columns = {"family": "scored", "cell": plan.name, "base_seed": bench.networks[0].base_seed}
        return Point(
            name=f"scored {plan.name}", cell=self._score_cell(bench, plan), columns=columns | depths
        )

    def _examples(self, geometry: Geometry, count: int) -> list[DepthPlan]:
        """So many plans within the limit, to reckon with: the two-zone ones and random ones."""
        limit, scales = self.kv_limit(geometry), len(geometry.patch_nums)
        plans = {plan.digest: plan for plan in self.two_zone_plans(geometry)}
        rng = stream(self.flags.seed, "example plans")
        for _ in range(20 * count):
            if len(plans) >= count:
                break
            depths = [int(depth) for depth in rng.integers(1, geometry.depth + 1, size=scales)]
            while True:
                plan = DepthPlan.per_scale(geometry.patch_nums, geometry.depth, depths=depths)
                if self._cost(geometry, plan).kv_bytes_peak <= limit:
                    break
                depths[depths.index(max(depths))] -= 1
            plans[plan.digest] = plan
        return list(plans.values())

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        scored = sum(not point.in_frame for point in points)
        seeds = sum(point.columns["family"] == "found" for point in points)
        others = [point.name for point in points if point.columns["family"] == "selector"]
        return [
            f"{scored} plans scored on select images, {seeds} two-zone plans within the limit "
            "first",
            f"then on test images: full, and at most about {seeds} plans of the two fronts",
            *([f"{len(others)} plans by selector: {', '.join(others)}"] if others else []),
        ]

    def _selector_points(self, bench: Bench) -> list[Point]:
        geometry, switch = bench.geometry, self.switch(bench.geometry)
        points = []
        for depth in default_depths(geometry.depth):
            for selector in self.selectors:
                if selector == RANKED:
                    if depth not in self.ranked:
                        continue
                    plan = self._late_plan(geometry, self.ranked[depth])
                else:
                    plan = DepthPlan.two_zone(
                        geometry.patch_nums,
                        geometry.depth,
                        subnet_depth=depth,
                        switch=switch,
                        selector=selector,
                    )
                points.append(
                    self._point(
                        bench,
                        "selector",
                        f"d{depth}@{switch} {selector}",
                        plan,
                        selector=selector,
                        switch=switch,
                        subnet_depth=depth,
                    )
                )
        return points

    def _point(self, bench: Bench, family: str, name: str, plan: DepthPlan, **columns) -> Point:
        if family in GROUPS:  # a plan may be in both
            name = f"{family} {name}"
        return self.plan_point(bench, name, plan, family=family, **columns)

    def sheet(self, outcome: Outcome) -> list[tuple[str, Point]]:
        """Full, best two-zone and best found plan, by select NLL, under the same seeds."""
        shown = [p for p in outcome.points if p.columns["family"] == "full"]
        rows = [("full", shown[0])]
        for group, front in self.fronts(outcome.bench.geometry).items():
            if front:
                best = min(front, key=lambda s: s.nll)
                point = next(
                    p
                    for p in outcome.points
                    if p.columns["family"] == group and p.cell.plan.digest == best.plan.digest
                )
                rows.append((point.name, point))
        return rows

    def facts(self, outcome: Outcome) -> dict:
        geometry = outcome.bench.geometry
        fronts = self.fronts(geometry)
        return {
            "selectors": self.selectors,
            "switch": self.switch(geometry),
            "trained_switch": self.trained_switch(geometry),
            "kv_limit_bytes": self.kv_limit(geometry),
            "kv_full_bytes": self._cost(geometry).kv_bytes_peak,
            "reference_nll": math.log(geometry.vocab_size),
            "reference_fd": 10.0,
            "trials": len(self.scored),
            "sampler": self.flags.sampler,
            "weighed": self.flags.cost,
            "score_images": self.flags.score_images,
            "scored": [
                {"plan": s.plan.name, "nll": s.nll, "kv": s.kv, "flops": s.flops}
                for s in self.scored.values()
            ],
            "fronts": {
                name: [
                    {"plan": s.plan.name, "layers": s.plan.layers, "select_nll": s.nll, "kv": s.kv}
                    for s in front
                ]
                for name, front in fronts.items()
            },
            "ranked": {str(depth): layers for depth, layers in self.ranked.items()},
        }

    def write_more(self, outcome: Outcome) -> list[Path]:
        """The found plans as files; `plan-best.json` has the least select NLL."""
        front = sorted(self.fronts(outcome.bench.geometry)["found"], key=lambda s: s.nll)
        paths, listed = [], []
        for old in outcome.folder.glob("plan-*.json"):
            old.unlink()
        for i, scored in enumerate(front):
            path = outcome.folder / ("plan-best.json" if i == 0 else f"plan-{i}.json")
            scored.plan.save(path)
            paths.append(path)
            listed.append(
                {
                    "file": path.name,
                    "plan": scored.plan.name,
                    "select_nll": scored.nll,
                    "kv_bytes": scored.kv,
                    "model": str(self.flags.model) if self.flags.model else None,
                }
            )
        write_json(outcome.folder / PLANS_FILE, listed)
        return [*paths, outcome.folder / PLANS_FILE]


def main(flags: SearchFlags, command: str = "") -> None:
    """Run the study."""
    Search(flags, command).run()


if __name__ == "__main__":
    with exit_codes():
        chosen = tyro.cli(SearchFlags, description=__doc__)
        main(chosen, "python -m studies.search " + shlex.join(sys.argv[1:]))
