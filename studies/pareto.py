"""How deep, where to switch, and how to train: quality against KV memory under one budget.

    python -m studies.pareto --budget 100k

From the base network of every unit, with one budget of image passes each, trains the control (no
subnet steps), fixed subnet shares and the progressive schedule; then measures every model, and the
base untrained, at every subnet depth (`--switches all`: after every scale). Gives the frontier of
quality against peak KV memory, the plane where full network and subnets trade, the best plan for
each memory budget as a file, and a verdict on each of the paper's claims that can be tested here.

`--rivals` measures peers' ways beside these, at equal passes, and compares them at equal bytes;
docs/studies.md has their rules.

Points whose switch is not the trained one are shown hollow and decide no verdict. Intervals are
Student's t over units (`--units`): base networks with a training seed, uniforms and test images of
their own. Below five no claim is called reproduced or contradicted.

`--dry-run` says what it costs here; docs/studies.md what it said elsewhere. Expect subnets that
gain and a full network that loses as the share rises.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from analysis.study_file import EQUIDISTANT, ParetoFile, with_selector
from studies.cells.cell import Task
from studies.grid.point import Outcome, Point
from studies.rivals.alone import ALONE
from studies.rivals.cache_budget import CACHE_BUDGET
from studies.rivals.distil import DISTIL
from studies.rivals.early_exit import EARLY_EXIT
from studies.rivals.rival import Ground
from studies.rivals.skip import SKIP
from studies.rivals.two_models import TWO_MODELS
from studies.study import main
from studies.supernets import Arm, SwitchedConfig, SwitchedStudy, control, write_plans
from studies.tracking.logged import Answer
from varant.errors import UserError
from varant.flags import Shares, choices
from varant.model.geometry import Geometry
from varant.model.plan import SELECTORS
from varant.training.config import default_switch
from varant.training.schedule import KINDS, Kind, Schedule, ScheduleFlags
from varant.values import show_number

if TYPE_CHECKING:
    from analysis.claims.planned import Lines
    from reports import ReportPaths
    from studies.grid.bench import Planned

RIVALS = {
    rival.name: rival for rival in (ALONE, SKIP, TWO_MODELS, DISTIL, EARLY_EXIT, CACHE_BUDGET)
}


@dataclass(frozen=True, kw_only=True)
class ParetoConfig(SwitchedConfig):
    schedules: Annotated[tuple[Kind, ...], choices(KINDS)] = ("full", "fixed", "progressive")
    """Training schedules: a list; full is the control."""
    shares: Shares = (0.5, 1.0)
    """Subnet shares of the fixed schedules; C2 and C3 also take 0.1 and 2/3, the progressive
    schedule's mean share: 0.1,0.5,2/3,1."""
    switches: Literal["trained", "all"] = "trained"
    """Switch points to measure each model at: the one it is trained for, or all."""
    selectors: Annotated[tuple[str, ...], choices(SELECTORS)] = (EQUIDISTANT,)
    """Which layers subnets keep: a list; each schedule with subnets is trained for each."""
    kv_budgets: Shares = (0.2, 0.4, 0.6, 0.8)
    """Memory budgets to choose plans for, as shares of the full network's peak KV."""
    rivals: Annotated[tuple[str, ...], choices(tuple(RIVALS))] | None = None
    """Peers' ways to save memory to measure beside the progressive schedule: a list; all begin
    from the same base networks and take as many image passes."""

    def check(self) -> None:
        super().check()
        if self.rivals and "progressive" not in self.schedules:
            raise UserError(
                f"--rivals {','.join(self.rivals)}: are held against the progressive schedule; "
                "add it to --schedules"
            )


class Pareto(SwitchedStudy[ParetoConfig, None]):
    """Trains supernets by several schedules and measures all of their plans."""

    name = "pareto"
    question = (
        "Under one training budget, which schedule and subnet depth give the best "
        "quality for their KV memory? The base network of every unit is trained further by each "
        "schedule, and every resulting network is measured at every subnet depth."
    )
    file = ParetoFile

    def planned(self, bench: Planned) -> Lines:
        from analysis.claims import c3
        from analysis.claims.planned import LATER, LOSSES, TRADE, fewest_lines, schedules_lines

        config, schedules = self.config, set(self.config.schedules)
        shares = config.shares if "fixed" in schedules else ()
        trade = TRADE if len(shares) > 1 else {}
        if "progressive" not in schedules:
            return trade
        compared = any(math.isclose(share, c3.MEAN_SHARE) for share in shares)
        rate = schedules_lines(config.training.lr_schedule) if compared else {}
        geometry, fewest = bench.geometry, min(self.depths(bench.geometry))
        shallow = fewest_lines(fewest) if fewest < max(1, geometry.depth // 4) else {}
        later = self.train_switch(geometry) == default_switch(geometry.patch_nums) + 1
        return {**trade, **rate, **LOSSES, **shallow, **(LATER if later else {})}

    def switches(self, geometry: Geometry) -> Sequence[int]:
        measured = super().switches(geometry)
        return range(len(geometry.patch_nums)) if self.config.switches == "all" else measured

    @property
    def selectors(self) -> tuple[str, ...]:
        return self.config.selectors

    def arms(self, geometry: Geometry, found: None) -> list[Arm]:
        """The control first, then each selector's schedules."""
        config, switch = self.config, self.train_switch(geometry)
        arms = [control(switch)] if "full" in config.schedules else []
        schedules: dict[str, Schedule] = {}
        for kind in config.schedules:
            if kind == "fixed":
                schedules |= {f"fixed {show_number(s)}": Schedule.fixed(s) for s in config.shares}
            elif kind != "full":
                schedules[kind] = ScheduleFlags(kind=kind).make()
        for selector in config.selectors:
            for name, made in schedules.items():
                label = with_selector(name, selector)
                arms.append(Arm(label=label, schedule=made, switch=switch, selector=selector))
        return arms

    def check(self, bench: Planned) -> None:
        super().check(bench)
        for point in self._rival_points(bench, self.judged[0]):
            point.task.check_fits(bench.geometry, self.config.run.device)

    def points(self, bench: Planned, found: None) -> Iterator[Point]:
        """The study's own, then its rivals'."""
        yield from super().points(bench, found)
        for unit in self.judged:
            yield from self._rival_points(bench, unit)

    def _rival_points(self, bench: Planned, unit: int) -> Iterator[Point]:
        switch = self.train_switch(bench.geometry)
        for name in self.config.rivals or ():
            ground = Ground(name=name, study=self, bench=bench, unit=unit, switch=switch)
            yield from RIVALS[name].points(ground)

    def price_lines(self, points: Sequence[Point], seconds: Mapping[Task, float]) -> Iterator[str]:
        """What each rival adds: what it shares with points before it is theirs."""
        counted = {point.task for point in points if "rival" not in point.columns}
        for name in self.config.rivals or ():
            mine = {point.task for point in points if point.columns.get("rival") == name} - counted
            counted |= mine
            yield f"of that rival {name}: about {sum(seconds[task] for task in mine):.0f} CPU-s"

    def facts(self, outcome: Outcome[None]) -> dict[str, Any]:
        from studies.grid.costs import paper_cost

        more = {"kv_budgets": self.config.kv_budgets, "paper_cost": paper_cost()}
        more["rivals"] = [RIVALS[name] for name in self.config.rivals or ()]
        return super().facts(outcome) | more

    def shown(self, arms: Sequence[Arm]) -> list[Arm]:
        """The control, the last arm, and the largest fixed share."""
        fixed = [arm for arm in arms if arm.kind == "fixed"]
        return list(dict.fromkeys([arms[0], arms[-1], *fixed[-1:]]))

    def write_more(self, outcome: Outcome[None]) -> list[Path]:
        """Training curves, and the best plan of each memory budget.

        Folders of models are relative to the study's.
        """
        from analysis.claims.rules import deciding
        from analysis.frame import load_frame
        from analysis.statistics.choices import choose_plans, half_of
        from analysis.statistics.levels import Levels
        from analysis.study_file import FILE, FRAME_FILE

        levels = Levels(load_frame(outcome.folder / FRAME_FILE, training=True, full=False))
        geometry, budgets = outcome.bench.geometry, self.config.kv_budgets
        full_kv = self.cost_of(geometry).kv_bytes_peak
        half = half_of(geometry.depth, self.depths(geometry), self.train_switch(geometry))
        votes = deciding(self.file.load(outcome.folder / FILE), levels.metrics)
        plans = []
        for chosen in choose_plans(levels, budgets, full_kv=full_kv, half=half, deciding=votes):
            point = outcome.where(
                schedule=chosen.schedule,
                unit=chosen.unit,
                subnet_depth=chosen.plan.subnet_depth,
                switch=chosen.plan.switch,
            )[0]
            model = os.path.relpath(outcome.model_folder(point), outcome.folder)
            name = f"plan-kv{100 * chosen.kv_share_limit:g}.json"
            said = asdict(chosen) | {"plan": chosen.plan.label, "model": model}
            plans.append((name, point.plan, said))
        return [*super().write_more(outcome), *write_plans(outcome.folder, plans)]

    def answer(self, outcome: Outcome[None], paths: ReportPaths) -> Answer:
        """Beside the verdicts, what each choice is worth against the progressive schedule.

        As metrics, and as the table of `python -m reports --ablation`; in a folder of its own,
        where that command with another baseline does not write.
        """
        from analysis.errors import FrameError
        from reports.ablation import ablation
        from studies.tracking.outline import relative
        from studies.tracking.spread import named

        said, out = super().answer(outcome, paths), outcome.folder / "ablation"
        shutil.rmtree(out, ignore_errors=True)
        try:
            table = ablation(outcome.folder)
        except FrameError:  # no progressive schedule, or no full network finished
            return said
        if not table.differences:
            return said
        table.write(out)
        metrics = dict(said.metrics)
        for one in table.differences:
            place = f"{one.way.name} {one.plan.label}"
            metrics[f"ablation/{named(one.metric.name, place)}"] = one.damage.estimate
        files = relative(sorted(out.iterdir()), outcome.bench.site.workspace)
        return replace(said, metrics=metrics, artifacts={"": files})


if __name__ == "__main__":
    main(Pareto, ParetoConfig, __doc__)
