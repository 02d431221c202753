"""Which training schedule? The ratios of the progressive schedule, by adaptive search.

    python -m studies.schedule --trials 24 --budget 20k

Searches start share, end share, shape of the ramp and the lengths of the three phases with Optuna
(TPE, two objectives: NLL of the full network and mean NLL of the subnets, on select images), from
the first unit's base network with one budget a trial. The paper's 2:8 -> 10:0 over 5:15:10, fixed
shares and the reversed schedule are trials of their own. Then the winners, the paper's
point and the control (no subnet steps) are trained on fresh units, `--units` of them after the
first, and measured on test images: what the search saw is never the result.

The search lives in a SQLite file of the study's folder: kill it anywhere and run it again, no trial
is lost or repeated; a larger --trials goes on with it.

`--dry-run` says what it costs here; docs/studies.md what it said elsewhere. Expect shares that
trade the full network for subnets, and an order in time that matters beside them.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Self

from analysis.search_file import FoundSchedules, ScheduleFile, TrialFacts
from studies.cells.training import Training
from studies.grid.point import Outcome, Point
from studies.study import Run, main
from studies.supernets import Arm, SwitchedConfig, SwitchedStudy, control
from varant.errors import UserError
from varant.files import digest_of
from varant.flags import Times
from varant.model.geometry import Geometry
from varant.training.config import SupernetTraining
from varant.training.schedule import Schedule

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from analysis.claims.planned import Lines
    from studies.grid.bench import Planned, Prepared

SCORE_IMAGES = 1_000  # at most
CURVE_POINTS = 61  # of a schedule's curve, over training progress from 0 to 1


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig(SwitchedConfig):
    training: SupernetTraining = SupernetTraining(budget_images=20_000)
    trials: Times = 24
    """Schedules to try, the fixed points among them."""
    storage: Path | None = None
    """SQLite file of the search; default: in the study's folder, one for each config."""

    @classmethod
    def quick_defaults(cls) -> Self:
        return replace(super().quick_defaults(), trials=8)

    @property
    def unit_numbers(self) -> tuple[int, ...]:
        """The pilot, on which schedules are chosen, and the fresh units after it."""
        *fresh, last = super().unit_numbers
        return (*fresh, last, last + 1)


class ScheduleStudy(SwitchedStudy[ScheduleConfig, FoundSchedules]):
    """Searches schedules, and trains those that win again."""

    name = "schedule"
    question = (
        "Which ratios of the progressive schedule give the best full network and the best subnets "
        "for one training budget, and is any better than the paper's? Schedules are searched on "
        "select images; the winners are trained again with fresh seeds and measured on test images."
    )
    file = ScheduleFile

    def planned(self, bench: Planned) -> Lines:
        from analysis.claims.planned import WINNER

        return WINNER

    def check(self, bench: Planned) -> None:
        from studies.searching.schedules import check_storage

        if importlib.util.find_spec("sklearn") is None:
            raise UserError(
                "studies.schedule: importances need scikit-learn; pip install 'varant[schedule]'"
            )
        if self.config.storage is not None:
            check_storage(self.config.storage)
        super().check(bench)

    def _arm(self, geometry: Geometry, label: str, schedule: Schedule) -> Arm:
        return Arm(label=label, schedule=schedule, switch=self.train_switch(geometry))

    def arms(self, geometry: Geometry, found: FoundSchedules | None) -> list[Arm]:
        """What is trained with fresh seeds: the control, the paper's schedule, and the winners."""
        from studies.searching.schedules import PAPER, fixed_points, schedule_of

        chosen = {PAPER: fixed_points()[PAPER]}
        if found is None:  # winners are not known; these cost about as much
            chosen |= {f"winner {i}": Schedule.progressive(0.2 + 0.01 * i) for i in (1, 2)}
        else:
            chosen |= {name: schedule_of(won.parameters) for name, won in found.won.items()}
        trained = [self._arm(geometry, label, schedule) for label, schedule in chosen.items()]
        return [control(self.train_switch(geometry)), *trained]

    # The search.

    @property
    def judged(self) -> tuple[int, ...]:
        """Winners are trained again in all units but the pilot."""
        return self.units[1:]

    def training(self, bench: Planned, arm: Arm, unit: int, seed: int | None = None) -> Training:
        """Scored once, at its end: nobody looks at these models' curves."""
        training = super().training(bench, arm, unit, seed)
        images, every = bench.dataset.sizes["select"], training.config.budget_images
        return replace(training, evaluate_images=min(SCORE_IMAGES, images), evaluate_every=every)

    def trial(self, bench: Planned, schedule: Schedule) -> Training:
        arm = self._arm(bench.geometry, "trial", schedule)
        return self.training(bench, arm, self.config.seed)

    def storage(self, bench: Prepared) -> Path:
        folder = self.config.run.workspace / self.folder_name
        return self.config.storage or folder / f"trials-{self._identity(bench)[:8]}.db"

    def _identity(self, bench: Prepared) -> str:
        """Digest of all that the results of trials depend on, but for how many there are."""
        from studies.searching.schedules import SPACE

        cell = bench.site.cell(self.trial(bench, Schedule.fixed(0.5)))
        return digest_of({"space": SPACE, "cell": cell.identity, "seed": self.config.seed})

    def explore(self, bench: Prepared, run: Run) -> FoundSchedules:
        from analysis.searches.schedules import trial_table, winners
        from studies.searching.schedules import PAPER, ScheduleSearch, importances_of

        geometry, seed, identity = bench.geometry, self.config.seed, self._identity(bench)
        search = ScheduleSearch.opened(self.storage(bench), identity=identity, seed=seed)

        def score(schedules: Sequence[Schedule]) -> list[tuple[float, float] | None]:
            trainings = [self.trial(bench, schedule) for schedule in schedules]
            # The longest first: workers that end at different times wait for the batch.
            ordered = sorted(set(trainings), key=lambda t: (-t.mean_flops(geometry), repr(t)))
            results = run(ordered)
            return [_scores(t.select_nll(results[t].values, geometry)) for t in trainings]

        search.check(score)
        ended = search.advance(self.config.trials, score)
        trials = tuple(self._facts(bench, trial) for trial in ended)
        return FoundSchedules(
            trials=trials,
            winners=winners(trial_table(trials, reference=PAPER)),
            importances=importances_of(ended, seed=seed),
        )

    def _facts(self, bench: Prepared, trial: FrozenTrial) -> TrialFacts:
        import numpy as np

        from studies.searching.schedules import schedule_of

        schedule = schedule_of(trial.params)
        full, subnets = trial.values or (None, None)
        return TrialFacts(
            number=trial.number,
            label=trial.user_attrs.get("label"),
            status="finished" if trial.values else "failed",
            parameters=trial.params,
            phases=schedule.phases,
            mean_share=schedule.mean_share,
            curve=tuple(schedule.share_at(np.linspace(0, 1, CURVE_POINTS)).tolist()),
            digest=bench.site.cell(self.trial(bench, schedule)).digest,
            full=full,
            subnets=subnets,
        )

    # What is measured on test images.

    def points(self, bench: Planned, found: FoundSchedules | None) -> Iterator[Point]:
        """The trials, and the models with fresh seeds with their plans."""
        yield from self._trial_points(bench, found)
        yield from super().points(bench, found)

    def _trial_points(self, bench: Planned, found: FoundSchedules | None) -> Iterator[Point]:
        from studies.searching.schedules import fixed_points, params_of, schedule_of

        most = self.config.trials
        trials: list[tuple[str | None, Mapping[str, float | str]]]
        if found is not None:
            trials = [(trial.label, trial.parameters) for trial in found.trials]
        else:  # what is proposed is not known; these cost about as much
            proposed = [Schedule.progressive(0.2 + 0.8 * i / most) for i in range(1, most)]
            trials = [(label, params_of(fixed)) for label, fixed in fixed_points().items()]
            trials += [(None, params_of(schedule)) for schedule in proposed]
        for number, (label, parameters) in enumerate(trials[:most]):
            name = f"trial {number}" + (f" ({label})" if label else "")
            schedule = schedule_of(parameters)
            training = self.trial(bench, schedule)
            columns = self._arm(bench.geometry, name, schedule).columns | {"family": "trial"}
            columns |= {"seed": self.config.seed, "unit": training.unit}
            columns |= {"budget_images": training.config.budget_images, **parameters}
            yield Point(name=name, task=training, columns=columns)

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        from studies.searching.schedules import fixed_points

        trials = [p for p in points if p.columns["family"] == "trial"]
        models = [p for p in points if p.columns["family"] == "training"]
        return [
            f"{len(trials)} trials of {trials[0].task.images:,} image passes: "
            f"{', '.join(list(fixed_points())[: len(trials)])}, and what TPE proposes",
            f"{len(models)} models of control, the paper's schedule and at most two winners, units "
            f"{','.join(map(str, self.judged))}",
        ]

    def facts(self, outcome: Outcome[FoundSchedules]) -> dict[str, Any]:
        from studies.searching.schedules import EVALUATOR, PAPER, SAMPLER

        bench = outcome.bench
        return super().facts(outcome) | {
            **vars(outcome.found),
            "reference": PAPER,
            "search_seed": self.config.seed,
            "score_images": self.trial(bench, Schedule.full()).evaluate_images,
            "importance_evaluator": EVALUATOR,
            "sampler": SAMPLER,
            "storage": str(self.storage(bench)),
        }


def _scores(by_depth: Mapping[int, float]) -> tuple[float, float] | None:
    """NLL of the full network, and the mean of its subnets'; None for a failed training's none."""
    if not by_depth:
        return None
    *subnets, full = by_depth.values()
    return full, fmean(subnets)


if __name__ == "__main__":
    main(ScheduleStudy, ScheduleConfig, __doc__)
