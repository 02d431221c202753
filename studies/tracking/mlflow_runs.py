"""The only module that knows MLflow: it writes runs and finds them again.

Import it late: `mlflow` takes two seconds. One experiment a study; a parent run is one config of
the study, its children are the cells. A study that is run again goes on in the same runs.
"""

import contextlib
import fcntl
import itertools
import json
import logging
import os
import re
import sqlite3
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from sqlalchemy import URL, Engine, event

from analysis.study_file import STATUSES
from studies.tracking.logged import Answer, LoggedCell, LoggedData, LoggedStudy
from varant.data import datasets
from varant.errors import UserError
from varant.files import locked, replacing

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
LOCK = ".mlflow.lock"  # of the database's writers
LIVING = ".mlflow"  # a file for each parent run whose process lives and has it locked
KIND, TRAINING = "mlflow.experimentKind", "custom_model_development"  # no GenAI
PARAM_CHARACTERS = 6000  # MLflow's limit on a parameter's value
BATCH_METRICS = 1000  # MLflow's limit on the metrics of one call
MOST_RUNS = 50_000  # MLflow's limit on the runs of one search
_NOT_THE_FILE = ("locked", "unable to open", "I/O error", "is full")  # SQLite's words

RUNNING, KILLED, FAILED, FINISHED = "RUNNING", "KILLED", "FAILED", "FINISHED"  # MLflow's words
_ENDED = dict(zip(STATUSES, (FINISHED, FAILED, FAILED, FAILED, KILLED, RUNNING), strict=True))


@dataclass(frozen=True, kw_only=True)
class StudyRecord:
    """The runs of one study config in the tracking database.

    Attributes:
        start_time: of the parent run, in milliseconds since 1970.
        living: the file that says that this process lives, open as long as it does.
        children: the cells' runs, by digest.
    """

    study: LoggedStudy
    client: MlflowClient
    experiment_id: str
    run_id: str
    start_time: int
    living: TextIO
    children: dict[str, Run] = field(default_factory=dict)

    def record_cell(self, cell: LoggedCell) -> None:
        """Write a cell as a child run; one that is there is brought up to date, nothing twice."""
        digest = cell.result.digest
        run = self.children.get(digest) or self._begun(digest) or self._begin(cell)
        run_id, start, known = run.info.run_id, run.info.start_time, run.data.metrics
        _log_input(self.client, run, self.study.data)
        new = {k: v for k, v in cell.metrics.items() if _metric_name(k) not in known}
        status = cell.result.status
        tags, ended = {"status": status, **cell.tags}, _ENDED[status]
        if not new and tags.items() <= run.data.tags.items() and run.info.status == ended:
            return
        # A point that is there, with its time, is not stored again.
        points = [
            Metric(_metric_name(name), float(value), start, images)
            for images, metrics in [(cell.images_seen, new), *cell.curve]
            for name, value in metrics.items()
        ]
        for i in range(0, len(points), BATCH_METRICS):
            self.client.log_batch(run_id, metrics=points[i : i + BATCH_METRICS])
        params = _params({**self.study.params, **cell.params})
        self.client.log_batch(run_id, params=params, tags=_tags(tags))
        if "error" in run.data.tags and "error" not in tags:
            self.client.delete_tag(run_id, "error")  # of a visit before this one
        end_time = start + int(1000 * cell.result.seconds)  # it lasts as long as the cell did
        self.client.set_terminated(run_id, ended, end_time=end_time)
        self.children[cell.result.digest] = self.client.get_run(run_id)

    def _begun(self, digest: str) -> Run | None:
        """The run that another process at the same study has begun since this one did."""
        wanted = f"tags.mlflow.parentRunId = '{self.run_id}' and tags.cell_digest = '{digest}'"
        found = self.client.search_runs([self.experiment_id], wanted, max_results=1)
        return found[0] if found else None

    def _begin(self, cell: LoggedCell) -> Run:
        run = self.client.create_run(
            self.experiment_id,
            run_name=cell.name,
            start_time=self.start_time + 1000 - cell.place,  # the page orders runs by their start
            tags={"mlflow.parentRunId": self.run_id, "cell_digest": cell.result.digest},
        )
        self.children[cell.result.digest] = run
        return run

    def finish(
        self, answer: Answer, spreads: Mapping[str, float], workspace: Path, *, failed: bool
    ) -> None:
        """Attach artifacts, facts and note; end the parent run.

        A study that was finished before keeps its metrics: each has one point, not one a visit.

        Args:
            spreads: metrics that follow from the cells; one that has changed gets a new point.
        """
        known, now = self.client.get_run(self.run_id).data.metrics, int(time.time() * 1000)
        own = {_metric_name(k): float(v) for k, v in answer.metrics.items()}
        new = {k: v for k, v in own.items() if k not in known}
        named = {_metric_name(k): float(v) for k, v in spreads.items()}
        new |= {k: v for k, v in named.items() if known.get(k) != v}
        points = [Metric(name, value, now, 0) for name, value in new.items()]
        for i in range(0, len(points), BATCH_METRICS):
            self.client.log_batch(self.run_id, metrics=points[i : i + BATCH_METRICS])
        self.client.log_batch(self.run_id, tags=_tags(answer.tags))
        for folder, files in answer.artifacts.items():
            for file in files:
                self.client.log_artifact(self.run_id, str(workspace / file), folder or None)
        self.client.set_tag(self.run_id, "mlflow.note.content", answer.note)
        self.client.set_terminated(self.run_id, FAILED if failed else FINISHED)

    def interrupt(self) -> None:
        """End the parent run as killed, unless it has ended; the next invocation goes on in it."""
        for run in self.children.values():
            if run.info.status == RUNNING:
                self.client.set_terminated(run.info.run_id, KILLED)
        if self.client.get_run(self.run_id).info.status == RUNNING:
            self.client.set_terminated(self.run_id, KILLED)


def open_study(workspace: Path, study: LoggedStudy) -> StudyRecord:
    """The record of a study config: its parent run, found by the digest or begun.

    Parent runs whose process is dead are closed as killed.
    """
    _hush()
    with locked(workspace / LOCK):
        return _opened_study(workspace, study)


def _opened_study(workspace: Path, study: LoggedStudy) -> StudyRecord:
    client = _opened(workspace / DATABASE)
    experiment = client.get_experiment_by_name(study.experiment)
    if experiment is None:
        artifacts = (workspace / ARTIFACTS / study.experiment).resolve().as_uri()
        kind = {KIND: TRAINING}
        experiment_id = client.create_experiment(study.experiment, artifacts, tags=kind)
    else:
        experiment_id = experiment.experiment_id
        if KIND not in experiment.tags:  # of an older version, or begun by hand
            client.set_experiment_tag(experiment_id, KIND, TRAINING)
    _close_dead(client, workspace / LIVING)
    same_config = f"tags.config_digest = '{study.config_digest}'"
    found = client.search_runs([experiment_id], same_config, max_results=1)
    if found:
        run = found[0]
        client.update_run(run.info.run_id, status=RUNNING)
    else:
        named = f"QUICK {study.run_name}" if study.quick else study.run_name
        source = f"studies.{study.tags['study']}"
        own_tags = {"config_digest": study.config_digest, "mlflow.source.name": source}
        run = client.create_run(experiment_id, run_name=named, tags=study.tags | own_tags)
    client.log_batch(run.info.run_id, params=_params(study.params))
    _log_input(client, run, study.data)
    of_parent = f"tags.mlflow.parentRunId = '{run.info.run_id}'"
    children = client.search_runs([experiment_id], of_parent, max_results=MOST_RUNS)
    living = (workspace / LIVING / run.info.run_id).open("w")
    fcntl.flock(living, fcntl.LOCK_SH)  # others may be at the same study
    return StudyRecord(
        study=study,
        living=living,
        client=client,
        experiment_id=experiment_id,
        run_id=run.info.run_id,
        start_time=run.info.start_time,
        children={child.data.tags["cell_digest"]: child for child in children},
    )


def _hush() -> None:
    """What goes wrong is said in one line of ours; MLflow and SQLAlchemy would print tracebacks."""
    warnings.filterwarnings("ignore", module=r"(mlflow|alembic|sqlalchemy)\b")
    for name in ("alembic", "mlflow", "sqlalchemy"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [logging.NullHandler()], False


def _opened(path: Path) -> MlflowClient:
    """A client of the database, which is made whole or not at all.

    One that is damaged, half-made or of another version of MLflow is set aside: it is a mirror.
    """
    if path.exists() and not _is_whole(path):
        kept = _free_name(path, "damaged")
        path.rename(kept)
        print(
            f"warning: MLflow: {path} was damaged, half-made or of another version, and is now "
            f"{kept.name}; this study is mirrored anew, others by "
            f"python -m studies.tracking {path.parent}",
            file=sys.stderr,
        )
    if not path.exists():
        with replacing(path) as aside, _unsynced(aside):
            _client_of(aside)
    return _client_of(path)


@contextlib.contextmanager
def _unsynced(path: Path) -> Iterator[None]:
    """SQLite waits for no disk with this database, whoever else opens one: MLflow makes its tables
    in 300 commits, of a file that is synced as a whole before it has its name."""

    def connected(connection: sqlite3.Connection, record: object) -> None:
        _, _, file = connection.execute("pragma database_list").fetchone()
        if file and path.samefile(file):
            connection.execute("pragma synchronous = off")

    event.listen(Engine, "connect", connected)
    try:
        yield
    finally:
        event.remove(Engine, "connect", connected)


def _free_name(path: Path, word: str) -> Path:
    names = (path.with_name(f"{path.name}.{word}-{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def _is_whole(path: Path) -> bool:
    """Whether MLflow can use the database; raises what is the machine's trouble, not the file's."""
    reading = f"{path.resolve().as_uri()}?mode=ro"
    try:
        with contextlib.closing(sqlite3.connect(reading, uri=True)) as database:
            sound = database.execute("pragma quick_check").fetchall() == [("ok",)]
            database.execute("select version_num from alembic_version")
        if sound:  # opening what is not takes MLflow ten tries and minutes
            _client_of(path)
        return sound
    except Exception as error:  # of SQLite, SQLAlchemy and MLflow, without a common base
        if any(trouble in str(error) for trouble in _NOT_THE_FILE):
            raise
        return False


def _client_of(path: Path) -> MlflowClient:
    """A client of a database, whatever characters its path has."""
    uri = URL.create("sqlite", database=str(path.resolve())).render_as_string()
    client = MlflowClient(uri)
    client.search_experiments(max_results=1)
    # MLflow makes the folder that the URL names when its escapes are taken literally.
    stray = Path(uri.removeprefix("sqlite:///")).parent
    if stray != path.resolve().parent:
        with contextlib.suppress(OSError):
            os.removedirs(stray)
    return client


def set_aside(workspace: Path) -> Path | None:
    """Rename the database, so that it is made anew; where to, None where there is none.

    Raises:
        UserError: a study is running in the workspace.
    """
    with locked(workspace / LOCK):
        _forget_dead(workspace / LIVING)
        if any((workspace / LIVING).iterdir()):
            raise UserError(f"{workspace}: a study is running there; wait for its end")
        path = workspace / DATABASE
        if not path.exists():
            return None
        kept = _free_name(path, "before")
        path.rename(kept)
        return kept


def _forget_dead(living: Path) -> None:
    """Remove the files of parent runs whose process is dead."""
    living.mkdir(exist_ok=True)
    for path in living.iterdir():
        with path.open() as file, contextlib.suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def _close_dead(client: MlflowClient, living: Path) -> None:
    """End as killed what runs in no living process: one that was killed, or lost its machine."""
    _forget_dead(living)
    experiments = [found.experiment_id for found in client.search_experiments()]
    running = f"attributes.status = '{RUNNING}'"
    for run in client.search_runs(experiments, running, max_results=MOST_RUNS):
        parent = run.data.tags.get("mlflow.parentRunId", run.info.run_id)
        ours = {"config_digest", "cell_digest"} & run.data.tags.keys()
        if ours and not (living / parent).exists():
            client.set_terminated(run.info.run_id, KILLED)


def _metric_name(name: str) -> str:
    """The name as MLflow takes it: plans have an @, damages a %, schedules brackets."""
    return re.sub(r"[^\w/.\- :]", "", name.replace("@", " at ").replace("%", " percent"))


def _params(params: Mapping[str, object]) -> list[Param]:
    return [Param(k, str(v)[:PARAM_CHARACTERS]) for k, v in params.items()]


def _tags(tags: Mapping[str, object]) -> list[RunTag]:
    return [RunTag(k, str(v)) for k, v in tags.items()]


def _log_input(client: MlflowClient, run: Run, data: LoggedData | None) -> None:
    """The data, unless the run has them: a study may be killed between a run's start and this."""
    if data is None or (run.inputs and run.inputs.dataset_inputs):
        return
    entity = Dataset(
        name=data.name,
        digest=data.digest[:16],
        source_type="embedded",
        source=json.dumps({"source": f"{datasets.__name__}.load_dataset({data.name!r})"}),
        profile=json.dumps({"images": data.images}),
    )
    tag = InputTag("mlflow.data.context", "evaluation")
    client.log_inputs(run.info.run_id, datasets=[DatasetInput(entity, tags=[tag])])
