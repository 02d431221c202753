"""The pareto study from end to end: stopped in several ways and finished, then its outputs."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_lines import config_of
from mlflow_runs import finished_runs, histories, runs_of, shown
from study_commands import ROOT, TRAINED, Command, end_when

from analysis.study_file import ParetoFile
from reports import build
from studies.cells.result import CellResult, read_result, write_result
from studies.grid.costs import paper_cost
from studies.grid.point import Outcome
from studies.pareto import Pareto, ParetoConfig
from studies.tracking.__main__ import main
from varant import DepthPlan, generate, load, plan_cost
from varant.files import write_json
from varant.manifest import record
from varant.presets import presets
from varant.start.presets import base_geometry

PARETO = Command(study=Pareto, config=ParetoConfig)
BUDGET = 960
WAYS = {"schedules": "full,fixed,progressive", "shares": "2/3", "switches": "all", "depths": 2}
SMALL = replace(PARETO, flags=TRAINED | WAYS | {"budget": BUDGET})
PLANS = {"full", *(f"d2@{n}" for n in range(5))}


@pytest.fixture(scope="module")
def finished(quick_workspace: Path) -> tuple[Path, str, str]:
    """A workspace whose study was ended by SIGTERM to all its processes, SIGKILL and Ctrl-C before
    it finished, and what it said then."""
    workspace = quick_workspace

    def steps() -> int:
        """Lines of all trainings so far."""
        files = workspace.glob("cells/*/metrics.jsonl")
        return sum(file.read_bytes().count(b"\n") for file in files)

    def results() -> int:
        return len(list(workspace.glob("cells/*/result.json")))

    first = SMALL.start(workspace, workers=2)
    assert end_when(first, lambda: steps() > 12, signal.SIGTERM, group=True) == 75
    assert "RUNNING" not in {run.info.status for run in runs_of(workspace, "pareto-quick")}
    checkpoints = list(workspace.glob("cells/*/checkpoints/step-*"))
    assert checkpoints, "workers did not save what they were at"
    before = steps()

    end_when(SMALL.start(workspace), lambda: results() >= 4, signal.SIGKILL)
    assert steps() >= before
    more = results() + 2
    assert end_when(SMALL.start(workspace), lambda: results() >= more, signal.SIGINT) == 130

    output, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        SMALL.run(workspace)
    return workspace, output.getvalue(), errors.getvalue()


@pytest.fixture
def copied(finished: tuple[Path, str, str], tmp_path: Path) -> Path:
    """A copy of the workspace of the finished study."""
    return shutil.copytree(finished[0], tmp_path / "runs")


def test_a_running_study_says_what_is_finished(copied, monkeypatch):
    """`python -m reports` on its folder, while cells are still to come."""
    results = sorted(copied.glob("cells/*/result.json"))
    measured = [r for r in results if json.loads(r.read_text())["metrics"].get("nll/mean")]
    for result in measured[:2]:
        shutil.rmtree(result.parent)
    monkeypatch.setattr("studies.study.SAY_SECONDS", 0)
    seen, write = [], Pareto._write_basis

    def watched(study: Pareto, outcome: Outcome, digest: str) -> list[Path]:
        written = write(study, outcome, digest)
        if not seen:
            build(outcome.folder)
        seen.append(ParetoFile.load(outcome.folder / "study.json").pending)
        return written

    monkeypatch.setattr(Pareto, "_write_basis", watched)
    SMALL.run(copied)
    assert seen[0] == 1 and seen[-1] == 0
    assert set(pd.read_parquet(copied / "pareto-quick" / "frame.parquet")["status"]) == {"finished"}


def test_shares_of_memory_are_of_the_precision_that_cells_hold():
    """The full network is all of its memory, whatever the bytes of a number."""
    for precision, size in (("float32", 4), ("bfloat16", 2)):
        study = Pareto(config_of(ParetoConfig, precision=precision))
        geometry = base_geometry(presets()["tiny"])
        assert study.cost_of(geometry) == plan_cost(geometry, guidance=False, kv_bytes=size)


def test_every_cell_ends_and_the_outputs_are_there(finished):
    workspace, output, errors = finished
    assert "cells are finished already" in errors
    assert "report.pdf" in output
    folder = workspace / "pareto-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["status"]) == {"finished"}
    assert set(frame["schedule"].dropna()) == {"base", "control", "fixed 2/3", "progressive"}
    assert set(frame["kind"].dropna()) == {"base", "full", "fixed", "progressive"}
    assert set(frame["anchor"].dropna()) == {"real", "base", "control"}
    assert set(frame["plan"]) == PLANS | {"real"}
    plans = frame.groupby("schedule")["plan"].nunique()
    assert set(plans) == {6}
    assert "select/nll/mean" in set(frame["metric"])
    assert (folder / "report.pdf").read_bytes().startswith(b"%PDF")
    facts = json.loads((folder / "study.json").read_text())
    assert facts["quick"] is True
    assert facts["budget_images"] == BUDGET
    assert [m["status"] for m in facts["models"]] == ["finished"] * 3
    assert [m["image_passes"] for m in facts["models"]] == [BUDGET] * 3
    flops = {m["schedule"]: m["training_flops"] for m in facts["models"]}
    assert flops["control"] > flops["progressive"]
    curves = pd.read_parquet(folder / "curves.parquet")
    assert set(curves["plan"]) == {"full", "d2@3"}
    assert curves.groupby("schedule")["images_seen"].max().eq(BUDGET).all()


def test_cells_of_an_earlier_version_get_the_scores_that_came_later(
    finished, tmp_path, capsys, monkeypatch, undrawn
):
    other, lacking = shutil.copytree(finished[0], tmp_path / "runs"), 0
    for path in other.glob("cells/*/features-shapes-*.npy"):
        known = json.loads((path.parent / "result.json").read_text())
        result = read_result(path.parent, known["digest"])
        kept = {k: v for k, v in result.metrics.items() if not k.startswith("mind/")}
        assert len(kept) < len(result.metrics)
        write_result(path.parent, replace(result, metrics=kept, facts={}))
        lacking += 1
    drawn = []
    monkeypatch.setattr("studies.cells.measuring.generate", lambda *args, **how: drawn.append(how))
    SMALL.run(other)
    assert f"{lacking} cells of an earlier version get the scores" in capsys.readouterr().err
    assert not drawn
    rows = ["cell_digest", "metric", "group", "schedule", "unit", "plan"]
    ours, theirs = (
        pd.read_parquet(w / "pareto-quick" / "frame.parquet").sort_values(rows, ignore_index=True)
        for w in (finished[0], other)
    )
    pd.testing.assert_frame_equal(ours, theirs)


def test_stopped_thrice_it_gives_what_an_undisturbed_study_gives(
    finished, prepared, tmp_path, undrawn
):
    other = shutil.copytree(prepared, tmp_path / "runs")
    SMALL.run(other)  # here, where the other's trainings ran in two processes
    frames = [pd.read_parquet(w / "pareto-quick" / "frame.parquet") for w in (finished[0], other)]
    pd.testing.assert_frame_equal(*frames)
    found = [
        {run.info.run_name: histories(w, run) for run in finished_runs(w, "pareto-quick")}
        for w in (finished[0], other)
    ]
    assert found[0] == found[1]
    curve = found[0]["progressive u0"]["select/nll/mean/d2 at 3"]
    steps = [step for step, _ in curve]
    assert len(steps) == len(set(steps)) >= 10, "a step was logged twice, or none"


def test_runs_have_what_the_page_compares(finished):
    runs = finished_runs(finished[0], "pareto-quick")
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    plans = [run for run in children if run.data.params["family"] in ("full", "switch")]
    assert len(children) == 3 * 7 + 6 + 1
    for run in plans:
        wanted = {"schedule", "subnet_depth", "selector", "train_switch", "seed", "budget_images"}
        assert wanted <= run.data.params.keys()
        assert {"nll/mean", "kv_bytes/peak", "class_accuracy"} <= run.data.metrics.keys()
    names = {run.info.run_name for run in children}
    assert {"real", "progressive u0", "progressive u0 full", "fixed 2/3 u0 d2@3"} <= names
    trained = next(run for run in children if run.info.run_name == "fixed 2/3 u0 d2@3")
    assert {"quality/excess", "quality/loss_share"} <= trained.data.metrics.keys()
    [parent] = [run for run in runs if run not in children]
    table = pd.read_csv(finished[0] / "pareto-quick" / "ablation" / "ablation.csv")
    worth = {n: v for n, v in parent.data.metrics.items() if n.startswith("ablation/")}
    assert "ablation/nll-mean/control full" in worth
    assert sorted(worth.values()) == pytest.approx(sorted(table["damage"]))


def test_one_command_mirrors_it_again_as_it_was(finished, copied):
    main([str(copied)])
    before, after = (shown(workspace, "pareto-quick") for workspace in (finished[0], copied))
    assert len(before) == 1 + 3 * 7 + 6 + 1
    for name in ("report.pdf", "ablation.csv"):
        assert sum(name in files for *_, files in before) == 1
    assert after == before


def test_a_trained_model_is_a_checkpoint_and_another_metric_trains_nothing(copied, undrawn):
    facts = json.loads((copied / "pareto-quick" / "study.json").read_text())
    for model in facts["models"]:
        folder = copied / "pareto-quick" / model["folder"]  # wherever the workspace was moved
        assert load(folder).model.depth == 4
        assert not (folder / "checkpoints").exists()
    weights = {p: p.stat().st_mtime_ns for p in copied.glob("cells/*/model.safetensors")}
    results = len(list(copied.glob("cells/*/result.json")))
    SMALL.run(copied, cfg=1.5, schedules="fixed")
    assert {p: p.stat().st_mtime_ns for p in copied.glob("cells/*/model.safetensors")} == weights
    assert len(list(copied.glob("cells/*/result.json"))) == results + 12, "base and fixed"


def test_a_training_that_diverged_or_ended_worse_is_a_status_and_no_gap(copied, capsys, undrawn):
    study = copied / "pareto-quick"
    models = json.loads((study / "study.json").read_text())["models"]
    digests = {model["schedule"]: model["digest"] for model in models}
    folders = {schedule: copied / "cells" / digest[:16] for schedule, digest in digests.items()}
    failed = CellResult(digest=digests["progressive"], status="diverged", error="loss is nan")
    write_result(folders["progressive"], failed)
    config = folders["fixed 2/3"] / "config.json"
    content = json.loads(config.read_text())
    write_json(config, content | {"note": content["note"] | {"worse": "ended worse, as planned"}})
    record(config)
    (folders["fixed 2/3"] / "result.json").unlink()
    for path in copied.glob("cells/*/config.json"):
        of = [digest for digest in digests.values() if digest in path.read_text()]
        if of and digests["control"] not in of and path.parent not in folders.values():
            shutil.rmtree(path.parent)
    SMALL.run(copied)
    said = capsys.readouterr().err
    assert "7 cells diverged" in said and "7 cells ended worse" in said
    frame = pd.read_parquet(study / "frame.parquet")
    for schedule, status in (("progressive", "diverged"), ("fixed 2/3", "ended worse")):
        bad = frame[frame["schedule"] == schedule]
        assert set(bad["status"]) == {status}
        assert set(bad["plan"]) == PLANS
        assert bad["value"].isna().all()
    answer = json.loads((study / "answer.json").read_text())
    assert "fixed 2/3 u0 d2@3: ended worse" in answer["unfinished_cells"]
    models = json.loads((study / "study.json").read_text())["models"]
    assert "ended worse, as planned" in [model["error"] for model in models]
    plans = (
        json.loads((study / "plans.json").read_text()) if (study / "plans.json").exists() else []
    )
    assert digests["fixed 2/3"][:16] not in json.dumps(plans)


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
    plan = DepthPlan.parse(chosen["plan"], model.patch_nums, model.depth)
    sample = generate(model, tokenizer, torch.arange(10), plan=plan, seed=7)
    assert json.loads(told.stdout) == sample.tokens.flatten().tolist()


def test_arms():
    flags = {"selectors": "equidistant,nested", "shares": "0.1,0.5,2/3,1"}
    study = PARETO.of(schedules="full,fixed,progressive,sandwich", **flags)
    arms = study.arms(base_geometry(presets()["tiny"]), None)
    assert [arm.label for arm in arms] == [
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
    assert [arm.selector for arm in arms] == [None] + ["equidistant"] * 6 + ["nested"] * 6
    assert {arm.switch for arm in arms} == {3}


def test_the_paper_s_costs():
    """PAPER's cost table of VAR-d30 at batch 64 with guidance."""
    cost = paper_cost()
    assert cost["full"].kv_mib_reference == pytest.approx(28_688, abs=1)
    assert cost["d16@6"].kv_mib_reference == pytest.approx(17_092, abs=1)
    assert cost["d16@7"].kv_mib_reference == pytest.approx(18_352, abs=1)
    assert cost["d8@6"].kv_mib_limit == pytest.approx(3_180, abs=1)
    assert cost["d2@6"].flops_share == pytest.approx(0.191, abs=0.002)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"schedules": "cyclic"}, "--schedules cyclic: use one of full, fixed, progressive"),
        ({"schedules": ""}, "--schedules '': give at least one value"),
        ({"shares": "0.5,1.5"}, "--shares 1.5: must be above 0, up to 1"),
        ({"shares": "0"}, "--shares 0: must be above 0"),
        ({"shares": "half"}, "--shares half: not a number; give shares such as 0.5 or 2/3"),
        ({"units": "a"}, "--units a: not a whole number"),
        ({"seeds": 0}, "--seeds 0: must be at least 1"),
        ({"budget": "10"}, "--budget 10: below one batch of 64 images"),
        ({"budget": "lots"}, "--budget lots: give a number of images"),
        ({"train_switch": 5}, "--train-switch 5: the network has 5 scales; use 0 to 4"),
        ({"depths": "8"}, "--depths 8: subnets of this network have 1 to 7"),
        ({"depths": "2,9"}, "--depths 9: subnets of this network have 1 to 7 of its 8 layers"),
        ({"kv_budgets": "2"}, "--kv-budgets 2: must be above 0, up to 1"),
        ({"lr_schedule": "step"}, "--lr-schedule step: use one of cosine, constant"),
        ({"selectors": "best"}, "--selectors best: use one of"),
        ({"dataset": "folder"}, "--data-path: goes with --dataset folder"),
        ({"dataset": "folder", "data_path": "here"}, "--dataset folder: has no packaged features"),
        ({"extractor": "inception"}, "--extractor inception: give its TorchScript file by --inc"),
        ({"inception": "a.pt"}, "--inception a.pt: goes with --extractor inception"),
        ({"vae": "a.pth"}, "--vae a.pth: give --var"),
        ({"scheduler": "tcp://127.0.0.1:9", "workers": 2}, "--workers 2: --scheduler has workers"),
    ],
)
def test_flags(capsys, tmp_path, flags, message):
    assert message in PARETO.refused(capsys, tmp_path / "runs", **flags)


def test_a_workspace_of_another_version(capsys, tmp_path):
    path = tmp_path / "workspace.json"
    path.write_text('{"format": "varant-workspace", "version": 99}')
    assert "version 99 in workspace.json" in PARETO.refused(capsys, tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_scheduler_that_does_not_answer(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("studies.running.executors.SCHEDULER_SECONDS", 0.5)
    assert "no answer" in PARETO.refused(capsys, tmp_path, scheduler="tcp://127.0.0.1:9")


def planned(capsys: pytest.CaptureFixture[str], workspace: Path, **flags: object) -> str:
    """What a dry run says."""
    assert PARETO.of(workspace=workspace, dry_run=True, **flags).run() is None
    assert not workspace.exists()
    return capsys.readouterr().out


def test_dry_run(capsys, tmp_path):
    said = planned(capsys, tmp_path / "runs", units=2)
    four = ("8 models of 99,968 image passes", "4 plans each: full, d2@3, d4@3, d6@3", "50 cells")
    assert all(expected in said for expected in four)
    said = planned(capsys, tmp_path / "runs", units=2, shares="0.1,0.5,2/3,1", switches="all")
    for expected in ("12 models of 99,968 image passes", "16 plans each", "238 cells", "CPU-s"):
        assert expected in said
    said = planned(capsys, tmp_path / "runs", units=2, switches="all", rivals="alone,skip")
    alone, skip = (f"of that rival {name}: about " for name in ("alone", "skip"))
    assert alone in said and f"{alone}0 CPU-s" not in said
    assert f"{skip}0 CPU-s" in said, "its cells are the base's"


def test_what_is_given_survives_quick(capsys, tmp_path):
    given = {"budget": "6.4k", "shares": "0.1,0.5,1", "samples": 320, "base_budget": 1_600}
    said = planned(capsys, tmp_path / "runs", quick=True, **given)
    assert "5 models of 6,400 image passes" in said
    assert "base networks: 1 of 1,600 training images" in said
    assert "samples = 320\n" in said and "nll_images = 200\n" in said
    said = planned(capsys, tmp_path / "runs", quick=True)
    assert "4 models of 3,200 image passes" in said
    assert "base networks: 1 of 3,200 training images" in said
