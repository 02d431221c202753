"""How far does each metric move when nothing of interest changes?

    python -m studies.noise

Every unit's base network is trained on with several seeds by the fixed share 2/3; base and trained
networks are measured in full, with half and with a quarter of the layers after the switch point
(and untrained with half of them on the early and on the late window), each several times with
sampling seeds of their own, and again with half and a quarter of the samples. Both feature spaces
come with every cell.

The answer are variance components of base networks, training seeds and evaluation, for each metric
and for the differences that claims test: see `analysis/statistics/noise.py`. They are written to
`table.json`, from which the other studies' `--dry-run` says what they could show at which cost
(`--noise`; docs/studies.md).

`--dry-run` says what it costs here; docs/studies.md what it said elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from analysis.instrument_file import TABLE, NoiseFile
from studies.cells.evaluation import Measurement
from studies.cells.training import Training
from studies.grid.point import Outcome, Point
from studies.study import main
from studies.supernets import SEED_STEP, Arm, SwitchedConfig, SwitchedStudy
from varant.errors import UserError
from varant.flags import Times
from varant.model.geometry import Geometry, windows_of
from varant.model.plan import DepthPlan
from varant.training.config import SupernetTraining, default_switch
from varant.training.schedule import REFERENCE_SHARE, Schedule

if TYPE_CHECKING:
    from studies.grid.bench import Planned

PARTS = (1, 2, 4)  # of the samples


@dataclass(frozen=True, kw_only=True)
class NoiseConfig(SwitchedConfig):
    training: SupernetTraining = SupernetTraining(budget_images=20_000)
    seeds: Times = 2
    """Training seeds on each base network."""
    draws: Times = 2
    """Sampling seeds of each trained network at each count of samples."""
    powered = None

    @classmethod
    def quick_defaults(cls) -> Self:
        return replace(super().quick_defaults(), units=2)

    @property
    def more_times(self) -> Mapping[str, int]:
        return {"draws": self.draws}


class Noise(SwitchedStudy[NoiseConfig, None]):
    """Measures the same again: other seeds of base, training and sampling, other counts."""

    name = "noise"
    question = (
        "How far does each metric move when nothing of interest changes: with the base network, "
        "the training seed, the sampling seed, the number of samples and the feature space?"
    )
    title = "How far do these metrics move?"
    select = verdicts = False
    file = NoiseFile

    def arms(self, geometry: Geometry, found: None) -> list[Arm]:
        schedule = Schedule.fixed(REFERENCE_SHARE)
        return [Arm(label="fixed 2/3", schedule=schedule, switch=self.train_switch(geometry))]

    def depths(self, geometry: Geometry) -> tuple[int, ...]:
        """Half and a quarter of the layers, and what else is trained."""
        named = {max(1, geometry.depth // parts) for parts in (2, 4)}
        return tuple(sorted(named | set(super().depths(geometry))))

    def check(self, bench: Planned) -> None:
        super().check(bench)
        if len(self.units) < 2:
            raise UserError("--units 1: how far base networks move takes at least 2")
        samples, least = bench.evaluation.samples, 2 * max(PARTS) * bench.geometry.num_classes
        if samples < least:
            raise UserError(
                f"--samples {samples}: a quarter of them must hold two of each class; use at least "
                f"{least}"
            )

    def model_points(
        self, bench: Planned, training: Training, selector: str | None, columns: dict[str, Any]
    ) -> Iterator[Point]:
        name = f"{columns['schedule']} u{training.unit} s{columns['seed']}"
        placed = {"family": "training", "budget_images": training.config.budget_images}
        yield Point(name=name, task=training, columns=columns | placed)
        yield from self.network_points(bench, name, selector, trained=training, **columns)

    def network_points(
        self, bench: Planned, name: str, trained_for: str | None, **columns: Any
    ) -> Iterator[Point]:
        """Every plan at every count and draw: a trained network has draws of its own, the base
        those of all that are trained from it."""
        unit, trained, draws = columns["unit"], columns.get("trained"), self.config.draws
        seeds, first = self.seeds_of(unit), bench.evaluation_of(unit)
        places = range(len(seeds)) if trained is None else [seeds.index(columns["seed"])]
        for (row, part), place, draw in product(enumerate(PARTS), places, range(draws)):
            number = (row * len(seeds) + place) * draws + draw
            evaluation = first.model_copy(
                update={
                    "samples": first.samples // part,
                    "nll_images": max(1, first.nll_images // part),
                    "seed": unit + number * SEED_STEP,
                }
            )
            for plan, placed in self._plans(bench.geometry, whole=part == 1, base=trained is None):
                shown = f"{name} {plan.name} n{evaluation.samples} draw {number}"
                point = self.plan_point(bench, shown, plan, **columns, **placed, draw=number)
                task = Measurement(plan=plan, evaluation=evaluation, unit=unit, trained=trained)
                yield replace(point, task=task)

    def _plans(
        self, geometry: Geometry, *, whole: bool, base: bool
    ) -> Iterator[tuple[DepthPlan, dict[str, Any]]]:
        """In full and with half the layers; of all samples also with a quarter of them and with the
        fewest that are trained, and of the base with half on the early and on the late window."""
        sides, depth, switch = geometry.patch_nums, geometry.depth, self.train_switch(geometry)
        yield DepthPlan.full(sides, depth), {}
        half, quarter = (max(1, depth // parts) for parts in (2, 4))
        fewer = (quarter, min(self.depths(geometry))) if whole else ()  # never more than a quarter
        for layers in dict.fromkeys((half, *fewer)):
            plan = DepthPlan.two_zone(sides, depth, subnet_depth=layers, switch=switch)
            yield plan, {"family": "switch", "subnet_depth": layers, "switch": switch}
        for window, scales in windows_of(sides).items() if whole and base else ():
            if window != "middle":
                kept = [depth // 2 if k in scales else depth for k in range(1, len(sides) + 1)]
                plan = DepthPlan.per_scale(sides, depth, depths=kept)
                named = f"d{depth // 2} on {window}"
                yield plan, {"family": "window", "window": window, "plan": named}

    def sheet(self, outcome: Outcome[None]) -> list[tuple[str, Point]]:
        """The first draw of the first unit's base and first trained network."""
        first = outcome.where(unit=self.judged[0], seed=self.judged[0], draw=0)
        return [(f"{p.columns['schedule']} {p.columns['plan']}", p) for p in first]

    def facts(self, outcome: Outcome[None]) -> dict[str, Any]:
        bench = outcome.bench
        return super().facts(outcome) | {
            "setting": bench.setting,
            "draws": self.config.draws,
            "counts": [bench.evaluation.samples // part for part in PARTS],
            "windows": windows_of(bench.geometry.patch_nums),
        }

    def write_more(self, outcome: Outcome[None]) -> list[Path]:
        """Training curves, and the table that other studies read."""
        from analysis.frame import load_frame
        from analysis.instrument_file import NoiseTable
        from analysis.statistics.noise import Noise as Measured
        from analysis.study_file import FRAME_FILE, SamplingFacts
        from studies.grid.folder import write_facts

        bench, config = outcome.bench, self.config
        frame = load_frame(outcome.folder / FRAME_FILE, training=True)
        switch = self.train_switch(bench.geometry)
        measured = Measured(
            frame,
            depth=bench.geometry.depth,
            switch=switch,
            default_switch=default_switch(bench.geometry.patch_nums),
        )
        table = NoiseTable(
            setting=bench.setting,
            samples=bench.evaluation.samples,
            depth=bench.geometry.depth,
            width=bench.geometry.width,
            base_images=bench.training_images,
            train_switch=switch,
            sampling=SamplingFacts.model_validate(bench.evaluation),
            budget_images=config.training.budget_images,
            units=len(self.units),
            seeds=config.seeds,
            draws=config.draws,
            quantities=measured.quantities,
            resolutions=measured.resolutions,
        )
        return [*super().write_more(outcome), write_facts(outcome.folder / TABLE, table)]


if __name__ == "__main__":
    main(Noise, NoiseConfig, __doc__)
