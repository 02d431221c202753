"""How deep, where to switch, and how to train: quality against KV memory under one budget.

    python -m studies.pareto --budget 100k --workers 2

From one base network, with one budget of image passes each, trains the control (no subnet steps),
fixed subnet shares and the progressive schedule; then measures every model at every switch point
and subnet depth. Gives the frontier of quality against peak KV memory, the plane where full
network and subnets trade, the best plan for each memory budget as a file, and a verdict on each of
the paper's claims that can be tested here.

Points whose switch is not the trained one are shown hollow and decide no verdict. With one seed
(--seeds 0) training variance is not measured and no claim is called reproduced; from five seeds
(--seeds 0,1,2,3,4) intervals are Student's t over seeds.

Cost on two idle cores with --workers 2 and the base in the workspace: about 15 minutes a seed.
Expect subnets that gain and a full network that loses as the share rises.
"""

from __future__ import annotations

import math
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import pandas as pd
import tyro

from analysis.frame import load_frame
from analysis.frontier import choose_plans
from studies.evaluation_cell import Network
from studies.folder import FRAME_FILE
from studies.networks import Bench
from studies.study import Outcome, Point, Study, StudyFlags
from studies.training_cell import TrainingCell
from varant.cost import plan_cost
from varant.errors import UserError, exit_codes, require_count
from varant.files import replacing, write_json
from varant.flags import parse_budget, parse_depths, parse_list
from varant.geometry import Geometry
from varant.plan import SELECTORS, DepthPlan, default_depths
from varant.preparation import Workspace
from varant.schedule import SCHEDULES, Schedule
from varant.train_flags import TrainFlags, training_config
from varant.training import RATE_SCHEDULES

CURVES_FILE, PLANS_FILE = "curves.parquet", "plans.json"
PAPER_PLANS = ((30, 10), (16, 6), (8, 6), (4, 6), (2, 6))  # (depth, switch) of VAR-d30
QUICK_BUDGET = "6400"


@dataclass(frozen=True, kw_only=True)
class ParetoFlags(StudyFlags):
    """Flags of the study."""

    budget: str = "100k"
    """Image passes of each model, such as 100k, 1.5M or 2e5."""
    schedules: str = "full,fixed,progressive"
    """Training schedules: a list of full (the control), fixed, progressive, reversed, sandwich."""
    shares: str = "0.1,0.5,2/3,1"
    """Subnet shares of the fixed schedules; 2/3 is the progressive schedule's mean share."""
    seeds: str = "0"
    """Training seeds, such as 0,1,2,3,4."""
    train_switch: int | None = None
    """Switch point that models are trained for; default: six tenths of the scales."""
    depths: str | None = None
    """Subnet depths, such as 2,4,6; default: a quarter, half and three quarters of the layers."""
    selectors: str = "equidistant"
    """Which layers subnets keep: a list; each schedule with subnets is trained for each."""
    lr: float | None = None
    """Peak learning rate; default: 1e-3, or 1e-6 (the paper's) from official files."""
    lr_schedule: str = "cosine"
    """cosine or constant; a cosine starves the last phase of a schedule."""
    batch: int = 64
    """Images of an optimiser step."""
    accumulate: int = 1
    """Parts that the images of a step are trained in, one after another, to save memory."""
    precision: str = "float32"
    """float32, or on CUDA autocast to bfloat16 or float16, in training."""
    activation_checkpointing: bool = False
    """Keep only layer inputs for the backward pass: less memory, a third more time."""
    reference_kv: float = 1.1
    """Reference point of the hypervolume: peak KV as a share of the full network's."""
    reference_nll: float | None = None
    """Its NLL in nats/token; default: that of a uniform guess, the log of the vocabulary."""
    reference_fd: float = 10.0
    """Its Frechet distance."""
    kv_budgets: str = "0.2,0.4,0.6,0.8"
    """Memory budgets to choose plans for, as shares of the full network's peak KV."""


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to train: a schedule, and for which layers.

    Attributes:
        label: as people say it; one colour in the figures.
        share: of the control and of fixed schedules.
        selector: of the subnets that it trains; None for the control, which trains none.
    """

    label: str
    kind: str
    share: float | None
    selector: str | None


def share_label(text: str) -> str:
    """A share as its flag had it, without needless digits: `2/3`, `0.1`, `1`."""
    return text if "/" in text else f"{float(text):g}"


def arms_of(flags: ParetoFlags) -> list[Arm]:
    """The ways to train that the flags ask for, the control first.

    Raises:
        UserError: naming the flag, its value and what would be right.
    """
    kinds = parse_list("--schedules", flags.schedules)
    for kind in kinds:
        if kind not in SCHEDULES:
            raise UserError(f"--schedules {kind}: use {', '.join(SCHEDULES)}")
    selectors = parse_list("--selectors", flags.selectors)
    for selector in selectors:
        if selector not in SELECTORS:
            raise UserError(f"--selectors {selector}: use one of {', '.join(SELECTORS)}")
    arms = [Arm(label="control", kind="full", share=0.0, selector=None)] if "full" in kinds else []
    for selector in selectors:
        suffix = "" if selector == "equidistant" else f" ({selector})"
        for kind in kinds:
            if kind == "fixed":
                for text in parse_list("--shares", flags.shares):
                    label = f"fixed {_share(text) and share_label(text)}{suffix}"
                    arms.append(Arm(label=label, kind=kind, share=_share(text), selector=selector))
            elif kind != "full":
                arms.append(Arm(label=kind + suffix, kind=kind, share=None, selector=selector))
    return arms


def _share(text: str) -> float:
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        share = math.nan
    if not 0 < share <= 1:
        raise UserError(
            f"--shares {text}: must be above 0, up to 1 (the control has 0), such as 0.5 or 2/3"
        )
    return share


class Pareto(Study):
    """Trains supernets by several schedules and measures all of their plans."""

    name = "pareto"
    question = (
        "Under one training budget, which schedule, switch point and subnet depth give the best "
        "quality for their KV memory? One base network is trained further by each schedule, and "
        "every resulting network is measured at every switch point and subnet depth."
    )
    flags: ParetoFlags
    select = True

    def quick_flags(self, flags: ParetoFlags) -> ParetoFlags:
        """Tiny, but for what the command line gives."""
        quick, default = super().quick_flags(flags), ParetoFlags()
        if flags.budget == default.budget:
            quick = replace(quick, budget=QUICK_BUDGET)
        if flags.shares == default.shares:
            quick = replace(quick, shares="0.5,1")
        return quick

    def train_flags(self) -> TrainFlags:
        flags = self.flags
        return replace(
            super().train_flags(),
            budget=flags.budget,
            switch=flags.train_switch,
            depths=flags.depths,
            lr=flags.lr,
            lr_schedule=flags.lr_schedule,
            batch=flags.batch,
            accumulate=flags.accumulate,
            precision=flags.precision,
            activation_checkpointing=flags.activation_checkpointing,
        )

    @cached_property
    def arms(self) -> list[Arm]:
        return arms_of(self.flags)

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        seeds = []
        for text in parse_list("--seeds", self.flags.seeds):
            if not text.isdecimal():
                raise UserError(f"--seeds {text}: not a whole number; give seeds such as 0,1,2")
            seeds.append(int(text))
        if len(set(seeds)) < len(seeds):
            raise UserError(f"--seeds {self.flags.seeds}: a seed is given twice")
        return tuple(seeds)

    @cached_property
    def kv_budgets(self) -> tuple[float, ...]:
        budgets = []
        for text in parse_list("--kv-budgets", self.flags.kv_budgets):
            try:
                budgets.append(float(text))
            except ValueError:
                budgets.append(math.nan)
            if not 0 < budgets[-1] <= 1:
                raise UserError(
                    f"--kv-budgets {text}: must be a share of the full network's KV, from 0 to 1"
                )
        return tuple(sorted(budgets))

    def depths(self, geometry: Geometry) -> tuple[int, ...]:
        if self.flags.depths is None:
            return default_depths(geometry.depth)
        depths = parse_depths("--depths", self.flags.depths, depth=geometry.depth)
        if geometry.depth in depths:
            raise UserError(
                f"--depths {geometry.depth}: subnets of this network have 1 to "
                f"{geometry.depth - 1} of its {geometry.depth} layers"
            )
        return depths

    def train_switch(self, geometry: Geometry) -> int:
        scales = len(geometry.patch_nums)
        switch = self.flags.train_switch
        if switch is None:
            return round(0.6 * scales)
        if not 0 <= switch < scales:
            raise UserError(
                f"--train-switch {switch}: the network has {scales} scales; use 0 to {scales - 1}"
            )
        return switch

    def check(self, bench: Bench) -> None:
        flags = self.flags
        parse_budget("--budget", flags.budget)
        require_count("--batch", flags.batch)
        if flags.lr_schedule not in RATE_SCHEDULES:
            raise UserError(
                f"--lr-schedule {flags.lr_schedule}: use one of {', '.join(RATE_SCHEDULES)}"
            )
        for flag, value in (
            ("--reference-kv", flags.reference_kv),
            ("--reference-fd", flags.reference_fd),
            ("--reference-nll", flags.reference_nll),
        ):
            if value is not None and not 0 < value < math.inf:
                raise UserError(f"{flag} {value}: must be a positive number")
        if not self.kv_budgets or not self.arms:
            raise UserError(f"--schedules {flags.schedules}: leaves no model to train")
        for arm in self.arms:
            config = self.training(bench, arm, self.seeds[0])
            config.check_fits(bench.geometry, device=flags.device.split(":")[0], ranks=1)

    def training(self, bench: Bench, arm: Arm, seed: int):
        """How a model of this arm is trained."""
        flags = replace(
            self.train_flags(), schedule=arm.kind, seed=seed,
            selector=arm.selector or "equidistant",
        )  # fmt: skip
        if arm.kind == "fixed":
            flags = replace(flags, share=arm.share)
        self.train_switch(bench.geometry)
        return training_config(flags, bench.geometry, bench.learning_rate)

    def training_cell(self, bench: Bench, arm: Arm, seed: int) -> TrainingCell:
        base, config = bench.networks[0], self.training(bench, arm, seed)
        return TrainingCell(
            start_folder=base.model_folder,
            start_sha256=base.model,
            tokenizer_sha256=base.tokenizer_sha256,
            tokens_folder=base.tokens_folder,
            tokens_digest=base.tokens_digest,
            training=config,
            evaluate_images=min(500, bench.dataset.sizes["select"]),
            evaluate_every=max(1, config.budget_images // 10),
            device=self.flags.device,
        )

    def points(self, bench: Bench) -> list[Point]:
        """Seed by seed the trainings, and each model's plans."""
        geometry = bench.geometry
        workspace = Workspace(folder=self.flags.workspace.resolve())
        budget = parse_budget("--budget", self.flags.budget)
        points = []
        for seed in self.seeds:
            for arm in self.arms:
                cell = self.training_cell(bench, arm, seed)
                trained = {
                    "schedule": arm.label,
                    "share": arm.share,
                    "seed": seed,
                    "train_switch": self.train_switch(geometry),
                }
                columns = trained | {
                    "base_seed": bench.networks[0].base_seed,
                    "family": "training",
                    "selector": arm.selector,
                    "budget_images": budget,
                }
                name = f"{arm.label} s{seed}"
                points.append(Point(name=name, cell=cell, columns=columns))
                network = replace(
                    bench.networks[0],
                    model_folder=workspace.cell(cell.digest),
                    model=f"cell {cell.digest}",
                    trained_by=cell.digest,
                )
                points += self._plan_points(bench, arm, name, network, trained)
        return points

    def _plan_points(
        self, bench: Bench, arm: Arm, name: str, network: Network, trained: dict
    ) -> list[Point]:
        geometry = bench.geometry
        full = DepthPlan.full(geometry.patch_nums, geometry.depth)
        points = [
            self.plan_point(
                bench, f"{name} full", full, network=network, cell="full", **trained,
                selector=arm.selector or "equidistant",
            )
        ]  # fmt: skip
        selectors = (
            [arm.selector] if arm.selector else parse_list("--selectors", self.flags.selectors)
        )
        for selector in selectors:
            suffix = "" if selector == "equidistant" else f" ({selector})"
            for switch in range(len(geometry.patch_nums)):
                for depth in self.depths(geometry):
                    plan = DepthPlan.two_zone(
                        geometry.patch_nums, geometry.depth, subnet_depth=depth, switch=switch,
                        selector=selector,
                    )  # fmt: skip
                    points.append(
                        self.plan_point(
                            bench, f"{name} {plan.name}{suffix}", plan, network=network,
                            family="switch", cell=f"{plan.name}{suffix}", switch=switch,
                            subnet_depth=depth, selector=selector, **trained,
                        )
                    )  # fmt: skip
        return points

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        trainings = [point for point in points if not point.in_frame]
        plans = list(dict.fromkeys(str(p.columns["cell"]) for p in points if p.in_frame))
        return [
            f"{len(trainings)} models of {trainings[0].cell.images:,} image passes: "
            + ", ".join(point.name for point in trainings),
            f"{len(plans)} plans each: {', '.join(plans)}",
        ]

    def run_name(self, bench: Bench) -> str:
        return f"{super().run_name(bench)}, {self.flags.budget} images, seeds {self.flags.seeds}"

    def facts(self, outcome: Outcome) -> dict:
        bench, geometry = outcome.bench, outcome.bench.geometry
        configs = {arm.label: self.training(bench, arm, self.seeds[0]) for arm in self.arms}
        first = next(iter(configs.values()))
        nll = self.flags.reference_nll or math.log(geometry.vocab_size)
        return {
            "train_switch": self.train_switch(geometry),
            "depths": self.depths(geometry),
            "selectors": parse_list("--selectors", self.flags.selectors),
            "budget_images": first.budget_images,
            "batch": first.batch,
            "learning_rate": first.learning_rate,
            "lr_schedule": first.rate_schedule,
            "schedules": [
                _schedule_facts(arm, configs[arm.label].schedule) for arm in self.arms
            ],
            "seeds": self.seeds,
            "models": [self._model_facts(outcome, p) for p in outcome.points if not p.in_frame],
            "reference_point": {
                "kv_share": self.flags.reference_kv, "nll/mean": nll, "fd": self.flags.reference_fd,
            },
            "kv_budgets": self.kv_budgets,
            "kv_full_bytes": self._full_kv(geometry),
            "paper_cost": paper_cost(),
        }  # fmt: skip

    def _full_kv(self, geometry: Geometry) -> int:
        """Peak cache of the full network in bytes an image, as cells measure it."""
        return plan_cost(geometry, guidance=self.flags.cfg != 0, kv_bytes=4).kv_bytes_peak

    def _model_facts(self, outcome: Outcome, point: Point) -> dict:
        result = outcome.result(point)
        return {
            "schedule": point.columns["schedule"],
            "seed": point.columns["seed"],
            "status": result.status,
            "error": result.error,
            "digest": point.cell.digest,
            "folder": str(outcome.workspace.cell(point.cell.digest)),
            "full_passes": point.cell.full_passes(outcome.bench.geometry),
        } | dict(result.facts)

    def sheet(self, outcome: Outcome) -> list[tuple[str, Point]]:
        """Full network and shallowest trained subnet of control and progressive, first seed."""
        geometry = outcome.bench.geometry
        switch, depth = self.train_switch(geometry), self.depths(geometry)[0]
        wanted = ("full", f"d{depth}@{switch}")
        arms = [arm.label for arm in self.arms]
        shown = [arms[0], *arms[-1:], *[a for a in arms if a.startswith("fixed")][-1:]]
        return [
            (f"{label} {plan}", point)
            for label in dict.fromkeys(shown)
            for plan in wanted
            for point in outcome.points
            if point.in_frame
            and point.columns["schedule"] == label
            and point.columns["cell"] == plan
            and point.columns["seed"] == self.seeds[0]
        ]

    def write_more(self, outcome: Outcome) -> list[Path]:
        """Training curves, and the best plan of each memory budget."""
        rows = [
            {"schedule": point.columns["schedule"], "seed": point.columns["seed"],
             "images_seen": images, "plan": name.rsplit("/", 1)[1], "value": value,
             "images": point.cell.evaluate_images}
            for point in outcome.points if not point.in_frame
            for images, metrics in point.cell.curve(outcome.workspace.cell(point.cell.digest))
            for name, value in metrics.items() if name.startswith("select/nll/mean/")
        ]  # fmt: skip
        paths = []
        if rows:
            with replacing(outcome.folder / CURVES_FILE) as aside:
                pd.DataFrame(rows).to_parquet(aside, index=False)
            paths.append(outcome.folder / CURVES_FILE)
        return [*paths, *self._export_plans(outcome)]

    def _export_plans(self, outcome: Outcome) -> list[Path]:
        """The best plan of each memory budget, and `plans.json`, which says what each is."""
        frame = load_frame(outcome.folder / FRAME_FILE, training=True, full=False)
        places = {
            (p.columns["schedule"], p.columns["seed"], p.columns["cell"]): p
            for p in outcome.points
            if p.in_frame
        }
        listed, paths = [], []
        for chosen in choose_plans(
            frame, self.kv_budgets, full_kv=self._full_kv(outcome.bench.geometry)
        ):
            cell = places[chosen.schedule, chosen.seed, chosen.cell].cell
            path = outcome.folder / f"plan-kv{100 * chosen.kv_share_limit:g}.json"
            cell.plan.save(path)
            paths.append(path)
            listed.append(
                {
                    "file": path.name,
                    "kv_share_limit": chosen.kv_share_limit,
                    "kv_share": chosen.kv_share,
                    "schedule": chosen.schedule,
                    "seed": chosen.seed,
                    "plan": chosen.cell,
                    "model": os.path.relpath(cell.network.model_folder, outcome.folder),
                    "select_nll": chosen.select_nll,
                    "test": {name: asdict(level) for name, level in chosen.test.items()},
                    "loss_nats": asdict(chosen.loss) if chosen.loss else None,
                    "non_inferior": chosen.non_inferior,
                }
            )
        for old in outcome.folder.glob("plan-kv*.json"):  # of other budgets
            if old not in paths:
                old.unlink()
        write_json(outcome.folder / PLANS_FILE, listed)
        return [*paths, outcome.folder / PLANS_FILE]


def _schedule_facts(arm: Arm, schedule: Schedule) -> dict:
    ramped = arm.kind in ("progressive", "reversed")
    first, ramp, last = schedule.phases
    mean = arm.share
    if ramped:
        start, end = schedule.start_share, schedule.end_share
        mean = first * start + ramp * (start + end) / 2 + last * end
    return {
        "label": arm.label,
        "kind": arm.kind,
        "share": arm.share,
        "mean_share": mean,
        "start_share": schedule.start_share if ramped else None,
        "end_share": schedule.end_share if ramped else None,
        "phases": list(schedule.phases) if ramped else None,
        "selector": arm.selector,
        "passes": 3 if schedule.sandwich else 1,
    }


def paper_cost() -> dict:
    """What plans of VAR-d30 cost at batch 64 with guidance, by arithmetic (PAPER's cost table)."""
    geometry = Geometry.official(30)
    full = plan_cost(geometry, batch=64, guidance=True, kv_bytes=2)
    found = {}
    for depth, switch in PAPER_PLANS:
        plan = DepthPlan.two_zone(geometry.patch_nums, 30, subnet_depth=depth, switch=switch)
        cost = plan_cost(geometry, plan, batch=64, guidance=True, kv_bytes=2)
        found[plan.name] = {
            "kv_mib_reference": cost.kv_bytes_reference / 2**20,
            "kv_mib_limit": cost.kv_bytes_limit / 2**20,
            "flops_share": cost.flops / full.flops,
        }
    return found


def main(flags: ParetoFlags, command: str = "") -> None:
    """Run the study."""
    Pareto(flags, command).run()


if __name__ == "__main__":
    with exit_codes():
        chosen = tyro.cli(ParetoFlags, description=__doc__)
        main(chosen, "python -m studies.pareto " + shlex.join(sys.argv[1:]))
