"""Studies that train supernets: the flags they share, a model's training, and its plans."""

from __future__ import annotations

import abc
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from analysis.study_file import BASE, CONTROL, CURVES_FILE, EQUIDISTANT, with_selector
from studies.cells.training import Training
from studies.grid.flags import StudyConfig
from studies.grid.point import Found, Outcome, Point
from studies.study import Study
from varant.devices import element_bytes
from varant.errors import UserError
from varant.files import write_json
from varant.flags import Natural, Times
from varant.manifest import record
from varant.model.cost import PlanCost, plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.presets import QUICK_BUDGET
from varant.store.frontier import PLANS_FILE
from varant.training.config import SupernetTraining, TrainingConfig, default_switch
from varant.training.schedule import Schedule

if TYPE_CHECKING:
    from studies.grid.bench import Planned

SEED_STEP = 10_000  # between training seeds on one base
CURVE_IMAGES, QUICK_CURVE_IMAGES = 500, 100  # select images of an evaluation in training


@dataclass(frozen=True, kw_only=True)
class SupernetConfig(StudyConfig):
    training: SupernetTraining = SupernetTraining()
    seeds: Times = 1
    """Training seeds on each base network, averaged within its unit."""

    powered: ClassVar[str | None] = "loss half"

    @property
    def training_seeds(self) -> int:
        return self.seeds

    @classmethod
    def quick_defaults(cls) -> Self:
        training = replace(cls().training, budget_images=QUICK_BUDGET)
        return replace(super().quick_defaults(), training=training)


@dataclass(frozen=True, kw_only=True)
class SwitchedConfig(SupernetConfig):
    """Of a study whose models are trained for one switch point."""

    train_switch: Natural | None = None
    """Switch point that models are trained for; default: the preset's, else six tenths
    of the scales."""

    @property
    def trained_for(self) -> int | None:
        return self.train_switch


@dataclass(frozen=True, kw_only=True)
class Arm:
    """A way to train.

    Attributes:
        label: as people say it; unique in its study.
        switch: the switch point that it trains for.
        selector: of the subnets that it trains; None for the control, which trains none.
        base_images, lr: of its base and its peak learning rate, in a study that varies them.
    """

    label: str
    schedule: Schedule
    switch: int
    selector: str | None = EQUIDISTANT
    base_images: int | None = None
    lr: float | None = None

    @property
    def kind(self) -> str:
        return self.schedule.name

    @property
    def share(self) -> float | None:
        """Of the control and of fixed schedules."""
        return self.schedule.start_share if self.kind in ("full", "fixed") else None

    @property
    def columns(self) -> dict[str, Any]:
        """What the frame says of it."""
        told: dict[str, object] = {"schedule": self.label, "kind": self.kind}
        anchor = "control" if self.kind == CONTROL else None
        told |= {"share": self.share, "train_switch": self.switch, "anchor": anchor}
        varied = {"base_images": self.base_images, "lr": self.lr}
        return told | {name: value for name, value in varied.items() if value is not None}

    @property
    def facts(self) -> dict[str, Any]:
        """What `study.json` says of it: the fields of `ScheduleFacts`."""
        shape: dict[str, Any] = {"mean_share": self.share}
        if self.kind in ("progressive", "reversed"):
            names = ("mean_share", "start_share", "end_share", "phases", "ramp")
            shape = {name: getattr(self.schedule, name) for name in names}
        named = {"label": self.label, "kind": self.kind, "share": self.share}
        trained = {"selector": self.selector, "switch": self.switch}
        return named | trained | shape | {"passes": 3 if self.schedule.sandwich else 1}


def control(switch: int) -> Arm:
    """The base trained on without subnet steps."""
    return Arm(label="control", schedule=Schedule.full(), selector=None, switch=switch)


def switch_of(flag: str, value: int | None, geometry: Geometry) -> int:
    """A switch point, by default `default_switch`; `UserError` where no scale comes after it."""
    scales = len(geometry.patch_nums)
    if value is None:
        return default_switch(geometry.patch_nums)
    if not 0 <= value < scales:
        raise UserError(f"{flag} {value}: the network has {scales} scales; use 0 to {scales - 1}")
    return value


Config = TypeVar("Config", bound=SupernetConfig)


class SupernetStudy(Study[Config, Found]):
    """Trains models from each unit's base network and measures their plans."""

    select = True

    @abc.abstractmethod
    def arms(self, geometry: Geometry, found: Found | None) -> list[Arm]:
        """The ways to train that the flags ask for."""

    @property
    def selectors(self) -> tuple[str, ...]:
        """Of the subnets that are trained; the control is measured with each."""
        return (EQUIDISTANT,)

    def depths(self, geometry: Geometry) -> tuple[int, ...]:
        return self.config.training.subnet_depths(geometry.depth)

    def train_switch(self, geometry: Geometry) -> int:
        """The switch point of the field of that name of `SupernetFile`; by default the setting's.

        Raises:
            UserError: a flag that names another, which no scale comes after.
        """
        return default_switch(geometry.patch_nums)

    def check(self, bench: Planned) -> None:
        for arm in self.arms(bench.geometry, None):
            training = self.training(bench, arm, self.units[0])
            training.check_fits(bench.geometry, self.config.run.device)

    def training(self, bench: Planned, arm: Arm, unit: int, seed: int | None = None) -> Training:
        """The training of a model of this arm from the unit's base; by default with its seed."""
        flags = self.config.training
        images = QUICK_CURVE_IMAGES if self.config.run.quick else CURVE_IMAGES
        chosen: dict[str, Any] = {"switch": arm.switch, "selector": arm.selector or EQUIDISTANT}
        chosen["seed"] = unit if seed is None else seed
        chosen["precision"] = self.config.run.precision
        chosen["lr"] = next(lr for lr in (arm.lr, flags.lr, bench.lr) if lr is not None)
        config = TrainingConfig.of(flags, bench.geometry, arm.schedule, **chosen)
        return Training(
            unit=unit,
            config=config,
            evaluate_images=min(images, bench.dataset.sizes["select"]),
            evaluate_every=config.evaluate_every,
        )

    def points(self, bench: Planned, found: Found | None) -> Iterator[Point]:
        """Unit by unit the base's plans, the trainings, and each model's plans."""
        arms = self.arms(bench.geometry, found)
        for unit in self.judged:
            columns: dict[str, Any] = {"schedule": BASE, "kind": BASE, "seed": unit}
            columns["train_switch"] = arms[0].switch
            yield from self.network_points(bench, f"{BASE} u{unit}", None, unit=unit, **columns)
            yield from self.arm_points(bench, arms, unit)

    def arm_points(self, bench: Planned, arms: Sequence[Arm], unit: int) -> Iterator[Point]:
        """Of the models that are trained from a unit's base."""
        for arm, seed in product(arms, self.seeds_of(unit)):
            training = self.training(bench, arm, unit, seed)
            columns = arm.columns | {"unit": unit, "seed": seed}
            yield from self.model_points(bench, training, arm.selector, columns)

    def seeds_of(self, unit: int) -> range:
        """Training seeds on the unit's base: its own number, and others far from any unit's."""
        return range(unit, unit + self.config.seeds * SEED_STEP, SEED_STEP)

    def model_points(
        self, bench: Planned, training: Training, selector: str | None, columns: dict[str, Any]
    ) -> Iterator[Point]:
        """A model's training, and its plans: full, and every depth at `switches`.

        Args:
            columns: of all its points.
        """
        several = f" s{columns['seed']}" if self.config.seeds > 1 else ""
        name = f"{columns['schedule']} u{training.unit}{several}"
        placed: dict[str, Any] = {"family": "training", "selector": selector}
        placed["budget_images"] = training.config.budget_images
        yield Point(name=name, task=training, columns=columns | placed)
        yield from self.network_points(bench, name, selector, trained=training, **columns)

    def switches(self, geometry: Geometry) -> Sequence[int]:
        """Switch points that models are measured at."""
        return range(len(geometry.patch_nums))

    def network_points(
        self, bench: Planned, name: str, trained_for: str | None, **columns: Any
    ) -> Iterator[Point]:
        """Full network, and every depth at `switches`, by one selector or by the study's."""
        sides, depth = bench.geometry.patch_nums, bench.geometry.depth
        measured = partial(self.plan_point, bench, **columns)
        full, selector = DepthPlan.full(sides, depth), trained_for or EQUIDISTANT
        selectors = (trained_for,) if trained_for else self.selectors
        yield measured(f"{name} full", full, selector=selector)
        for selector, switch, subnet in product(
            selectors, self.switches(bench.geometry), self.depths(bench.geometry)
        ):
            kept: dict[str, Any] = {"subnet_depth": subnet, "switch": switch, "selector": selector}
            plan = DepthPlan.two_zone(sides, depth, **kept)
            shown = with_selector(f"{name} {plan.name}", selector)
            yield measured(shown, plan, family="switch", **kept)

    def shown(self, arms: Sequence[Arm]) -> Sequence[Arm]:
        return arms

    def sheet(self, outcome: Outcome[Found]) -> list[tuple[str, Point]]:
        """Full network and shallowest trained subnet of each shown arm, first unit."""
        geometry = outcome.bench.geometry
        depth, unit = self.depths(geometry)[0], self.judged[0]
        return [
            (f"{arm.label} {point.columns['plan']}", point)
            for arm in self.shown(self.arms(geometry, outcome.found))
            for plan in ({"family": "full"}, {"subnet_depth": depth, "switch": arm.switch})
            for point in outcome.where(schedule=arm.label, seed=unit, unit=unit, **plan)
        ]

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        rivals = [point for point in points if "rival" in point.columns]
        own = [point for point in points if "rival" not in point.columns]
        trainings = [point for point in own if not point.task.tabled]
        measured = [point.columns for point in own if point.task.tabled_plan is not None]
        plans = list(dict.fromkeys(str(columns["plan"]) for columns in measured))
        lines = [
            f"{len(trainings)} models of {trainings[0].task.images:,} image passes: "
            + ", ".join(point.name for point in trainings),
            f"{len(plans)} plans each: {', '.join(plans)}",
        ]
        for name in dict.fromkeys(str(point.columns["rival"]) for point in rivals):
            mine = [point for point in rivals if point.columns["rival"] == name]
            passes = sum(point.task.images for point in mine if point.task.trains)
            models = sum(point.task.trains for point in mine)
            trained = f"{models} models of {passes:,} image passes in all" if models else "none"
            lines.append(f"rival {name}: trained {trained}; {len(mine) - models} plans")
        return lines

    def run_name(self, bench: Planned) -> str:
        images = self.config.training.budget_images
        return f"{super().run_name(bench)}, {images:,} images"

    def facts(self, outcome: Outcome[Found]) -> dict[str, Any]:
        """Of all studies that train: the fields of `SupernetFile`."""
        geometry = outcome.bench.geometry
        arms = self.arms(geometry, outcome.found)
        config = self.training(outcome.bench, arms[0], self.judged[0]).config
        labels = {arm.label for arm in arms}
        return {
            **{n: getattr(config, n) for n in ("budget_images", "batch", "lr", "lr_schedule")},
            "depths": self.depths(geometry),
            "selectors": self.selectors,
            "schedules": [arm.facts for arm in arms],
            "units": self.judged,
            "models": [
                _model_facts(outcome, point)
                for point in outcome.points
                if point.task.trains
                and ("rival" in point.columns or point.columns.get("schedule") in labels)
            ],
            "train_switch": self.train_switch(geometry),
            "default_switch": default_switch(geometry.patch_nums),
            "kv_full_bytes": self.cost_of(geometry).kv_bytes_peak,
        }

    def cost_of(self, geometry: Geometry, plan: DepthPlan | None = None) -> PlanCost:
        """What a plan costs an image, as cells measure it; default: the full network."""
        guidance, each = self.config.sampling.cfg != 0, element_bytes(self.config.run.precision)
        return plan_cost(geometry, plan, guidance=guidance, kv_bytes=each)

    def write_more(self, outcome: Outcome[Found]) -> list[Path]:
        import pandas as pd

        from studies.grid.folder import write_table

        geometry = outcome.bench.geometry
        rows = [
            {"schedule": point.columns["schedule"], "unit": point.columns["unit"]} | row
            for point in outcome.points
            if "rival" not in point.columns
            for row in point.task.curve(outcome.folder_of(point), geometry)
        ]
        path = outcome.folder / CURVES_FILE
        return [write_table(path, pd.DataFrame(rows))] if rows else []


Switched = TypeVar("Switched", bound=SwitchedConfig)


class SwitchedStudy(SupernetStudy[Switched, Found]):
    """Trains its models for one switch point, and measures them there."""

    def train_switch(self, geometry: Geometry) -> int:
        return switch_of("--train-switch", self.config.train_switch, geometry)

    def switches(self, geometry: Geometry) -> Sequence[int]:
        return (self.train_switch(geometry),)


def _model_facts(outcome: Outcome[Any], point: Point) -> dict[str, Any]:
    """The fields of `analysis.study_file.ModelFacts`."""
    result = outcome.result(point)
    return {
        **{name: getattr(result, name) for name in ("digest", "status", "error")},
        **result.facts,
        "schedule": point.columns["schedule"],
        "rival": point.columns.get("rival"),
        "unit": point.task.unit,
        "folder": os.path.relpath(outcome.folder_of(point), outcome.folder),
        **point.task.training_facts(outcome.bench.geometry),
    }


def write_plans(folder: Path, plans: Iterable[tuple[str, DepthPlan, dict[str, Any]]]) -> list[Path]:
    """Write chosen plans by their file names, and `plans.json`, which says what each is.

    Those of an earlier visit go.
    """
    for old in folder.glob("plan-*.json"):
        old.unlink()
    paths, listed = [folder / PLANS_FILE], []
    for name, plan, said in plans:
        plan.save(folder / name)
        paths.append(folder / name)
        listed.append({"file": name} | said)
    write_json(folder / PLANS_FILE, listed)
    record(*paths)
    return paths
