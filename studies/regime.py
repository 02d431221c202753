"""When does progressive training help? Age of the base, learning rate, and gradient conflict.

    python -m studies.regime

Every unit gets a base network of each age (`--ages`: training images), all of one seed, so that
they begin alike and see the same images in the same order; each is trained to the end of a rate
schedule of its own, as a network that is released. From each base, at each peak learning rate
(`--rates`), four models follow with one budget, seed and order of the data: the control (no subnet
steps), the progressive schedule, the fixed share that is its mean, and the progressive one
reversed. The answer is the signed difference of progressive against fixed over (age, rate), in NLL
of test images, for the full network and for subnets; and the cosine between the gradients of full
network and subnets, layer by layer, over training, which the paper gives as the reason.

No image is drawn: likelihood decides, and C3's own rule says by it what it would in each regime.
docs/studies.md says why each age is a training of its own.

Cost with the defaults: 15 base networks, 180 trainings and 780 evaluations, by `--dry-run` 10,200
CPU-s on one core of a Xeon: 85 minutes of two idle cores. On cores that did other things beside it
the cells of the committed run took 18,075.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from analysis.study_file import BASE, CONTROL, EQUIDISTANT, RegimeFile
from studies.cells.evaluation import Likelihood
from studies.cells.training import BaseTraining, Training
from studies.grid.point import Outcome, Point
from studies.study import main
from studies.supernets import Arm, SwitchedConfig, SwitchedStudy
from varant.errors import UserError
from varant.flags import Counts, Rates
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.presets import PresetName
from varant.start.config import StartConfig
from varant.training.config import SupernetTraining
from varant.training.schedule import Schedule
from varant.values import show_count, show_number

if TYPE_CHECKING:
    from analysis.claims.planned import Lines
    from studies.grid.bench import Planned

EVALUATIONS = 4  # of a training, besides the one before it
WATCHED_IMAGES, QUICK_WATCHED_IMAGES = 100, 20  # select images of one, of NLL and of gradients
CONFLICTING = ("progressive", "fixed")  # whose training says how gradients conflict


@dataclass(frozen=True, kw_only=True)
class BasesConfig(StartConfig):
    """Bases that the study trains itself."""

    preset: PresetName = "tiny"
    """Sizes of data, tokenizer and base networks: tiny (five scales, eight layers), small (eight
    and sixteen) or ten (the paper's ten scales)."""

    def check(self) -> None:
        for flag, path in {"--model": self.model, "--vae": self.vae}.items():
            if path is not None:
                raise UserError(
                    f"{flag} {path}: this study trains bases of several ages itself; drop it"
                )
        super().check()


@dataclass(frozen=True, kw_only=True)
class RegimeConfig(SwitchedConfig):
    start: BasesConfig = BasesConfig()
    training: SupernetTraining = SupernetTraining(budget_images=12_000)
    ages: Counts = (8_000, 32_000, 128_000)
    """Ages of the bases: training images, growing, such as 8k,32k,128k."""
    rates: Rates = (2e-4, 1e-3, 3e-3)
    """Peak learning rates of what is trained from them, growing, such as 2e-4,1e-3,3e-3."""
    powered, likelihood_images = None, 1_000

    @classmethod
    def quick_defaults(cls) -> Self:
        training = SupernetTraining(budget_images=640, depths=(2,))
        quick = replace(super().quick_defaults(), training=training)
        evaluation = replace(quick.evaluation, samples=None)
        return replace(quick, ages=(640, 1_280), rates=(1e-3, 3e-3), evaluation=evaluation)

    def check(self) -> None:
        super().check()
        drawing = {"--samples": self.evaluation.samples, "--cfg": self.sampling.cfg}
        drawing |= {"--top-k": self.sampling.top_k, "--top-p": self.sampling.top_p}
        for flag, value in drawing.items():
            if value:
                raise UserError(f"{flag} {value:g}: this study draws no images; drop it")
        if self.training.lr is not None:
            given = f"--lr {show_number(self.training.lr)}"
            raise UserError(f"{given}: this study varies it; give --rates")
        if self.start.base_budget is not None:
            given = f"--base-budget {show_count(self.start.base_budget)}"
            raise UserError(f"{given}: this study varies it; give --ages")
        if self.ages[0] < self.training.batch:
            raise UserError(
                f"--ages {show_count(self.ages[0])}: below one batch of --batch "
                f"{self.training.batch} images; give at least as many"
            )


class RegimeStudy(SwitchedStudy[RegimeConfig, None]):
    """Trains bases of several ages, and from each by every schedule at every rate."""

    name = "regime"
    question = (
        "When does progressive training help? From base networks of several ages, at several "
        "learning rates, models are trained by the progressive schedule, by the fixed share that "
        "is its mean, by the progressive one reversed, and without subnets. Where is progressive "
        "better than fixed, for the full network and for subnets, and does the conflict between "
        "their gradients, which the paper gives as the reason, say where?"
    )
    title = "When does progressive training help?"
    networks = anchored = select = draws = False
    file = RegimeFile

    def planned(self, bench: Planned) -> Lines:
        from analysis.claims.planned import schedules_lines

        return schedules_lines(self.config.training.lr_schedule)

    def arms(self, geometry: Geometry, found: None) -> list[Arm]:
        """Regime by regime, the control first."""
        progressive, switch = Schedule.progressive(), self.train_switch(geometry)
        mean = progressive.mean_share
        schedules = {
            "control": Schedule.full(),
            "progressive": progressive,
            f"fixed {show_number(mean)}": Schedule.fixed(mean),
            "reversed": progressive.reversed(),
        }
        return [
            Arm(
                label=f"{name}, {show_count(age)}, {show_number(rate)}",
                schedule=schedule,
                switch=switch,
                selector=None if schedule.name == CONTROL else EQUIDISTANT,
                base_images=age,
                lr=rate,
            )
            for age, rate, (name, schedule) in product(
                self.config.ages, self.config.rates, schedules.items()
            )
        ]

    def _watched(self, bench: Planned) -> int:
        """Select images of an evaluation in training."""
        images = QUICK_WATCHED_IMAGES if self.config.run.quick else WATCHED_IMAGES
        return min(images, bench.dataset.sizes["select"])

    def base(self, bench: Planned, unit: int, age: int) -> BaseTraining:
        assert bench.base is not None, "networks that are given are refused"
        config = replace(bench.base.training, budget_images=age, seed=unit)
        return BaseTraining(
            unit=unit,
            config=config,
            geometry=bench.geometry,
            evaluate_images=self._watched(bench),
            evaluate_every=max(1, config.image_passes // EVALUATIONS),
        )

    def training(self, bench: Planned, arm: Arm, unit: int, seed: int | None = None) -> Training:
        assert arm.base_images is not None, "an arm of this study has a base of its own"
        training, images = super().training(bench, arm, unit, seed), self._watched(bench)
        return replace(
            training,
            trained=self.base(bench, unit, arm.base_images),
            evaluate_images=images,
            evaluate_every=max(1, training.images // EVALUATIONS),
            gradient_images=images if arm.kind in CONFLICTING else None,
        )

    def points(self, bench: Planned, found: None) -> Iterator[Point]:
        """Unit by unit the bases with their plans, and the models with theirs."""
        arms, switch = self.arms(bench.geometry, None), self.train_switch(bench.geometry)
        for unit in self.judged:
            for age in self.config.ages:
                base, name = self.base(bench, unit, age), f"{BASE}, {show_count(age)}"
                columns = {"schedule": name, "kind": BASE, "anchor": BASE, "train_switch": switch}
                placed = {"unit": unit, "seed": unit, "base_images": age}
                yield from self.model_points(bench, base, None, columns | placed)
            yield from self.arm_points(bench, arms, unit)

    def measurement(
        self, bench: Planned, plan: DepthPlan, unit: int, trained: Training | None
    ) -> Likelihood:
        nothing_drawn = bench.evaluation.model_copy(update={"samples": 0})
        return Likelihood(plan=plan, evaluation=nothing_drawn, unit=unit, trained=trained)

    def sheet(self, outcome: Outcome[None]) -> list[tuple[str, Point]]:
        return []  # nothing is drawn

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        config = self.config
        bases = [p for p in points if p.task.trains and p.columns["kind"] == BASE]
        models = [p for p in points if p.task.trains and p not in bases]
        rates = ", ".join(f"{rate:g}" for rate in config.rates)
        plans = list(dict.fromkeys(str(p.columns["plan"]) for p in points if p.task.tabled))
        return [
            f"{len(bases)} base networks of {', '.join(map(show_count, config.ages))} images; the "
            "tokenizer before them, one to four minutes, unless it is there",
            f"{len(models)} models of {models[0].task.images:,} image passes: control, "
            f"progressive, fixed at its mean share, reversed; from every base at {rates}",
            f"{len(plans)} plans each: {', '.join(plans)}",
        ]

    def run_name(self, bench: Planned) -> str:
        config, geometry = self.config, bench.geometry
        network = f"{bench.dataset.name} d{geometry.depth} w{geometry.width}"
        regimes = f"{len(config.ages)} ages x {len(config.rates)} rates"
        return f"{network}, {regimes}, {config.training.budget_images:,} images"

    def facts(self, outcome: Outcome[None]) -> dict[str, Any]:
        from varant.model.cost import parameter_count

        bench, config = outcome.bench, self.config
        bases = [
            {
                "unit": unit,
                "digest": outcome.results[self.base(bench, unit, age)].digest,
                "parameters": parameter_count(bench.geometry),
                "training_images": self.base(bench, unit, age).images,
            }
            for unit, age in product(self.judged, config.ages)
        ]
        return super().facts(outcome) | {
            "sampling": bench.evaluation.model_copy(update={"samples": 0}),
            "bases": bases,
            "ages": config.ages,
            "rates": config.rates,
            "gradient_images": self._watched(bench),
        }

    def write_more(self, outcome: Outcome[None]) -> list[Path]:
        """Training curves, and the conflict of gradients."""
        from analysis.statistics.conflict import CONFLICT_FILE, NETWORK, conflict_table
        from studies.grid.folder import write_table

        geometry, found = outcome.bench.geometry, list[dict[str, object]]()
        for point in outcome.points:
            task, folder = point.task, outcome.folder_of(point)
            for images, depth, layer, cosine in task.cosines(folder, geometry):
                network = {name: point.columns[name] for name in NETWORK}
                place = {"images_seen": images, "progress": images / task.images}
                place |= {"subnet_depth": depth, "layer": layer, "cosine": cosine}
                found.append(network | place)
        table = write_table(outcome.folder / CONFLICT_FILE, conflict_table(found))
        return [*super().write_more(outcome), table]


if __name__ == "__main__":
    main(RegimeStudy, RegimeConfig, __doc__)
