"""Studies that train supernets: the flags they share, a model's cell, and its plans' cells."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from studies.cells.evaluation import Network
from studies.cells.training import TrainingCell
from studies.grid.bench import Bench
from studies.grid.flags import StudyFlags
from studies.grid.point import Outcome, Point
from studies.study import Study
from varant.errors import UserError, require_count
from varant.files import replacing
from varant.flags import parse_budget, parse_depths, parse_list
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan, default_depths
from varant.start.preparation import Workspace
from varant.start.train_flags import TrainFlags, training_config
from varant.training.schedule import Schedule
from varant.training.trainer import RATE_SCHEDULES, TrainingConfig

CURVES_FILE = "curves.parquet"
QUICK_BUDGET = "3200"


@dataclass(frozen=True, kw_only=True)
class SupernetFlags(StudyFlags):
    """Flags of studies that train."""

    budget: str = "100k"
    """Image passes of each model, such as 100k, 1.5M or 2e5."""
    seeds: str = "0"
    """Training seeds, such as 0,1,2,3,4."""
    depths: str | None = None
    """Subnet depths, such as 2,4,6; default: a quarter, half and three quarters of the layers."""
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


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to train.

    Attributes:
        label: as people say it; one colour in the figures.
        kind: one of `varant.training.schedule.SCHEDULES`.
        share: of the control and of fixed schedules.
        selector: of the subnets that it trains; None for the control, which trains none.
        switch: the switch point that it trains for.
        schedule: in place of the one that `kind` and `share` name.
    """

    label: str
    kind: str
    share: float | None
    selector: str | None
    switch: int
    schedule: Schedule | None = None


class SupernetStudy(Study):
    """Trains models from one base network and measures their plans."""

    flags: SupernetFlags
    select = True

    def quick_flags(self, flags: SupernetFlags) -> SupernetFlags:
        """Tiny, but for what the command line gives."""
        quick = super().quick_flags(flags)
        if flags.budget == type(flags)().budget:
            quick = replace(quick, budget=QUICK_BUDGET)
        return quick

    def train_flags(self) -> TrainFlags:
        flags = self.flags
        return replace(
            super().train_flags(),
            budget=flags.budget,
            depths=flags.depths,
            lr=flags.lr,
            lr_schedule=flags.lr_schedule,
            batch=flags.batch,
            accumulate=flags.accumulate,
            precision=flags.precision,
            activation_checkpointing=flags.activation_checkpointing,
        )

    def arms(self, geometry: Geometry) -> list[Arm]:
        """The ways to train that the flags ask for."""
        raise NotImplementedError

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

    def check(self, bench: Bench) -> None:
        flags = self.flags
        parse_budget("--budget", flags.budget)
        require_count("--batch", flags.batch)
        if flags.lr_schedule not in RATE_SCHEDULES:
            known = ", ".join(RATE_SCHEDULES)
            raise UserError(f"--lr-schedule {flags.lr_schedule}: use one of {known}")
        for arm in self.arms(bench.geometry):
            config = self.training(bench, arm, self.seeds[0])
            config.check_fits(bench.geometry, device=flags.device.split(":")[0], ranks=1)

    def training(self, bench: Bench, arm: Arm, seed: int) -> TrainingConfig:
        """How a model of this arm is trained."""
        flags = replace(
            self.train_flags(),
            schedule=arm.kind,
            seed=seed,
            switch=arm.switch,
            selector=arm.selector or "equidistant",
        )
        if arm.kind == "fixed":
            flags = replace(flags, share=arm.share)
        self.depths(bench.geometry)
        config = training_config(flags, bench.geometry, bench.learning_rate)
        return config if arm.schedule is None else replace(config, schedule=arm.schedule)

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

    def model_points(
        self, bench: Bench, arm: Arm, seed: int, selectors: Iterable[str]
    ) -> list[Point]:
        """A model's training, and its plans: full, and every switch point and depth."""
        geometry, base = bench.geometry, bench.networks[0]
        cell = self.training_cell(bench, arm, seed)
        name = f"{arm.label} s{seed}"
        trained = {
            "schedule": arm.label,
            "share": arm.share,
            "seed": seed,
            "train_switch": arm.switch,
        }
        columns = trained | {
            "base_seed": base.base_seed,
            "family": "training",
            "selector": arm.selector,
            "budget_images": parse_budget("--budget", self.flags.budget),
        }
        workspace = Workspace(folder=self.flags.workspace.resolve())
        network = replace(
            base,
            model_folder=workspace.cell(cell.digest),
            model=f"cell {cell.digest}",
            trained_by=cell.digest,
        )
        full = DepthPlan.full(geometry.patch_nums, geometry.depth)
        points = [
            Point(name=name, cell=cell, columns=columns),
            self.plan_point(
                bench,
                f"{name} full",
                full,
                network=network,
                cell="full",
                **trained,
                selector=arm.selector or "equidistant",
            ),
        ]
        for selector in selectors:
            suffix = "" if selector == "equidistant" else f" ({selector})"
            for switch in range(len(geometry.patch_nums)):
                for depth in self.depths(geometry):
                    points.append(
                        self._subnet_point(
                            bench, name, network, depth, switch, selector, suffix, trained
                        )
                    )
        return points

    def _subnet_point(
        self,
        bench: Bench,
        name: str,
        network: Network,
        depth: int,
        switch: int,
        selector: str,
        suffix: str,
        trained: dict,
    ) -> Point:
        geometry = bench.geometry
        plan = DepthPlan.two_zone(
            geometry.patch_nums,
            geometry.depth,
            subnet_depth=depth,
            switch=switch,
            selector=selector,
        )
        return self.plan_point(
            bench,
            f"{name} {plan.name}{suffix}",
            plan,
            network=network,
            family="switch",
            cell=f"{plan.name}{suffix}",
            switch=switch,
            subnet_depth=depth,
            selector=selector,
            **trained,
        )

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
        arms = self.arms(geometry)
        configs = {arm.label: self.training(bench, arm, self.seeds[0]) for arm in arms}
        first = next(iter(configs.values()))
        return {
            "depths": self.depths(geometry),
            "budget_images": first.budget_images,
            "batch": first.batch,
            "learning_rate": first.learning_rate,
            "lr_schedule": first.rate_schedule,
            "schedules": [schedule_facts(arm, configs[arm.label].schedule) for arm in arms],
            "seeds": self.seeds,
            "models": [self._model_facts(outcome, p) for p in outcome.points if not p.in_frame],
            "kv_full_bytes": self.full_kv(geometry),
        }

    def full_kv(self, geometry: Geometry) -> int:
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

    def write_more(self, outcome: Outcome) -> list[Path]:
        """Training curves."""
        rows = [
            {
                "schedule": point.columns["schedule"],
                "seed": point.columns["seed"],
                "images_seen": images,
                "plan": name.rsplit("/", 1)[1],
                "value": value,
                "images": point.cell.evaluate_images,
            }
            for point in outcome.points
            if not point.in_frame
            for images, metrics in point.cell.curve(outcome.workspace.cell(point.cell.digest))
            for name, value in metrics.items()
            if name.startswith("select/nll/mean/")
        ]
        if not rows:
            return []
        with replacing(outcome.folder / CURVES_FILE) as aside:
            pd.DataFrame(rows).to_parquet(aside, index=False)
        return [outcome.folder / CURVES_FILE]


def schedule_facts(arm: Arm, schedule: Schedule) -> dict:
    """What `study.json` says of an arm."""
    ramped = arm.kind in ("progressive", "reversed")
    return {
        "label": arm.label,
        "kind": arm.kind,
        "share": arm.share,
        "mean_share": schedule.mean_share if ramped else arm.share,
        "start_share": schedule.start_share if ramped else None,
        "end_share": schedule.end_share if ramped else None,
        "phases": list(schedule.phases) if ramped else None,
        "ramp": schedule.ramp if ramped else None,
        "selector": arm.selector,
        "switch": arm.switch,
        "passes": 3 if schedule.sandwich else 1,
    }


def parse_shares(flag: str, text: str) -> tuple[float, ...]:
    """Shares above 0, up to 1, from a list such as `0.2,0.4`."""
    shares = []
    for item in parse_list(flag, text):
        try:
            shares.append(float(item))
        except ValueError:
            shares.append(math.nan)
        if not 0 < shares[-1] <= 1:
            raise UserError(f"{flag} {item}: must be a share, above 0 and up to 1")
    return tuple(sorted(shares))
