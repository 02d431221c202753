"""Is there a better plan than two zones? Any depth at any scale of a trained supernet.

    python -m studies.search --model runs/my-supernet --kv-limit 0.4

Without --model (or --vae and --var) a supernet is trained first, by the progressive schedule.
Searches depth plans (one depth a scale) whose peak KV cache stays within a limit, by NSGA-II (or
TPE) seeded with every two-zone plan that fits. The search looks at KV (or FLOPs) and at the
teacher-forced NLL of select images or, by `--objective distance`, at the Frechet distance of
samples to select images; no plan is scored twice by one objective, in this run or another. Then
both fronts, the found and the two-zone one, are measured on test images and fresh samples. The
answer is what each found plan gains on the two-zone plan that select images chose for at most its
memory. `--selectors ranked,equidistant,nested` compares which layers to keep at equal depth;
`ranked` leaves out, one after another, the layer whose absence at the late scales costs the least
by that objective.

One supernet, so its intervals speak of that network and no claim is judged. Cost: 150 plans scored
by the NLL of 500 select images each (and 500 samples, for a distance), which `--dry-run` times.
Expect plans for memory that two zones do not fit well, and little where the supernet was trained.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from analysis.search_file import FoundPlans, SearchFile
from analysis.study_file import BASE, EQUIDISTANT
from studies.cells.evaluation import Scoring
from studies.cells.training import Training
from studies.grid.point import Outcome, Point
from studies.study import Run, main
from studies.supernets import Arm, SupernetConfig, SupernetStudy, switch_of, write_plans
from varant.devices import require_memory
from varant.errors import UserError
from varant.flags import AboveZero, Natural, Positive, Times, choices
from varant.model.geometry import Geometry
from varant.model.plan import SELECTORS, DepthPlan, default_depths
from varant.progress import progress_bar
from varant.training.schedule import Schedule

if TYPE_CHECKING:
    from studies.grid.bench import Planned, Prepared
    from studies.searching.plans import PlanSpace

RANKED = "ranked"
SEARCH_SEED = 1_000_000  # of the samples that a search looks at, plus the unit


@dataclass(frozen=True, kw_only=True)
class SearchConfig(SupernetConfig):
    kv_limit: AboveZero = 0.4
    """Most peak KV cache: a share of the full network's, or bytes an image."""
    trials: Times = 150
    """Different plans to score."""
    sampler: Literal["nsga2", "tpe"] = "nsga2"
    """What proposes plans."""
    cost: Literal["kv", "flops"] = "kv"
    """What is weighed against quality (the limit is on KV in any case)."""
    switch: Natural | None = None
    """Switch point of the selector comparison; default: the one that the supernet was trained for,
    or as `varant.train` has it by default."""
    selectors: Annotated[tuple[str, ...], choices((RANKED, *SELECTORS))] = (EQUIDISTANT,)
    """Layers to keep at equal depth: a list."""
    objective: Literal["nll", "distance"] = "nll"
    """What the search minimises: NLL of select images, or the Frechet distance of samples to them,
    which sees how errors propagate and costs a generation."""
    score_images: Positive = 500
    """Select images whose NLL is taken under a plan; all, where there are fewer."""
    score_samples: Positive = 500
    """Samples of a plan that `--objective distance` holds against all select images."""
    default_units = 1

    @classmethod
    def quick_defaults(cls) -> Self:
        return replace(super().quick_defaults(), trials=24, score_images=100, score_samples=100)

    def check(self) -> None:
        super().check()
        for flag, given in {"--units": self.units or 1, "--seeds": self.seeds}.items():
            if given > 1:
                raise UserError(f"{flag} {given}: one supernet is searched; leave it 1")
        if self.objective == "distance" and self.score_samples < 2:
            raise UserError(f"--score-samples {self.score_samples}: a distance needs at least 2")


class Search(SupernetStudy[SearchConfig, FoundPlans]):
    """Searches plans on select images and measures fronts on test images."""

    name = "search"
    question = (
        "Does a plan that gives every scale its own depth beat two zones, at equal memory? Plans "
        "of a trained supernet are searched on select images and compared on test images."
    )
    select = verdicts = False
    file = SearchFile

    def drawn(self, bench: Planned) -> Mapping[str, int]:
        scored = {"--score-samples": self._drawn_samples} if self._drawn_samples else {}
        return {**super().drawn(bench), **scored}

    def check(self, bench: Planned) -> None:
        self.switch(bench.geometry)
        self.space(bench.geometry)
        if self.supernet(bench) is not None:
            super().check(bench)
        samples = self._drawn_samples
        held = 8 * samples * bench.extractors[0].features
        require_memory(held, "cpu", f"--score-samples {samples}", "give fewer")

    @property
    def _drawn_samples(self) -> int:
        """Of each plan that is scored."""
        return self.config.score_samples if self.config.objective == "distance" else 0

    def space(self, geometry: Geometry) -> PlanSpace:
        """The plans within the limit; `UserError` for one below what the smallest needs."""
        from studies.searching.plans import PlanSpace

        value, full = self.config.kv_limit, self.cost_of(geometry).kv_bytes_peak
        limit, cost_of = int(value * full if value <= 1 else value), partial(self.cost_of, geometry)
        space = PlanSpace(geometry=geometry, kv_limit=limit, cost_of=cost_of)
        smallest = space.of([1] * len(geometry.patch_nums))
        if not space.fits(smallest):
            needed = self.cost_of(geometry, smallest).kv_bytes_peak
            given = f"--kv-limit {value:g}: {limit:,} bytes an image"
            raise UserError(f"{given}; the smallest plan needs {needed:,}")
        return space

    # The supernet.

    def arms(self, geometry: Geometry, found: FoundPlans | None) -> list[Arm]:
        switch = switch_of("--switch", self.config.switch, geometry)
        return [Arm(label="supernet", schedule=Schedule.progressive(), switch=switch)]

    def supernet(self, bench: Planned) -> Training | None:
        """Its training; None where it is given."""
        if self.config.start.model is not None or self.config.start.var is not None:
            return None
        return self.training(bench, self.arms(bench.geometry, None)[0], self.units[0])

    def trained_switch(self, geometry: Geometry) -> int | None:
        """The switch point that the supernet was trained for, as far as that is known."""
        start = self.config.start
        if start.model is None:
            return None if start.var else switch_of("--switch", self.config.switch, geometry)
        from varant.store.checkpoint import noted, read_config

        training = noted(read_config(start.model), "identity", "training")
        if not isinstance(training, dict) or not training.get("depths"):
            return None
        switch = training.get("switch")
        return switch if switch in range(len(geometry.patch_nums)) else None

    def switch(self, geometry: Geometry) -> int:
        wanted, trained = self.config.switch, self.trained_switch(geometry)
        return switch_of("--switch", trained if wanted is None else wanted, geometry)

    # The search.

    def explore(self, bench: Prepared, run: Run) -> FoundPlans:
        from studies.searching.plans import Plans, PlanSearch, Scores
        from varant.evaluation.reference import prepare_reference

        geometry, config = bench.geometry, self.config
        trained = self.trained_switch(geometry)
        if config.switch is not None and trained not in (None, config.switch):
            warning = f"warning: --switch {config.switch}: the supernet was trained for {trained}"
            print(warning, file=sys.stderr)
        supernet, errors = self.supernet(bench), list[str]()
        if config.objective == "distance":  # here, where it shows; cells would make it unseen
            start, extractor = bench.start, bench.specs[0].load(config.run.device)
            folder, tokenizer = start.tokens_folder, start.tokenizer
            prepare_reference(folder, tokenizer, extractor, progress_bar, split="select")

        def score(plans: Plans) -> list[Scores | None]:
            tasks = [self._scoring(bench, plan) for plan in plans]
            results = run([*([supernet] if supernet else []), *tasks])
            errors.extend(result.error for result in results.values() if result.error)
            return [task.scores(results[task].values) for task in tasks]

        search = PlanSearch(
            space=self.space(geometry),
            score=score,
            weighed=config.cost,
            sampler=config.sampler,
            seed=config.seed,
        )
        scored, late = search.run(config.trials), partial(self._late_plan, geometry)
        if not scored:
            raise UserError(f"studies.search: no plan could be scored: {errors[0]}")
        ranked = search.rank(late) if RANKED in config.selectors else {}
        fronts = search.fronts(scored)
        return FoundPlans(scored=tuple(scored.values()), fronts=fronts, ranked=ranked)

    def _scoring(self, bench: Planned, plan: DepthPlan) -> Scoring:
        """Drawn with uniforms of the search's own: those of the unit are for the test."""
        config, unit = self.config, bench.units[0]
        looked_at = {
            "select_images": min(config.score_images, bench.dataset.sizes["select"]),
            "samples": self._drawn_samples,
            "seed": SEARCH_SEED + unit,
        }
        evaluation = bench.evaluation.model_copy(update={"nll_images": 0, **looked_at})
        trained = self.supernet(bench)
        return Scoring(plan=plan, unit=unit, trained=trained, evaluation=evaluation)

    def _late_plan(self, geometry: Geometry, layers: Sequence[int]) -> DepthPlan:
        """All layers up to the switch point, these after it."""
        switch, every = self.switch(geometry), tuple(range(geometry.depth))
        late = (tuple(layers),) * (len(geometry.patch_nums) - switch)
        return DepthPlan(geometry.patch_nums, geometry.depth, (every,) * switch + late)

    # What is measured on test images.

    def points(self, bench: Planned, found: FoundPlans | None) -> Iterator[Point]:
        geometry, config, space = bench.geometry, self.config, self.space(bench.geometry)
        supernet, full = self.supernet(bench), DepthPlan.full(geometry.patch_nums, geometry.depth)
        measured = partial(self.plan_point, bench, trained=supernet)
        if supernet is not None:
            columns = {"family": "training", "unit": supernet.unit}
            trained = self.arms(geometry, None)[0].columns | {"seed": supernet.config.seed}
            yield Point(name="supernet", task=supernet, columns=columns | trained)
            began: dict[str, Any] = {"schedule": BASE, "kind": BASE}
            yield self.plan_point(bench, f"{BASE} full", full, unit=supernet.unit, **began)
        yield measured("full", full)
        if found is not None:
            scored = space.again(found.scored)
            fronts = {group: space.again(front) for group, front in found.fronts.items()}
        else:  # what is found is not known; these cost about as much
            seeds = space.two_zone()
            scored = space.examples(config.trials, seed=config.seed)
            fronts = {"found": seeds}
        for group, front in fronts.items():
            for plan in front:  # a plan may be on both
                yield measured(f"{group} {plan.name}", plan, family=group)
        for plan in scored:  # in MLflow, where parallel coordinates compare plans
            depths = {f"depth_scale_{k + 1:02d}": depth for k, depth in enumerate(plan.depths)}
            task = self._scoring(bench, plan)
            columns = {"family": "scored", "plan": plan.name, "unit": task.unit}
            yield Point(name=f"scored {plan.name}", task=task, columns=columns | depths)
        if len(config.selectors) > 1 or config.selectors == (RANKED,):
            yield from self._selector_points(bench, found)

    def _selector_points(self, bench: Planned, found: FoundPlans | None) -> Iterator[Point]:
        geometry, switch = bench.geometry, self.switch(bench.geometry)
        for depth, selector in product(default_depths(geometry.depth), self.config.selectors):
            name, kept = f"d{depth}@{switch}", {"subnet_depth": depth, "switch": switch}
            if selector != RANKED:
                sides, full = geometry.patch_nums, geometry.depth
                plan = DepthPlan.two_zone(sides, full, **kept, selector=selector)
            elif found is not None and depth in found.ranked:
                plan = self._late_plan(geometry, found.ranked[depth])
            else:
                continue
            placed: dict[str, Any] = {"plan": name, "selector": selector, **kept}
            named, trained = f"{name} {selector}", self.supernet(bench)
            yield self.plan_point(bench, named, plan, trained=trained, family="selector", **placed)

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        families = [point.columns["family"] for point in points]
        seeds, scored = families.count("found"), families.count("scored")
        others = [point.name for point in points if point.columns["family"] == "selector"]
        drawn = f" and {self._drawn_samples:,} samples each" if self._drawn_samples else ""
        return [
            *(["a supernet is trained first"] if "training" in families else []),
            f"{scored} plans scored on select images{drawn}, {seeds} two-zone plans within the "
            "limit first",
            f"then on test images: full networks, and at most about {seeds} plans of two fronts",
            *([f"{len(others)} plans by selector: {', '.join(others)}"] if others else []),
        ]

    def run_name(self, bench: Planned) -> str:
        return super(SupernetStudy, self).run_name(bench)

    def sheet(self, outcome: Outcome[FoundPlans]) -> list[tuple[str, Point]]:
        """Full (of the base too), best two-zone and best found plan, by select images, under the
        same seeds."""
        shown = outcome.where(family="full")
        for group, best in outcome.found.best.items():
            points = outcome.where(family=group)
            shown += [point for point in points if point.plan.layers == best.layers]
        return [(point.name, point) for point in shown]

    def facts(self, outcome: Outcome[FoundPlans]) -> dict[str, Any]:
        """The fields of `SearchFile`; not those of studies that compare trainings."""
        geometry, config = outcome.bench.geometry, self.config
        supernet = self.supernet(outcome.bench)
        return {
            **vars(outcome.found),
            **{name: getattr(config, name) for name in ("selectors", "sampler", "objective")},
            "switch": self.switch(geometry),
            "trained_switch": self.trained_switch(geometry),
            "image_passes": supernet and supernet.config.image_passes,
            "kv_limit_bytes": self.space(geometry).kv_limit,
            "kv_full_bytes": self.cost_of(geometry).kv_bytes_peak,
            "weighed": config.cost,
            "score_images": config.score_images,
            "score_samples": self._drawn_samples,
        }

    def write_more(self, outcome: Outcome[FoundPlans]) -> list[Path]:
        """The found plans as files; `plan-best.json` is best on select images."""
        geometry, measured = outcome.bench.geometry, outcome.where(family="full")[-1]
        plans, made = [], outcome.model_folder(measured)
        model = str(self.config.start.model or os.path.relpath(made, outcome.folder))
        best = sorted(outcome.found.fronts["found"], key=lambda one: one.minimised)
        for i, (one, plan) in enumerate(zip(best, self.space(geometry).again(best), strict=True)):
            said = one.model_dump(include={"plan", "select_nll", "select_distance"})
            said |= {"kv_bytes": one.kv, "model": model}
            plans.append((f"plan-{i}.json" if i else "plan-best.json", plan, said))
        return write_plans(outcome.folder, plans)


if __name__ == "__main__":
    main(Search, SearchConfig, __doc__)
