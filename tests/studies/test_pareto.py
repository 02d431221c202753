"""The pareto study from end to end: stopped in several ways and finished, then its outputs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from studies.pareto import Pareto, ParetoFlags, arms_of, paper_cost
from varant import DepthPlan, generate, load
from varant.errors import exit_codes

ROOT = Path(__file__).parents[2]
COMMAND = [
    sys.executable,
    "-m",
    "studies.pareto",
    "--quick",
    "--schedules",
    "full,fixed,progressive",
    "--shares",
    "2/3",
    "--depths",
    "2",
    "--budget",
    "3200",
]


def start(workspace: Path, *flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, "--workspace", str(workspace), *flags],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # Ctrl-C is ignored by all that a shell's background job starts, such as tests.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def end_when(process: subprocess.Popen, ready, number: int, *, group: bool = False) -> int:
    """Send a signal as soon as `ready()`; the exit code."""
    deadline = time.monotonic() + 240
    while not ready():
        assert process.poll() is None, f"ended too early: {process.stderr.read()}"
        assert time.monotonic() < deadline, "never ready"
        time.sleep(0.02)
    (os.killpg if group else os.kill)(process.pid, number)
    process.communicate(timeout=120)
    return process.returncode


def runs_of(workspace: Path):
    from studies.tracking.mlflow_runs import MlflowClient

    client = MlflowClient(f"sqlite:///{workspace / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("pareto-quick")
    return client, client.search_runs([experiment.experiment_id], max_results=500)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, quick_workspace):
    """A workspace whose study was ended by Ctrl-C, SIGKILL and SIGTERM before it finished."""
    workspace = tmp_path_factory.mktemp("pareto") / "runs"
    workspace.mkdir()
    for folder in ("models", "tokens"):
        shutil.copytree(quick_workspace / folder, workspace / folder)

    def steps() -> int:
        """Lines of all trainings so far."""
        files = workspace.glob("cells/*/metrics.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)

    def results() -> int:
        return len(list(workspace.glob("cells/*/result.json")))

    ctrl_c = end_when(
        start(workspace, "--workers", "2"), lambda: steps() > 30, signal.SIGINT, group=True
    )
    assert ctrl_c == 130
    _, runs = runs_of(workspace)
    assert "RUNNING" not in {run.info.status for run in runs}
    checkpoints = list(workspace.glob("cells/*/checkpoints/step-*"))
    assert checkpoints, "workers did not save what they were at"
    before = steps()

    def went_on() -> bool:
        return results() >= 4

    end_when(start(workspace, "--workers", "2"), went_on, signal.SIGKILL)
    time.sleep(1)
    assert steps() >= before
    term = end_when(start(workspace), lambda: results() >= 6, signal.SIGTERM)
    assert term == 75

    last = start(workspace, "--workers", "2")
    output, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    return workspace, output, errors


def test_every_cell_ends_and_the_outputs_are_there(finished):
    workspace, output, errors = finished
    assert "cells are finished already" in errors
    assert "report.pdf" in output
    folder = workspace / "pareto-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["status"]) == {"finished"}
    assert set(frame["schedule"]) == {"control", "fixed 2/3", "progressive"}
    assert set(frame["cell"]) == {"full", *(f"d2@{n}" for n in range(5))}
    cells = frame.groupby("schedule")["cell"].nunique()
    assert set(cells) == {6}
    assert "select/nll/mean" in set(frame["metric"])
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
    facts = json.loads((folder / "study.json").read_text())
    assert facts["quick"] is True
    assert facts["budget_images"] == 3200
    assert [m["status"] for m in facts["models"]] == ["finished"] * 3
    assert [m["image_passes"] for m in facts["models"]] == [3200] * 3
    flops = {m["schedule"]: m["training_flops"] for m in facts["models"]}
    assert flops["control"] > flops["progressive"]
    curves = pd.read_parquet(folder / "curves.parquet")
    assert set(curves["plan"]) == {"full", "d2@3"}
    assert curves.groupby("schedule")["images_seen"].max().eq(3200).all()


def test_stopped_thrice_it_gives_what_an_undisturbed_study_gives(finished, tmp_path):
    workspace, _, _ = finished
    other = tmp_path / "runs"
    other.mkdir()
    for folder in ("models", "tokens"):
        shutil.copytree(workspace / folder, other / folder)
    done = start(other)  # inline, where the other ran in two processes
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    frames = [pd.read_parquet(w / "pareto-quick" / "frame.parquet") for w in (workspace, other)]
    pd.testing.assert_frame_equal(*frames)
    found = []
    for where in (workspace, other):
        client, runs = runs_of(where)
        assert {run.info.status for run in runs} == {"FINISHED"}
        found.append(
            {
                run.info.run_name: {
                    name: [(m.step, m.value) for m in points_of(client, run, name)]
                    for name in run.data.metrics
                    if not name.startswith(("seconds/", "study/seconds"))
                }
                for run in runs
            }
        )
    assert found[0] == found[1]
    curve = found[0]["progressive s0"]["select/nll/mean/d2 at 3"]
    steps = [step for step, _ in curve]
    assert len(steps) == len(set(steps)) >= 10, "a step was logged twice, or none"


def points_of(client, run, name: str):
    return sorted(client.get_metric_history(run.info.run_id, name), key=lambda m: m.step)


def test_runs_have_what_the_page_compares(finished):
    _, runs = runs_of(finished[0])
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    plans = [run for run in children if run.data.params["family"] != "training"]
    assert len(children) == 3 * 7
    for run in plans:
        wanted = {"schedule", "subnet_depth", "selector", "train_switch", "seed", "budget"}
        assert wanted <= run.data.params.keys()
        assert {"nll/mean", "kv_bytes/peak", "class_accuracy"} <= run.data.metrics.keys()
    names = {run.info.run_name for run in children}
    assert {"progressive s0", "progressive s0 full", "fixed 2/3 s0 d2@3"} <= names


def test_a_trained_model_is_a_checkpoint_and_another_metric_trains_nothing(finished):
    workspace, _, _ = finished
    facts = json.loads((workspace / "pareto-quick" / "study.json").read_text())
    for model in facts["models"]:
        loaded = load(model["folder"])
        assert loaded.model.depth == 4
        assert not (Path(model["folder"]) / "checkpoints").exists()
    weights = {p: p.stat().st_mtime_ns for p in workspace.glob("cells/*/model.safetensors")}
    done = start(workspace, "--workers", "2", "--cfg", "1.5")
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    assert {p: p.stat().st_mtime_ns for p in workspace.glob("cells/*/model.safetensors")} == weights


def test_a_diverged_training_is_a_status_and_no_gap(finished, tmp_path):
    workspace = tmp_path / "runs"
    shutil.copytree(finished[0], workspace)
    facts = json.loads((workspace / "pareto-quick" / "study.json").read_text())
    digest = next(m["digest"] for m in facts["models"] if m["schedule"] == "progressive")
    result = workspace / "cells" / digest[:16] / "result.json"
    content = json.loads(result.read_text())
    result.write_text(
        json.dumps(content | {"status": "diverged", "error": "loss is nan", "metrics": {}})
    )
    for path in workspace.glob("cells/*/config.json"):
        if digest in path.read_text() and path.parent != result.parent:
            shutil.rmtree(path.parent)
    done = start(workspace)
    _, errors = done.communicate(timeout=300)
    assert done.returncode == 0, errors
    assert "7 cells diverged" in errors
    frame = pd.read_parquet(workspace / "pareto-quick" / "frame.parquet")
    bad = frame[frame["schedule"] == "progressive"]
    assert set(bad["status"]) == {"diverged"}
    assert set(bad["cell"]) == {"full", *(f"d2@{n}" for n in range(5))}
    assert bad["value"].isna().all()


def test_arms():
    flags = ParetoFlags(schedules="full,fixed,progressive,sandwich", selectors="equidistant,nested")
    assert [arm.label for arm in arms_of(flags, 3)] == [
        "control",
        "fixed 0.1",
        "fixed 0.5",
        "fixed 2/3",
        "fixed 1",
        "progressive",
        "sandwich",
        "fixed 0.1 (nested)",
        "fixed 0.5 (nested)",
        "fixed 2/3 (nested)",
        "fixed 1 (nested)",
        "progressive (nested)",
        "sandwich (nested)",
    ]


def test_the_paper_s_costs():
    """PAPER's cost table of VAR-d30 at batch 64 with guidance."""
    cost = paper_cost()
    assert cost["full"]["kv_mib_reference"] == pytest.approx(28_688, abs=1)
    assert cost["d16@6"]["kv_mib_reference"] == pytest.approx(17_092, abs=1)
    assert cost["d8@6"]["kv_mib_limit"] == pytest.approx(3_180, abs=1)
    assert cost["d2@6"]["flops_share"] == pytest.approx(0.191, abs=0.002)


def refused(capsys, tmp_path, **flags) -> str:
    with pytest.raises(SystemExit) as ended, exit_codes():
        Pareto(ParetoFlags(workspace=tmp_path / "runs", **flags), "test").run()
    assert ended.value.code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"schedules": "cyclic"}, "--schedules cyclic: use full, fixed, progressive"),
        ({"schedules": ""}, "--schedules '': give at least one value"),
        ({"shares": "0.5,1.5"}, "--shares 1.5: must be above 0, up to 1"),
        ({"shares": "0"}, "--shares 0: must be above 0"),
        ({"shares": "half"}, "--shares half: must be above 0"),
        ({"seeds": "0,1,0"}, "--seeds 0,1,0: 0 given twice"),
        ({"seeds": "0,00"}, "--seeds 0,00: a seed is given twice"),
        ({"seeds": "a"}, "--seeds a: not a whole number"),
        ({"budget": "10"}, "--budget 10: below one batch of 64 images"),
        ({"budget": "lots"}, "--budget lots: give a number of images"),
        ({"train_switch": 5}, "--train-switch 5: the network has 5 scales; use 0 to 4"),
        ({"depths": "8"}, "--depths 8: subnets of this network have 1 to 7"),
        ({"depths": "2,9"}, "--depths 9: the network has 8 layers"),
        ({"kv_budgets": "2"}, "--kv-budgets 2: must be a share"),
        ({"reference_fd": -1.0}, "--reference-fd -1.0: must be a positive number"),
        ({"lr_schedule": "step"}, "--lr-schedule step: use one of cosine, constant"),
        ({"selectors": "best"}, "--selectors best: use one of"),
        ({"dataset": "folder"}, "--dataset folder: has no packaged features"),
        ({"extractor": "inception"}, "--inception: goes with --extractor inception"),
        ({"vae": Path("a.pth")}, "--vae a.pth: give --var"),
        ({"scheduler": "tcp://127.0.0.1:9", "workers": 2}, "--workers 2: --scheduler has workers"),
    ],
)
def test_flags(capsys, tmp_path, flags, message):
    assert message in refused(capsys, tmp_path, **flags)
    assert not (tmp_path / "runs").exists(), "something was written"


def test_a_workspace_of_another_version(capsys, tmp_path):
    (tmp_path / "runs").mkdir()
    path = tmp_path / "runs" / "workspace.json"
    path.write_text('{"format": "varant-workspace", "version": 99}')
    assert "version 99 in workspace.json" in refused(capsys, tmp_path)
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["workspace.json"]


def test_a_scheduler_that_does_not_answer(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("studies.running.executors.SCHEDULER_SECONDS", 0.5)
    assert "no answer" in refused(capsys, tmp_path, scheduler="tcp://127.0.0.1:9")


def test_dry_run(capsys, tmp_path):
    flags = ParetoFlags(workspace=tmp_path / "runs", dry_run=True, seeds="0,1")
    Pareto(flags, "test").run()
    said = capsys.readouterr().out
    for expected in ("12 models of 99,968 image passes", "16 plans each", "204 cells", "CPU-s"):
        assert expected in said
    assert not (tmp_path / "runs").exists()


def test_an_exported_plan_gives_the_same_tokens_elsewhere(finished):
    """The model and the plan of `plans.json`, loaded in a process of their own."""
    folder = finished[0] / "pareto-quick"
    listed = json.loads((folder / "plans.json").read_text())
    assert listed
    for chosen in listed:
        assert chosen["kv_share"] <= chosen["kv_share_limit"]
    chosen = listed[-1]
    code = (
        "import sys, torch, varant; tokenizer, model = varant.load(sys.argv[1]); "
        "sample = varant.generate(model, tokenizer, torch.arange(10), plan=sys.argv[2], seed=7); "
        "print(sample.tokens.flatten().tolist())"
    )
    paths = [str(folder / chosen["model"]), str(folder / chosen["file"])]
    told = subprocess.run(
        [sys.executable, "-c", code, *paths],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    tokenizer, model = load(paths[0])
    text = chosen["plan"]
    plan = DepthPlan.parse(text, model.patch_nums, model.depth)
    sample = generate(model, tokenizer, torch.arange(10), plan=plan, seed=7)
    assert json.loads(told.stdout) == sample.tokens.flatten().tolist()
