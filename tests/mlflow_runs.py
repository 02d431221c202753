"""What a study left in MLflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def _client(workspace: Path) -> Any:
    from studies.tracking.mlflow_runs import DATABASE, _client_of

    return _client_of(workspace / DATABASE)


def runs_of(workspace: Path, experiment: str) -> list[Any]:
    """All runs of an experiment."""
    client = _client(workspace)
    found = client.get_experiment_by_name(experiment)
    runs: list[Any] = client.search_runs([found.experiment_id], max_results=1000)
    assert runs
    return runs


def finished_runs(workspace: Path, experiment: str) -> list[Any]:
    """All runs of an experiment, which must all have ended well."""
    runs = runs_of(workspace, experiment)
    assert {run.info.status for run in runs} == {"FINISHED"}
    return runs


def histories(workspace: Path, run: Any) -> dict[str, list[tuple[int, float]]]:
    """Metric name to its (step, value) points by step, but for what was timed."""
    client = _client(workspace)
    found = {
        name: client.get_metric_history(run.info.run_id, name)
        for name in run.data.metrics
        if "seconds" not in name
    }
    return {name: sorted((m.step, m.value) for m in points) for name, points in found.items()}


def artifacts(workspace: Path, run: Any) -> set[str]:
    """What lies in a run's folder."""
    return {file.path for file in _client(workspace).list_artifacts(run.info.run_id)}


def shown(workspace: Path, experiment: str) -> list[tuple[Any, ...]]:
    """What the runs of an experiment say, sorted, but for ids and times."""
    return sorted(
        (
            run.info.run_name,
            run.info.status,
            sorted(run.data.params.items()),
            sorted(histories(workspace, run).items()),
            sorted((k, v) for k, v in run.data.tags.items() if k != "mlflow.parentRunId"),
            sorted(artifacts(workspace, run)),
        )
        for run in runs_of(workspace, experiment)
    )
