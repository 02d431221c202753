"""What a study left in MLflow."""

from pathlib import Path


def finished_runs(workspace: Path, experiment: str) -> list:
    """All runs of an experiment, which must all have ended well."""
    from studies.tracking.mlflow_runs import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    found = client.get_experiment_by_name(experiment)
    runs = client.search_runs([found.experiment_id], max_results=1000)
    assert runs and {run.info.status for run in runs} == {"FINISHED"}
    return runs
