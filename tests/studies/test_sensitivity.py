"""The sensitivity study from end to end: killed twice and finished, then its outputs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from studies.cells.result import CellResult, read_result
from studies.sensitivity import entries_of, windows_of
from varant import DepthPlan, UserError
from varant.model.plan import default_depths

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "studies.sensitivity", "--quick", "--depths", "1,2"]


def start(workspace: Path) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, "--workspace", str(workspace)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def kill_when(process: subprocess.Popen, ready) -> None:
    """SIGKILL the study (and not its workers) as soon as `ready()`."""
    deadline = time.monotonic() + 240
    while not ready():
        assert process.poll() is None, f"ended too early: {process.stderr.read()}"
        assert time.monotonic() < deadline, "never ready"
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def wait_until_empty(group: int) -> None:
    """Wait until no process of the group is left: workers must end with their parent."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    raise AssertionError("workers outlived the study")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A workspace whose study was killed in training and among its cells, then finished."""
    workspace = tmp_path_factory.mktemp("study") / "runs"

    def prepared():
        return len(list(workspace.glob("models/*/config.json")))

    def results():
        return sorted(workspace.glob("cells/*/result.json"))

    first = start(workspace)
    kill_when(first, lambda: prepared() == 1 and list(workspace.glob("tokens/*")))
    wait_until_empty(first.pid)
    assert prepared() == 1
    assert not results()
    tokenizer = {p: p.stat().st_mtime_ns for p in workspace.glob("models/*/*")}

    second = start(workspace)
    kill_when(second, lambda: len(results()) >= 3)
    wait_until_empty(second.pid)
    kept = {path: path.stat().st_mtime_ns for path in results()}
    assert len(kept) >= 3

    third = start(workspace)
    output, errors = third.communicate(timeout=300)
    assert third.returncode == 0, errors
    for path, before in (kept | tokenizer).items():
        assert path.stat().st_mtime_ns == before, f"{path} was made again"
    return workspace, output, errors


def test_a_killed_study_goes_on_where_it_was(finished):
    workspace, output, errors = finished
    assert "cells are finished already" in errors
    assert "report.pdf" in output
    frame = pd.read_parquet(workspace / "sensitivity-quick" / "frame.parquet")
    assert set(frame["status"]) == {"finished"}


def test_mlflow_ends_as_if_never_interrupted(finished):
    from studies.tracking.mlflow_runs import MlflowClient

    workspace, _, _ = finished
    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("sensitivity-quick")
    runs = client.search_runs([experiment.experiment_id], max_results=500)
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    assert {run.info.status for run in runs} == {"FINISHED"}
    digests = [run.data.tags["cell_digest"] for run in children]
    frame = pd.read_parquet(workspace / "sensitivity-quick" / "frame.parquet")
    assert sorted(digests) == sorted(set(frame["cell_digest"]))
    for run in children:
        assert run.data.params["subnet_depth"]
        assert run.inputs.dataset_inputs[0].dataset.name == "shapes"
        for metric in ("nll/mean", "class_accuracy", "kv_bytes/peak"):
            assert len(client.get_metric_history(run.info.run_id, metric)) == 1
    artifacts = {file.path for file in client.list_artifacts(parents[0].info.run_id)}
    assert {"report.pdf", "frame.parquet", "figures"} <= artifacts
    assert parents[0].data.tags["mlflow.note.content"].count("\n\n") == 2


def test_frame_holds_every_cell_and_measures_what_it_says(finished):
    workspace, _, _ = finished
    frame = pd.read_parquet(workspace / "sensitivity-quick" / "frame.parquet")
    facts = json.loads((workspace / "sensitivity-quick" / "study.json").read_text())
    patch_nums, depth = tuple(facts["geometry"]["patch_nums"]), facts["geometry"]["depth"]
    entries = entries_of(patch_nums, depth, (1, 2), ("equidistant",))
    assert set(frame["cell"]) == {entry.name for entry in entries}
    kv = frame[frame["metric"].isin(["kv_bytes/peak", "kv_bytes/analytic"])]
    assert (kv.groupby("cell")["value"].nunique() == 1).all(), "measured KV is not the analytic"
    accuracy = frame[(frame["metric"] == "class_accuracy") & (frame["cell"] == "full")]
    assert len(accuracy) == 4
    assert (accuracy["count"] == 40).all()
    # Scales before the one that lost depth cannot change: same NLL to the last bit.
    for cell, metric in (("d1 on scale 5", "nll/scale_04"), ("d1@3", "nll/scale_02")):
        pair = [
            frame[(frame["cell"] == name) & (frame["metric"] == metric)].sort_values("set")["value"]
            for name in (cell, "full")
        ]
        assert np.allclose(pair[0], pair[1], rtol=0, atol=1e-6)


def test_quick_outputs_are_marked(finished):
    workspace, _, _ = finished
    folder = workspace / "sensitivity-quick"
    assert json.loads((folder / "study.json").read_text())["quick"] is True
    assert not (workspace / "sensitivity").exists()
    assert "QUICK" in (folder / "figures" / "switch_depth_heatmap.svg").read_text()


def test_report_is_rebuilt_without_torch_or_mlflow(finished):
    workspace, _, _ = finished
    folder = workspace / "sensitivity-quick"
    before = (folder / "report.pdf").read_bytes()
    (folder / "report.pdf").unlink()
    code = (
        "import sys; from reports.__main__ import main; code = main([sys.argv[1]]); "
        "assert not {'torch', 'mlflow'} & set(sys.modules); sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], cwd=ROOT, check=True)
    assert (folder / "report.pdf").read_bytes() == before


def test_a_second_selector_reuses_the_cells_that_are_there(finished):
    workspace, _, _ = finished
    before = {p: p.stat().st_mtime_ns for p in workspace.glob("cells/*/result.json")}
    done = run_again(workspace, "--selectors", "equidistant,first")
    assert done.returncode == 0, done.stderr
    after = {p: p.stat().st_mtime_ns for p in workspace.glob("cells/*/result.json")}
    assert before.items() <= after.items()
    frame = pd.read_parquet(workspace / "sensitivity-quick" / "frame.parquet")
    assert set(frame["selector"]) == {"equidistant", "first"}


def test_a_damaged_tracking_database_stops_no_study(finished, tmp_path):
    workspace = tmp_path / "runs"
    shutil.copytree(finished[0], workspace)
    (workspace / "mlflow.db").write_bytes(b"not a database, and long enough to be looked at" * 50)
    done = run_again(workspace)
    assert done.returncode == 0, done.stderr
    assert "warning: MLflow: " in done.stderr
    assert "report.pdf" in done.stdout


def test_a_corrupt_cell_file_is_named_and_nothing_is_lost(finished, tmp_path):
    workspace = tmp_path / "runs"
    shutil.copytree(finished[0], workspace)
    broken, *others = sorted(workspace.glob("cells/*/result.json"))
    broken.write_text("{")
    kept = {path: path.read_bytes() for path in others}
    done = run_again(workspace)
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
    assert lines == [f"error: {broken}: damaged; delete the folder {broken.parent} and run again"]
    assert "Traceback" not in done.stderr
    assert {path: path.read_bytes() for path in others} == kept


def test_a_checkpoint_can_be_studied_in_place_of_the_base(finished, tmp_path):
    """The base network given as --model has the cells of the base: same weights, same digests."""
    workspace = tmp_path / "runs"
    shutil.copytree(finished[0], workspace)
    base = next(path.parent for path in workspace.glob("models/*/model.safetensors"))
    before = len(list(workspace.glob("cells/*/result.json")))
    done = run_again(workspace, "--model", str(base))
    assert done.returncode == 0, done.stderr
    assert "cells are finished already" in done.stderr
    assert len(list(workspace.glob("cells/*/result.json"))) == before
    facts = json.loads((workspace / "sensitivity-quick" / "study.json").read_text())
    assert facts["model"].startswith("checkpoint")


def run_again(workspace: Path, *flags: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [*COMMAND, "--workspace", str(workspace), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_windows_are_the_paper_s_for_ten_scales_and_the_docstring_s_for_five():
    assert windows_of(10) == {"early": (1, 2, 3), "middle": (4, 5, 6), "late": (7, 8, 9, 10)}
    assert windows_of(5) == {"early": (1, 2), "middle": (3,), "late": (4, 5)}
    for scales in range(3, 20):
        windows = windows_of(scales)
        assert sum(windows.values(), ()) == tuple(range(1, scales + 1))
        assert all(windows.values())
    with pytest.raises(UserError, match="2 scales"):
        windows_of(2)


def test_grid():
    patch_nums = (1, 2, 3, 4, 6)
    entries = entries_of(patch_nums, 8, (2, 4), ("equidistant", "last"))
    names = [entry.name for entry in entries]
    assert len(names) == len(set(names)) == 1 + 2 * (2 * 5 + 2 * 5 + 3)
    by_name = {entry.name: entry for entry in entries}
    assert by_name["d4 on scale 3"].plan.depths == (8, 8, 4, 8, 8)
    assert by_name["d2@1"].plan == DepthPlan.two_zone(patch_nums, 8, subnet_depth=2, switch=1)
    assert by_name["d4 on late"].plan.depths == (8, 8, 8, 4, 4)
    assert by_name["d2@0 (last)"].plan.layers[0] == (6, 7)
    assert default_depths(8) == (2, 4, 6)
    assert default_depths(2) == (1,)


def test_a_failed_cell_is_a_record_and_can_be_retried(finished, tmp_path):
    """A cell whose network vanished fails with its error, and is no other cell once mended."""
    from dataclasses import replace

    from varant.start.train_flags import TrainFlags

    from studies.cells.cell import run_cell
    from studies.cells.evaluation import Evaluation, EvaluationCell
    from studies.grid.bench import Yardstick, prepare_bench
    from studies.running.executors import InlineExecutor
    from studies.running.runner import split_cells
    from varant.store.workspace import Workspace

    workspace = Workspace(folder=finished[0])
    flags = TrainFlags(quick=True, workspace=finished[0])
    network = prepare_bench(workspace, flags, Yardstick(), InlineExecutor()).networks[0]
    evaluation = Evaluation(
        samples=80, sets=4, nll_images=40, nll_sets=40, cfg=0.0, top_k=0, top_p=0.0, seed=0
    )
    plan = DepthPlan.full((1, 2, 3, 4, 6), 4)
    broken = EvaluationCell(
        network=replace(network, model_folder=tmp_path / "gone"), plan=plan, evaluation=evaluation
    )
    elsewhere = Workspace(folder=tmp_path)
    result = run_cell(broken, elsewhere.cell(broken.digest))
    assert result.status == "failed"
    assert "gone" in result.error
    assert not split_cells([broken], elsewhere).open
    assert split_cells([broken], elsewhere, retry_failed=True).open == {broken.digest: broken}
    mended = replace(broken, network=network)
    assert mended.digest == broken.digest, "a path is no identity"
    assert run_cell(mended, elsewhere.cell(mended.digest)).status == "finished"
    assert not split_cells([mended], elsewhere, retry_failed=True).open


def test_a_damaged_result_is_named(tmp_path):
    (tmp_path / "result.json").write_text('{"digest": "abc", "status": "fini')
    with pytest.raises(UserError, match=r"result\.json: damaged; delete the folder"):
        read_result(tmp_path, "abc")
    foreign = {"digest": "other", "status": "finished", "metrics": {}, "seconds": 1.0}
    (tmp_path / "result.json").write_text(json.dumps(foreign))
    with pytest.raises(UserError, match="damaged"):
        read_result(tmp_path, "abc")
    assert isinstance(read_result(tmp_path, "other"), CellResult)
    assert read_result(tmp_path / "nothing", "abc") is None
