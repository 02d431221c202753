"""Which training schedule? The ratios of the progressive schedule, by adaptive search.

    python -m studies.schedule --trials 24 --budget 20k --workers 2

Searches start share, end share, shape of the ramp and the lengths of the three phases with Optuna
(TPE, two objectives: NLL of the full network and mean NLL of the subnets, on select images), from
one base network with one budget a trial. The paper's 2:8 -> 10:0 over 5:15:10, fixed shares and the
reversed schedule are trials of their own. Then the winners and the paper's point are trained again
with fresh seeds and measured on test images: what the search saw is never the result.

The search lives in a SQLite file of the study's folder: kill it anywhere and run it again, no trial
is lost or repeated; a larger --trials goes on with it.

Cost on two idle cores with --workers 2 and the base in the workspace: 13 to 15 minutes. Expect
shares that trade the full network for subnets, and an order in time that matters beside them.
"""

from __future__ import annotations

import importlib.util
import shlex
import sqlite3
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import optuna
import tyro
from optuna.trial import FrozenTrial, TrialState

from analysis.searches.schedules import PAPER, PARAMETERS, trial_table, winners
from studies.cells.cell import Cell
from studies.cells.result import FINISHED, CellResult
from studies.cells.training import TrainingCell
from studies.grid.bench import Bench
from studies.grid.point import Outcome, Point, Results
from studies.supernets import Arm, SupernetFlags, SupernetStudy
from varant.errors import UserError, exit_codes, one_line, require_count
from varant.files import digest_of
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.randomness import stream
from varant.store.workspace import Workspace
from varant.training.schedule import PAPER_PHASES, PAPER_SHARES, RAMPS, Schedule

SPACE = 1  # raise it when parameters or objectives change their meaning
STUDY_NAME = "schedule"
BATCH = 4  # trials asked for at once: fixed, so that a search is the same whatever the workers
STARTUP = 10  # trials, fixed points included, before TPE looks at what they gave
SCORE_IMAGES = 1_000  # select images of a trial's score
CURVE_POINTS = 61  # of a schedule's curve, over training progress from 0 to 1
FORESTS, TREES = 10, 64  # of the importance evaluator
FIXED_SHARES = {"fixed 0.1": 0.1, "fixed 0.5": 0.5, "fixed 2/3": 2 / 3, "fixed 1": 1.0}
START, END, FIRST, RAMP, SHAPE = PARAMETERS


@dataclass(frozen=True, kw_only=True)
class ScheduleFlags(SupernetFlags):
    """Flags of the study."""

    budget: str = "20k"
    """Image passes of each model, such as 20k, 1.5M or 2e5."""
    seeds: str = "1,2,3"
    """Fresh training seeds of the winners and of the paper's point; trials train with --seed."""
    trials: int = 24
    """Schedules to try, the fixed points among them."""
    train_switch: int | None = None
    """Switch point that models are trained for; default: six tenths of the scales."""
    storage: Path | None = None
    """SQLite file of the search; default: in the study's folder, one for each config."""


def schedule_of(params: dict) -> Schedule:
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


def params_of(schedule: Schedule) -> dict:
    """The parameters of a schedule: the inverse of `schedule_of`, but for fixed ones' phases."""
    first, ramp, _ = schedule.phases
    return {
        START: schedule.start_share,
        END: schedule.end_share,
        FIRST: first,
        RAMP: ramp / (1 - first),
        SHAPE: schedule.ramp,
    }


def fixed_points() -> dict[str, dict]:
    """Trials that are made whatever the sampler proposes, by label; the paper's first."""
    points = {PAPER: Schedule.progressive(*PAPER_SHARES, PAPER_PHASES)}
    points |= {label: Schedule.fixed(share) for label, share in FIXED_SHARES.items()}
    points["reversed"] = Schedule.reversed(*PAPER_SHARES, PAPER_PHASES)
    return {label: params_of(schedule) for label, schedule in points.items()}


class ScheduleSearch(SupernetStudy):
    """Searches schedules, and trains those that win again."""

    name = "schedule"
    question = (
        "Which ratios of the progressive schedule give the best full network and the best subnets "
        "for one training budget, and is any better than the paper's? Schedules are searched on "
        "select images; the winners are trained again with fresh seeds and measured on test images."
    )
    flags: ScheduleFlags

    def __init__(self, flags: ScheduleFlags, command: str = "") -> None:
        super().__init__(flags, command)
        self.trials: list[dict] = []
        self.importances: dict[str, dict[str, dict[str, float]]] = {}

    def quick_flags(self, flags: ScheduleFlags) -> ScheduleFlags:
        quick, defaults = super().quick_flags(flags), ScheduleFlags()
        if flags.trials == defaults.trials:
            quick = replace(quick, trials=8)
        if flags.seeds == defaults.seeds:
            quick = replace(quick, seeds="1,2")
        return quick

    def check(self, bench: Bench) -> None:
        require_count("--trials", self.flags.trials)
        if importlib.util.find_spec("sklearn") is None:
            raise UserError(
                "studies.schedule: importances need scikit-learn; pip install 'varant[schedule]'"
            )
        if self.flags.seed in self.seeds:
            raise UserError(
                f"--seeds {self.flags.seeds}: {self.flags.seed} is the seed that trials train "
                "with; give fresh ones"
            )
        if self.flags.storage is not None:
            _check_storage(self.flags.storage)
        super().check(bench)

    def train_switch(self, geometry: Geometry) -> int:
        scales, switch = len(geometry.patch_nums), self.flags.train_switch
        if switch is None:
            return round(0.6 * scales)
        if not 0 <= switch < scales:
            raise UserError(
                f"--train-switch {switch}: the network has {scales} scales; use 0 to {scales - 1}"
            )
        return switch

    def _arm(self, geometry: Geometry, label: str, schedule: Schedule) -> Arm:
        return Arm(
            label=label,
            kind=schedule.name,
            share=schedule.start_share if schedule.name == "fixed" else None,
            selector="equidistant",
            switch=self.train_switch(geometry),
            schedule=schedule,
        )

    def arms(self, geometry: Geometry) -> list[Arm]:
        """The schedules that are trained with fresh seeds: the paper's, and the winners."""
        by_number = {trial["number"]: trial for trial in self.trials}
        chosen = {PAPER: Schedule.progressive(*PAPER_SHARES, PAPER_PHASES)}
        for name, number in winners(trial_table(self.trials)).items():
            chosen[name] = schedule_of(by_number[number])
        return [self._arm(geometry, label, schedule) for label, schedule in chosen.items()]

    # The search.

    def training_cell(self, bench: Bench, arm: Arm, seed: int) -> TrainingCell:
        """Scored once, at its end: nobody looks at these models' curves."""
        cell = super().training_cell(bench, arm, seed)
        return replace(
            cell,
            evaluate_images=min(SCORE_IMAGES, bench.dataset.sizes["select"]),
            evaluate_every=cell.training.budget_images,
        )

    def trial_cell(self, bench: Bench, schedule: Schedule) -> TrainingCell:
        """A trial's training."""
        return self.training_cell(bench, self._arm(bench.geometry, "", schedule), self.flags.seed)

    def _identity(self, bench: Bench) -> str:
        """Digest of all that the results of trials depend on, but for how many there are."""
        cell = self.trial_cell(bench, Schedule.fixed(0.5))
        return digest_of({"space": SPACE, "cell": cell.identity, "seed": self.flags.seed})

    def storage(self, bench: Bench) -> Path:
        if self.flags.storage is not None:
            return self.flags.storage
        folder = Workspace(folder=self.flags.workspace).study(self.folder_name)
        return folder / f"trials-{self._identity(bench)[:8]}.db"

    def explore(self, bench: Bench, run: Callable[[Sequence[Cell]], Results]) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        path = self.storage(bench)
        path.parent.mkdir(parents=True, exist_ok=True)
        search = open_search(path, self._identity(bench))
        for label, params in fixed_points().items():
            search.enqueue_trial(params, user_attrs={"label": label}, skip_if_exists=True)
        while True:
            made = [t for t in search.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
            open_ = [t.number for t in made if not t.state.is_finished()]
            first = min(open_, default=len(made))
            if first >= self.flags.trials:
                break
            # A batch is asked for as a whole before any of it is told: what the sampler knew when
            # it proposed a trial does not depend on where a search was stopped.
            end = min(BATCH * (first // BATCH + 1), self.flags.trials)
            self._ask(search, end)
            batch = [t for t in search.get_trials() if first <= t.number < end]
            self._tell(bench, search, [t for t in batch if not t.state.is_finished()], run)
        found = [
            t for t in search.get_trials() if t.number < self.flags.trials and t.state.is_finished()
        ]
        self.trials = [self._facts_of(bench, trial) for trial in found]
        self.importances = importances_of(found, seed=self.flags.seed)

    def _ask(self, search: optuna.Study, end: int) -> None:
        """Trials up to number `end` with all of their parameters."""
        asked = [t for t in search.get_trials() if t.state == TrialState.RUNNING]
        for trial in asked:  # a killed search may have left one half proposed
            if len(trial.params) < len(PARAMETERS):
                search.sampler = self._sampler(trial.number)
                _propose(optuna.trial.Trial(search, trial._trial_id))
        while True:
            made = [t for t in search.get_trials(deepcopy=False) if t.state != TrialState.WAITING]
            if len(made) >= end:
                return
            search.sampler = self._sampler(len(made))
            _propose(search.ask())

    def _sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """A sampler for one trial, so that proposals do not depend on who asked before."""
        seed = int(stream(self.flags.seed, "schedule search", number).integers(2**31))
        return optuna.samplers.TPESampler(n_startup_trials=STARTUP, multivariate=True, seed=seed)

    def _tell(
        self,
        bench: Bench,
        search: optuna.Study,
        trials: Sequence[FrozenTrial],
        run: Callable[[Sequence[Cell]], Results],
    ) -> None:
        cells = {t.number: self.trial_cell(bench, schedule_of(t.params)) for t in trials}
        distinct = {cell.digest: cell for cell in cells.values()}.values()
        # The longest first: workers that end at different times wait for the batch.
        results = run(sorted(distinct, key=lambda c: -c.mean_flops(bench.geometry)))
        for trial in trials:
            result = results[cells[trial.number].digest]
            if result.status == FINISHED:
                search.tell(trial.number, self._objectives(result), skip_if_finished=True)
            else:
                search.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)

    def _objectives(self, result: CellResult) -> tuple[float, float]:
        """NLL of the full network, and the mean of its subnets', on select images."""
        values = {
            name.rsplit("/", 1)[1]: found.values[0]
            for name, found in result.metrics.items()
            if name.startswith("select/nll/mean/")
        }
        full = values.pop("full")
        return full, fmean(values.values())

    def _facts_of(self, bench: Bench, trial: FrozenTrial) -> dict:
        """A trial for `study.json`."""
        schedule = schedule_of(trial.params)
        facts = {
            "number": trial.number,
            "label": trial.user_attrs.get("label"),
            "status": "finished" if trial.state == TrialState.COMPLETE else "failed",
            "phases": list(schedule.phases),
            "mean_share": schedule.mean_share,
            "curve": [float(p) for p in schedule.share_at(np.linspace(0, 1, CURVE_POINTS))],
            "digest": self.trial_cell(bench, schedule).digest,
        }
        facts |= {name: trial.params[name] for name in PARAMETERS}
        if trial.values is not None:
            facts |= {"full": trial.values[0], "subnets": trial.values[1]}
        return facts

    # What is measured on test images.

    def points(self, bench: Bench) -> list[Point]:
        """The trials, and the models with fresh seeds with their plans."""
        points = self._trial_points(bench)
        arms = self.arms(bench.geometry)
        if not bench.made:  # winners are not known; these cost about as much
            arms += [
                self._arm(bench.geometry, f"winner {i}", Schedule.progressive(0.2 + 0.01 * i))
                for i in (1, 2)
            ]
        switch = self.train_switch(bench.geometry)
        for seed in self.seeds:
            for arm in arms:
                points += [
                    point
                    for point in self.model_points(bench, arm, seed, ["equidistant"])
                    if not point.in_frame or point.columns.get("switch") in (None, switch)
                ]
        return points

    def _trial_points(self, bench: Bench) -> list[Point]:
        trials = self.trials
        if not bench.made:
            params = [*fixed_points().items()]
            params += [
                (None, params_of(Schedule.progressive(0.2 + 0.001 * i)))
                for i in range(1, self.flags.trials)
            ]
            trials = [
                {"number": i, "label": label, **found}
                for i, (label, found) in enumerate(params[: self.flags.trials])
            ]
        points = []
        for trial in trials:
            name = f"trial {trial['number']}" + (f" ({trial['label']})" if trial["label"] else "")
            cell = self.trial_cell(bench, schedule_of(trial))
            columns = {
                "schedule": name,
                "seed": self.flags.seed,
                "family": "trial",
                "train_switch": self.train_switch(bench.geometry),
                "base_seed": bench.networks[0].base_seed,
                "budget_images": cell.training.budget_images,
            } | {key: trial[key] for key in PARAMETERS}
            points.append(Point(name=name, cell=cell, columns=columns))
        return points

    def grid_lines(self, points: Sequence[Point]) -> list[str]:
        trials = [p for p in points if p.columns["family"] == "trial"]
        models = [p for p in points if p.columns["family"] == "training"]
        return [
            f"{len(trials)} trials of {trials[0].cell.images:,} image passes: "
            f"{', '.join(list(fixed_points())[: len(trials)])}, and what TPE proposes",
            f"{len(models)} models of the paper's schedule and at most two winners, seeds "
            f"{self.flags.seeds}",
        ]

    def sheet(self, outcome: Outcome) -> list[tuple[str, Point]]:
        """Full network and shallowest subnet of every retrained schedule, first seed."""
        geometry = outcome.bench.geometry
        depth, switch = self.depths(geometry)[0], self.train_switch(geometry)
        return [
            (f"{p.columns['schedule']} {p.columns['cell']}", p)
            for p in outcome.points
            if p.in_frame
            and p.columns["seed"] == self.seeds[0]
            and p.columns["cell"] in ("full", f"d{depth}@{switch}")
        ]

    def facts(self, outcome: Outcome) -> dict:
        shared = super().facts(outcome)
        geometry = outcome.bench.geometry
        switch = self.train_switch(geometry)
        trained = {arm.label for arm in self.arms(geometry)}
        return shared | {
            "models": [m for m in shared["models"] if m["schedule"] in trained],
            "selectors": ["equidistant"],
            "train_switch": switch,
            "subnets": [
                DepthPlan.two_zone(
                    geometry.patch_nums, geometry.depth, subnet_depth=depth, switch=switch
                ).name
                for depth in self.depths(geometry)
            ],
            "search_seed": self.flags.seed,
            "score_images": min(SCORE_IMAGES, outcome.bench.dataset.sizes["select"]),
            "trials": self.trials,
            "winners": winners(trial_table(self.trials)),
            "importances": self.importances,
            "importance_evaluator": f"fANOVA of {TREES} trees, {FORESTS} forests",
            "sampler": f"TPE (multivariate, {STARTUP} startup trials)",
            "storage": str(self.storage(outcome.bench)),
        }


def _propose(trial: optuna.Trial) -> None:
    """Give a trial its parameters; those that it has stay."""
    trial.suggest_float(START, 0.0, 1.0)
    trial.suggest_float(END, 0.0, 1.0)
    trial.suggest_float(FIRST, 0.0, 0.8)
    trial.suggest_float(RAMP, 0.0, 1.0)
    trial.suggest_categorical(SHAPE, RAMPS)


def _check_storage(path: Path) -> None:
    """Raise `UserError` for a file that is there and no storage of ours; writes nothing."""
    wrong = UserError(f"--storage {path}: not a storage of a schedule search; name another file")
    if not path.exists():
        return
    if not path.is_file():
        raise wrong
    try:
        connection = sqlite3.connect(f"file:{path.resolve()}?mode=ro", uri=True)
        try:
            rows = connection.execute("select study_name from studies").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        raise wrong from None
    if [name for (name,) in rows] not in ([], [STUDY_NAME]):
        raise wrong


def open_search(path: Path, identity: str) -> optuna.Study:
    """The search in this file, begun if there is none.

    Raises:
        UserError: a file that cannot be used, or that holds the search of another config.
    """
    _check_storage(path)
    try:
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        search = optuna.create_study(
            study_name=STUDY_NAME,
            storage=storage,
            directions=["minimize", "minimize"],
            load_if_exists=True,
        )
        known = search.user_attrs.get("identity")
        if known is None and not search.get_trials(deepcopy=False):
            search.set_user_attr("identity", identity)
            known = identity
    except UserError:
        raise
    except Exception as error:  # of SQLAlchemy, SQLite and Optuna, all without a common base
        raise UserError(f"--storage {path}: cannot be used ({one_line(error)[:160]})") from None
    if known != identity:
        raise UserError(
            f"--storage {path}: holds the search of another study (its digest is "
            f"{str(known)[:8]}, this one's {identity[:8]}); name another file, or run with the "
            "flags that it was begun with"
        )
    return search


def importances_of(
    trials: Sequence[FrozenTrial], *, seed: int
) -> dict[str, dict[str, dict[str, float]]]:
    """Objective to parameter to `mean` and `sd` over forests of its fANOVA importance.

    The share of an objective's variance over the space that a parameter explains alone, estimated
    by forests on few trials: the spread over forests says how little that may be worth. Empty for
    fewer than ten trials.

    Source: F. Hutter, H. Hoos, K. Leyton-Brown, ICML 2014.
    """
    scored = [t for t in trials if t.state == TrialState.COMPLETE]
    if len(scored) < STARTUP:
        return {}
    study = optuna.create_study(directions=["minimize", "minimize"])
    study.add_trials(scored)
    found: dict[str, dict[str, dict[str, float]]] = {}
    for i, objective in enumerate(("full", "subnets")):
        drawn = [
            optuna.importance.get_param_importances(
                study,
                evaluator=optuna.importance.FanovaImportanceEvaluator(
                    n_trees=TREES, seed=seed + forest
                ),
                target=lambda trial, i=i: trial.values[i],
            )
            for forest in range(FORESTS)
        ]
        found[objective] = {
            name: {
                "mean": fmean(one[name] for one in drawn),
                "sd": stdev(one[name] for one in drawn),
            }
            for name in PARAMETERS
        }
    return found


def main(flags: ScheduleFlags, command: str = "") -> None:
    """Run the study."""
    ScheduleSearch(flags, command).run()


if __name__ == "__main__":
    with exit_codes():
        chosen = tyro.cli(ScheduleFlags, description=__doc__)
        main(chosen, "python -m studies.schedule " + shlex.join(sys.argv[1:]))
