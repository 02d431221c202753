"""The only module that knows MLflow: it writes runs and finds them again.

Import it late: `mlflow` takes two seconds. One experiment a study; a parent run is one config of
the study, its children are the cells. A study that is run again goes on in the same runs.
"""

from __future__ import annotations

import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunStatus, RunTag

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
PARAM_CHARACTERS = 6000  # MLflow's limit on a parameter's value
BATCH_METRICS = 1000  # MLflow's limit on the metrics of one call

_ENDED = {
    "finished": RunStatus.FINISHED,
    "failed": RunStatus.FAILED,
    "diverged": RunStatus.FAILED,
    "interrupted": RunStatus.KILLED,
}


@dataclass(frozen=True, kw_only=True)
class LoggedDataset:
    """A data set as MLflow shows it."""

    name: str
    digest: str
    source: str
    images: int


@dataclass(kw_only=True)
class StudyRecord:
    """The runs of one study config in the tracking database."""

    client: MlflowClient
    experiment_id: str
    run_id: str
    start_time: int  # milliseconds since 1970
    shared_params: dict[str, str]
    children: dict[str, Run] = field(default_factory=dict)

    def record_cell(
        self,
        *,
        digest: str,
        name: str,
        place: int,
        status: str,
        params: Mapping[str, object],
        metrics: Mapping[str, float],
        curve: Sequence[tuple[int, Mapping[str, float]]],
        images_seen: int,
        tags: Mapping[str, str],
        dataset: LoggedDataset,
        seconds: float,
    ) -> None:
        """Write a cell as a child run; one that is there is brought up to date, nothing twice.

        Metrics are logged against the images that the network had seen in training, and so is the
        `curve`: points of (images seen, metrics). The run lasts as long as the cell did, from a
        start that puts it at its `place` in the grid: the page orders runs by their start.
        """
        metrics = {_metric_name(k): v for k, v in metrics.items()}
        curve = [(i, {_metric_name(k): v for k, v in at.items()}) for i, at in curve]
        known = self.children.get(digest)
        if known is None:
            known = self.client.create_run(
                self.experiment_id,
                run_name=name,
                start_time=self.start_time + 1000 - place,
                tags={"mlflow.parentRunId": self.run_id, "cell_digest": digest},
            )
            self.client.log_inputs(known.info.run_id, datasets=[_input(dataset)])
            self.children[digest] = known
        run_id, now = known.info.run_id, int(time.time() * 1000)
        logged = known.data.metrics
        points = [
            # One point a metric, also where an earlier visit was killed half-way.
            Metric(k, float(v), now, images_seen)
            for k, v in metrics.items()
            if k not in logged
        ]
        points += self._new_points(run_id, curve, logged, now)
        wanted = {"status": status} | {k: str(v) for k, v in tags.items()}
        ended = RunStatus.to_string(_ENDED[status])
        same_tags = wanted.items() <= known.data.tags.items()
        if not points and same_tags and known.info.status == ended:
            return
        for start in range(0, max(1, len(points)), BATCH_METRICS):
            self.client.log_batch(run_id, metrics=points[start : start + BATCH_METRICS])
        self.client.log_batch(
            run_id,
            params=_params(self.shared_params | dict(params)),
            tags=[RunTag(k, v) for k, v in wanted.items()],
        )
        if "error" in known.data.tags and "error" not in wanted:
            self.client.delete_tag(run_id, "error")  # of a visit before this one
        end_time = known.info.start_time + int(1000 * seconds)
        self.client.set_terminated(run_id, ended, end_time=end_time)
        self.children[digest] = self.client.get_run(run_id)

    def _new_points(
        self,
        run_id: str,
        curve: Sequence[tuple[int, Mapping[str, float]]],
        logged: Mapping[str, float],
        now: int,
    ) -> list[Metric]:
        """The curve's points that the run lacks."""
        names = {name for _, metrics in curve for name in metrics}
        steps = {
            name: {m.step for m in self.client.get_metric_history(run_id, name)}
            for name in names & logged.keys()
        }
        return [
            Metric(name, float(value), now, step)
            for step, metrics in curve
            for name, value in metrics.items()
            if step not in steps.get(name, ())
        ]

    def finish(
        self,
        *,
        note: str,
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        artifacts: Mapping[str, list[Path]],
        failed: bool,
    ) -> None:
        """Attach artifacts (folder in the run -> files), facts and note; end the parent run.

        A study that was finished before keeps its metrics: each has one point, not one a visit.
        """
        known = self.client.get_run(self.run_id).data.metrics
        now = int(time.time() * 1000)
        new = [Metric(k, float(v), now, 0) for k, v in metrics.items() if k not in known]
        run_tags = [RunTag(k, str(v)) for k, v in tags.items()]
        self.client.log_batch(self.run_id, metrics=new, tags=run_tags)
        for folder, files in artifacts.items():
            for file in files:
                self.client.log_artifact(self.run_id, str(file), folder or None)
        self.client.set_tag(self.run_id, "mlflow.note.content", note)
        ended = RunStatus.FAILED if failed else RunStatus.FINISHED
        self.client.set_terminated(self.run_id, RunStatus.to_string(ended))

    def interrupt(self) -> None:
        """End the parent run as killed; the next invocation goes on in it."""
        for run in self.children.values():
            if run.info.status == "RUNNING":
                self.client.set_terminated(run.info.run_id, RunStatus.to_string(RunStatus.KILLED))
        self.client.set_terminated(self.run_id, RunStatus.to_string(RunStatus.KILLED))


def open_study(
    workspace: Path,
    *,
    study: str,
    run_name: str,
    config_digest: str,
    params: Mapping[str, object],
    tags: Mapping[str, str],
    dataset: LoggedDataset | None = None,
) -> StudyRecord:
    """The record of a study config: its parent run, found by the digest or begun.

    Creates the database on first use, so call it from one process only.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("alembic", "mlflow"):
            logging.getLogger(name).setLevel(logging.ERROR)
        client = MlflowClient(tracking_uri=f"sqlite:///{(workspace / DATABASE).resolve()}")
        experiment = client.get_experiment_by_name(study)
        if experiment is None:
            location = (workspace / ARTIFACTS / study).resolve().as_uri()
            experiment_id = client.create_experiment(study, artifact_location=location)
        else:
            experiment_id = experiment.experiment_id
    found = client.search_runs(
        [experiment_id], f"tags.config_digest = '{config_digest}'", max_results=1
    )
    if found:
        run_id = found[0].info.run_id
        client.update_run(run_id, status=RunStatus.to_string(RunStatus.RUNNING))
    else:
        run = client.create_run(experiment_id, run_name=run_name)
        run_id = run.info.run_id
        client.log_batch(
            run_id,
            params=_params(params),
            tags=[RunTag(k, str(v)) for k, v in tags.items()]
            + [RunTag("config_digest", config_digest)],
        )
        if dataset is not None:
            client.log_inputs(run_id, datasets=[_input(dataset)])
    children = _children(client, experiment_id, run_id)
    return StudyRecord(
        client=client,
        experiment_id=experiment_id,
        run_id=run_id,
        start_time=client.get_run(run_id).info.start_time,
        shared_params={k: str(v) for k, v in params.items()},
        children=children,
    )


def _children(client: MlflowClient, experiment_id: str, parent: str) -> dict[str, Run]:
    children, token = {}, None
    while True:
        page = client.search_runs(
            [experiment_id], f"tags.mlflow.parentRunId = '{parent}'", page_token=token
        )
        children |= {run.data.tags["cell_digest"]: run for run in page}
        token = page.token
        if not token:
            return children


def _metric_name(name: str) -> str:
    """The name as MLflow takes it: plans have an @."""
    return name.replace("@", " at ")


def _params(params: Mapping[str, object]) -> list[Param]:
    return [Param(k, str(v)[:PARAM_CHARACTERS]) for k, v in params.items()]


def _input(dataset: LoggedDataset) -> DatasetInput:
    return DatasetInput(
        Dataset(
            name=dataset.name,
            digest=dataset.digest[:16],
            source_type="embedded",
            source=f'{{"source": "{dataset.source}"}}',
            profile=f'{{"images": {dataset.images}}}',
        ),
        tags=[InputTag("mlflow.data.context", "evaluation")],
    )


__all__ = ["LoggedDataset", "MlflowClient", "StudyRecord", "open_study"]
