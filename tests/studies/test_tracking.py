"""The mirror in MLflow can always be made, and made again."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from studies.cells.result import CellResult, Measurements
from studies.tracking.logged import LoggedCell, LoggedStudy
from studies.tracking.mirror import Mirror

STUDY = LoggedStudy(
    experiment="one", run_name="r", quick=True, question="?", config_digest="c", params={}
)


def cell(digest: str) -> LoggedCell:
    result = CellResult(digest=digest, metrics={"nll/mean": Measurements.exact(2.0)}, seconds=1.0)
    return LoggedCell(
        result=result,
        name=digest,
        place=0,
        params={},
        metrics=result.values,
        curve=[],
        images_seen=0,
        tags=STUDY.tags,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new workspace with a name for which URLs have other plans, in which two studies began at
    once beside a half-made database."""
    from studies.tracking.mlflow_runs import DATABASE, open_study

    folder = tmp_path_factory.mktemp("ws") / "50 %41? #x"
    folder.mkdir()
    (folder / DATABASE).touch()
    with ThreadPoolExecutor(2) as threads:
        studies = (STUDY, replace(STUDY, experiment="two"))
        for record in threads.map(lambda study: open_study(folder, study), studies):
            record.record_cell(cell("a"))
    return folder


def statuses(workspace: Path, experiment: str) -> list[str]:
    from studies.tracking.mlflow_runs import DATABASE, _client_of

    client = _client_of(workspace / DATABASE)
    found = client.get_experiment_by_name(experiment)
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"
    return sorted(run.info.status for run in client.search_runs([found.experiment_id]))


def test_studies_begun_at_once_share_a_database_that_is_made_once(workspace, capfd):
    assert {path.name for path in workspace.iterdir()} == {
        ".mlflow",
        ".mlflow.lock",
        "mlflow.db",
        "mlflow.db.damaged-1",
    }
    assert [path.name for path in workspace.parent.iterdir()] == [workspace.name]
    for experiment in ("one", "two"):
        assert "FINISHED" in statuses(workspace, experiment)


def test_two_processes_at_one_study_write_each_cell_once(workspace):
    from studies.tracking.mlflow_runs import open_study

    records = [open_study(workspace, replace(STUDY, experiment="six")) for _ in range(2)]
    for record in records:
        record.record_cell(cell("b"))
    assert statuses(workspace, "six") == ["FINISHED", "RUNNING"]


def test_what_runs_in_no_living_process_is_closed_when_another_begins(workspace):
    from studies.tracking.mlflow_runs import open_study

    dead = open_study(workspace, replace(STUDY, experiment="three"))
    other = replace(STUDY, experiment="four")
    open_study(workspace, other)
    assert statuses(workspace, "three") == ["RUNNING"], "its process lives"
    dead.living.close()  # as the system does
    open_study(workspace, other)
    assert statuses(workspace, "three") == ["KILLED"]


@pytest.mark.parametrize("damage", ["no database" * 500, "page"])
def test_a_damaged_database_is_kept_aside_and_said_without_a_traceback(
    workspace, tmp_path, capfd, damage, monkeypatch
):
    from studies.tracking import mlflow_runs

    path = tmp_path / mlflow_runs.DATABASE
    content = damage.encode()
    if damage == "page":
        content = bytearray((workspace / mlflow_runs.DATABASE).read_bytes())
        content[4096 * 3 : 4096 * 6] = bytes(3 * 4096)
    path.write_bytes(content)
    whole = (workspace / mlflow_runs.DATABASE).read_bytes()
    # Making one takes seconds.
    make = mlflow_runs._client_of
    monkeypatch.setattr(
        mlflow_runs,
        "_client_of",
        lambda at: make(at) if at.stat().st_size else at.write_bytes(whole),
    )
    mlflow_runs.open_study(tmp_path, STUDY)
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "mlflow.db.damaged-1" in said, said
    assert (tmp_path / "mlflow.db.damaged-1").read_bytes() == content
    gc.collect()


def test_a_signal_while_a_study_is_written_leaves_no_run_running(workspace):
    class Stop(KeyboardInterrupt):
        pass

    from varant.store.workspace import Workspace

    study = replace(STUDY, experiment="five")
    with pytest.raises(Stop), Mirror(study, [], {}, Workspace(folder=workspace)):
        raise Stop
    assert statuses(workspace, "five") == ["KILLED"]
