"""The runner: what is skipped, what runs again, what waits for what, wherever it runs."""

import os
import socket
import time

import pytest
from probe_cells import probe, say_and_save, say_and_sleep

from studies.cells.result import read_result
from studies.running import executors
from studies.running.executors import InlineExecutor, open_executor
from studies.running.runner import run_cells, split_cells
from varant.errors import Preempted, UserError
from varant.store.workspace import Workspace


@pytest.fixture
def workspace(tmp_path) -> Workspace:
    return Workspace(folder=tmp_path / "runs")


def run(cells, workspace, *, workers=1, scheduler=None, **flags):
    """Results by seed, and the seeds in the order that they ended."""
    order = []
    with open_executor(
        workers=workers, scheduler=scheduler, workspace=workspace.folder, device="cpu"
    ) as executor:
        results = run_cells(
            split_cells(cells, workspace, **flags),
            workspace,
            executor,
            on_result=lambda cell, result: order.append(cell.task.seed),
        )
    return {cell.task.seed: results[cell.digest] for cell in cells}, order


def visits(cell, workspace) -> int:
    return len((workspace.cell(cell.digest) / "visits").read_text())


def test_what_is_finished_is_not_run_again(workspace):
    cells = [probe(seed=i) for i in range(3)]
    first, order = run(cells[:2], workspace)
    assert order == [0, 1]
    again, order = run(cells, workspace)
    assert order == [2]
    assert {seed: again[seed] for seed in first} == first
    assert [visits(cell, workspace) for cell in cells] == [1, 1, 1]


def test_failed_and_diverged_cells_stay_until_they_are_to_be_retried(workspace):
    cells = [probe(seed=0, deed="fail"), probe(seed=1, deed="diverge"), probe(seed=2)]
    for _ in range(2):
        results, _ = run(cells, workspace)
        assert [results[i].status for i in range(3)] == ["failed", "diverged", "finished"]
        assert results[0].error == "RuntimeError: as planned"
        assert results[1].error == "loss is nan at step 7"
        assert not results[0].metrics
    assert [visits(cell, workspace) for cell in cells] == [1, 1, 1]
    run(cells, workspace, retry_failed=True)
    assert [visits(cell, workspace) for cell in cells] == [2, 2, 1]


def test_a_cell_waits_for_the_one_that_it_needs(workspace):
    training = probe(seed=9)
    cells = [probe(seed=0, after=training.digest), probe(seed=1), training]
    _, order = run(cells, workspace)
    assert order.index(9) < order.index(0)
    with pytest.raises(UserError, match=r"needs .*, which is no cell"):
        split_cells(cells[:1], Workspace(folder=workspace.folder / "other"))


@pytest.mark.parametrize(("deed", "status"), [("fail", "failed"), ("diverge", "diverged")])
def test_what_needs_a_cell_that_ended_badly_ends_as_it_did(workspace, deed, status):
    training = probe(seed=9, deed=deed)
    dependent = probe(seed=0, after=training.digest)
    results, _ = run([training, dependent], workspace)
    assert results[0].status == status
    assert "training" in results[0].error
    assert read_result(workspace.cell(dependent.digest), dependent.digest) is None
    mended = probe(seed=9, deed=deed + " once", marks=workspace.folder)
    assert mended.digest != training.digest


def test_preemption_of_this_process_stops_the_study_and_the_cell_goes_on_later(workspace, tmp_path):
    cell = probe(seed=0, deed="preempt once", marks=tmp_path)
    with pytest.raises(Preempted, match="after step 3"):
        run([cell, probe(seed=1)], workspace)
    assert read_result(workspace.cell(cell.digest), cell.digest) is None
    results, _ = run([cell], workspace)
    assert results[0].status == "finished"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_the_machine_s_trouble_and_no_result(workspace, workers):
    cell = probe(seed=0, deed="disk")
    with pytest.raises(OSError, match="No space left"):
        run([cell], workspace, workers=workers)
    assert read_result(workspace.cell(cell.digest), cell.digest) is None


def test_a_killed_worker_costs_a_second_try_and_then_the_cell(workspace, tmp_path):
    cells = [
        probe(seed=0, deed="die once", marks=tmp_path),
        probe(seed=1),
        probe(seed=2, deed="die"),
        *[probe(seed=i) for i in range(3, 6)],
    ]
    results, _ = run(cells, workspace, workers=2)
    assert results[2].status == "interrupted"
    assert "killed" in results[2].error
    others = {seed: result.status for seed, result in results.items() if seed != 2}
    # A lost process breaks its pool: a neighbour that it takes along twice is interrupted too.
    assert set(others.values()) <= {"finished", "interrupted"}
    mended = [probe(seed=2) if c.task.seed == 2 else c for c in cells]
    results, _ = run(mended, workspace, workers=2)
    assert {result.status for result in results.values()} == {"finished"}


def test_leaving_by_an_exception_ends_the_workers_once_they_have_saved(workspace, tmp_path):
    started = time.monotonic()
    said = [tmp_path / "a", tmp_path / "b"]
    with (
        pytest.raises(KeyboardInterrupt),
        open_executor(
            workers=2, scheduler=None, workspace=workspace.folder, device="cpu"
        ) as executor,
    ):
        tasks = [executor.submit(say_and_sleep, said[0]), executor.submit(say_and_save, said[1])]
        while not all(path.exists() and path.read_text() for path in said):
            assert not any(task.done() for task in tasks), "ended before it was asked to"
            time.sleep(0.1)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 40
    assert (tmp_path / "saved").exists()
    for path in said:
        with pytest.raises(ProcessLookupError):
            os.kill(int(path.read_text()), 0)


@pytest.fixture(scope="module")
def cluster():
    import dask
    from distributed import LocalCluster

    # By default a scheduler tries a task on four workers before it gives up: minutes here.
    patience = dask.config.set({"distributed.scheduler.allowed-failures": 0})
    with (
        patience,
        LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            processes=True,
            dashboard_address=None,
            silence_logs="CRITICAL",
        ) as cluster,
    ):
        yield cluster


def test_the_same_numbers_whatever_the_workers(cluster, tmp_path):
    training = probe(seed=9)
    cells = [training, *[probe(seed=i, after=training.digest) for i in range(4)]]
    found = {}
    for name, flags in {
        "inline": {},
        "processes": {"workers": 2},
        "dask": {"scheduler": cluster.scheduler_address},
    }.items():
        workspace = Workspace(folder=tmp_path / name)
        workspace.folder.mkdir()
        results, _ = run(cells, workspace, **flags)
        assert {result.status for result in results.values()} == {"finished"}
        found[name] = {seed: result.metrics for seed, result in results.items()}
    assert found["inline"] == found["processes"] == found["dask"]
    assert found["dask"][0]["class_accuracy"].value == 1.0, "more than one thread"


def test_schedulers_that_do_not_serve(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(executors, "SCHEDULER_SECONDS", 0.5)

    def refused(address, *, folder=tmp_path, device="cpu") -> str:
        with (
            pytest.raises(UserError) as error,
            open_executor(workers=1, scheduler=address, workspace=folder, device=device),
        ):
            pass
        return str(error.value)

    assert "--scheduler tcp://127.0.0.1:9: no answer" in refused("tcp://127.0.0.1:9")
    assert "--scheduler nonsense: no answer" in refused("nonsense")
    with socket.create_server(("127.0.0.1", 0)) as mute:  # which accepts, and never answers
        address = f"tcp://127.0.0.1:{mute.getsockname()[1]}"
        assert f"--scheduler {address}: no answer" in refused(address)
    monkeypatch.undo()
    assert "no worker has a GPU" in refused(cluster.scheduler_address, device="cuda")


def test_a_cluster_fails_and_finishes_cells_as_others_do(cluster, tmp_path):
    workspace = Workspace(folder=tmp_path)
    cells = [probe(seed=0, deed="fail"), probe(seed=1)]
    results, _ = run(cells, workspace, scheduler=cluster.scheduler_address)
    assert [results[i].status for i in range(2)] == ["failed", "finished"]
    # Alone: a worker that dies takes along what it has just done for others.
    results, _ = run([probe(seed=2, deed="die")], workspace, scheduler=cluster.scheduler_address)
    assert results[2].status == "interrupted"


def test_inline_runs_one_after_another():
    ran = []
    executor = InlineExecutor()
    executor.submit(ran.append, 1)
    assert ran == [1]
