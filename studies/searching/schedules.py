"""The adaptive search of `studies.schedule`: Optuna proposes, trials are scored in batches.

The search is a SQLite file. A batch of trials is proposed as a whole before any of it is told, and
each trial has a sampler of its own: what is proposed does not depend on where a search was stopped.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from analysis.search_file import Importance
from analysis.searches.schedules import END, FIRST, OBJECTIVES, PARAMETERS, RAMP, SHAPE, START
from analysis.study_file import Zone
from varant.errors import UserError, one_line
from varant.randomness import stream
from varant.training.schedule import PAPER_PHASES, PAPER_SHARES, RAMPS, Schedule
from varant.values import show_number

SPACE = 1  # raise it when parameters or objectives change their meaning
STUDY_NAME = "schedule"
BATCH = 4  # trials asked for at once: fixed, so that a search is the same whatever the workers
STARTUP = 10  # trials, fixed points included, before TPE looks at what they gave
FORESTS, TREES = 10, 64  # of the importance evaluator
PAPER = "paper"
FIXED_SHARES = (0.1, 0.5, 2 / 3, 1.0)
SAMPLER = f"TPE (multivariate, {STARTUP} startup trials)"
EVALUATOR = f"fANOVA of {TREES} trees, {FORESTS} forests"

Importances = Mapping[Zone, Mapping[str, Importance]]
Scores = tuple[float, float]  # NLL of the full network, and the mean of its subnets'
Score = Callable[[Sequence[Schedule]], Sequence[Scores | None]]


def schedule_of(params: Mapping[str, Any]) -> Schedule:
    """The schedule of a trial's parameters; `ramp of the rest` is what the first phase leaves."""
    start, end, first = params[START], params[END], params[FIRST]
    if start == end:
        return Schedule.fixed(start)
    ramp = params[RAMP] * (1 - first)
    return Schedule(
        name="progressive" if start < end else "reversed",
        start_share=start,
        end_share=end,
        phases=(first, ramp, 1 - first - ramp),
        ramp=params[SHAPE],
    )


def params_of(schedule: Schedule) -> dict[str, float | str]:
    """The parameters of a schedule: the inverse of `schedule_of`, but for fixed ones' phases."""
    first, ramp, _ = schedule.phases
    return {
        START: schedule.start_share,
        END: schedule.end_share,
        FIRST: first,
        RAMP: ramp / (1 - first),
        SHAPE: schedule.ramp,
    }


def fixed_points() -> dict[str, Schedule]:
    """Trials that are made whatever the sampler proposes, by label; the paper's first."""
    paper = Schedule.progressive(*PAPER_SHARES, PAPER_PHASES)
    fixed = {f"fixed {show_number(share)}": Schedule.fixed(share) for share in FIXED_SHARES}
    return {PAPER: paper, **fixed, "reversed": paper.reversed()}


def check_storage(path: Path) -> None:
    """Raise `UserError` for a file that is there and no storage of ours; writes nothing."""
    wrong = UserError(f"--storage {path}: not a storage of a schedule search; name another file")
    if not path.exists():
        return
    try:
        opened = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        with contextlib.closing(opened) as connection:
            rows = connection.execute("select study_name from studies").fetchall()
    except sqlite3.Error:
        raise wrong from None
    if [name for (name,) in rows] not in ([], [STUDY_NAME]):
        raise wrong


@dataclass(frozen=True, kw_only=True)
class ScheduleSearch:
    """A search in its file.

    Attributes:
        seed: of the proposals.
    """

    path: Path
    study: optuna.Study
    storage: optuna.storages.BaseStorage
    seed: int

    @classmethod
    def opened(cls, path: Path, *, identity: str, seed: int) -> ScheduleSearch:
        """The search in this file, begun with the fixed points if there is none; `UserError` for a
        file that cannot be used, or that holds the search of another config."""
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
            study = optuna.create_study(
                study_name=STUDY_NAME,
                storage=storage,
                directions=["minimize"] * len(OBJECTIVES),
                load_if_exists=True,
            )
            known = study.user_attrs.get("identity")
            if known is None and not study.get_trials(deepcopy=False):
                study.set_user_attr("identity", identity)
                known = identity
        except Exception as error:  # of SQLAlchemy, SQLite and Optuna, all without a common base
            raise UserError(f"--storage {path}: cannot be used ({one_line(error)[:160]})") from None
        if known != identity:
            raise UserError(
                f"--storage {path}: holds the search of another study (its digest is "
                f"{str(known)[:8]}, this one's {identity[:8]}); name another file, or run with the "
                "flags that it was begun with"
            )
        for label, schedule in fixed_points().items():
            named = {"label": label}
            study.enqueue_trial(params_of(schedule), user_attrs=named, skip_if_exists=True)
        return cls(path=path, study=study, storage=storage, seed=seed)

    def check(self, score: Score) -> None:
        """Raise `UserError` where a trial was told other objectives than its training's result."""
        told = [trial for trial in self._made() if trial.values]
        found = score([schedule_of(trial.params) for trial in told])
        for trial, scores in zip(told, found, strict=True):
            if scores != tuple(trial.values):
                raise UserError(
                    f"--storage {self.path}: trial {trial.number} is told {trial.values}, the "
                    f"result of its training is {scores}; delete this file and run again: the "
                    "search is made again from the results that are there"
                )

    def advance(self, trials: int, score: Score) -> list[FrozenTrial]:
        """Go on until so many trials have ended; they are returned.

        Args:
            score: gives the objectives of schedules, None for one whose training did not finish.
        """
        while True:
            made = self._made()
            first = next((t.number for t in made if not t.state.is_finished()), len(made))
            if first >= trials:
                return made[:trials]
            end = min(BATCH * (first // BATCH + 1), trials)
            for number in range(first, end):
                self._ask(number)
            batch = [trial for trial in self._made()[first:end] if not trial.state.is_finished()]
            scores = score([schedule_of(trial.params) for trial in batch])
            for trial, found in zip(batch, scores, strict=True):
                state = TrialState.FAIL if found is None else None
                self.study.tell(trial.number, found, state=state, skip_if_finished=True)

    def _made(self) -> list[FrozenTrial]:
        """Trials that were asked for, by number; enqueued ones are not yet."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state != TrialState.WAITING]

    def _ask(self, number: int) -> None:
        """Give a trial all of its parameters; those that it has stay."""
        # A sampler for one trial, so that proposals do not depend on who asked before.
        seed = int(stream(self.seed, "schedule search", number).integers(2**31))
        self.study.sampler = optuna.samplers.TPESampler(
            n_startup_trials=STARTUP, multivariate=True, seed=seed
        )
        if number == len(self._made()):
            trial = self.study.ask()
        else:  # a killed search may have left it half proposed
            search = self.storage.get_study_id_from_name(STUDY_NAME)
            known = self.storage.get_trial_id_from_study_id_trial_number(search, number)
            trial = optuna.Trial(self.study, known)
        for name, most in ((START, 1.0), (END, 1.0), (FIRST, 0.8), (RAMP, 1.0)):
            trial.suggest_float(name, 0.0, most)
        trial.suggest_categorical(SHAPE, RAMPS)


def importances_of(trials: Sequence[FrozenTrial], *, seed: int) -> Importances:
    """Objective to parameter to its fANOVA importance, over forests.

    The share of an objective's variance over the space that a parameter explains alone, estimated
    by forests on few trials: the spread over forests says how little that may be worth. Empty for
    fewer than ten trials.

    Source: F. Hutter, H. Hoos, K. Leyton-Brown, ICML 2014.
    """
    scored = [t for t in trials if t.state == TrialState.COMPLETE]
    if len(scored) < STARTUP:
        return {}
    study = optuna.create_study(directions=["minimize"] * len(OBJECTIVES))
    study.add_trials(scored)
    fanova = optuna.importance.FanovaImportanceEvaluator
    forests = [fanova(n_trees=TREES, seed=seed + forest) for forest in range(FORESTS)]
    found: dict[Zone, dict[str, Importance]] = {}
    for i, objective in enumerate(OBJECTIVES):

        def objective_of(trial: FrozenTrial, i: int = i) -> float:
            return float(trial.values[i])

        drawn = [
            optuna.importance.get_param_importances(study, evaluator=forest, target=objective_of)
            for forest in forests
        ]
        values = {name: [one[name] for one in drawn] for name in PARAMETERS}
        found[objective] = {k: Importance(mean=fmean(v), sd=stdev(v)) for k, v in values.items()}
    return found
