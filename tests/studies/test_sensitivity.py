"""The sensitivity study from end to end: killed twice and finished, then its outputs."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_lines import config_of
from mlflow_runs import artifacts, finished_runs, histories
from study_commands import ROOT, Command, end_when

from studies.cells.cell import run_cell
from studies.cells.evaluation import Measurement
from studies.cells.result import CellResult, read_result, write_result
from studies.grid.bench import plan_bench, prepare_bench
from studies.running.executors import InlineExecutor
from studies.running.runner import split_cells
from studies.sensitivity import Sensitivity, SensitivityConfig, entries_of
from varant import DepthPlan, UserError
from varant.errors import exit_codes
from varant.manifest import Damaged
from varant.model.plan import default_depths
from varant.store.workspace import Workspace

SMALL = Command(
    study=Sensitivity,
    config=SensitivityConfig,
    flags={"quick": True, "depths": 1, "base_budget": 1_920, "samples": 80, "nll_images": 40},
)
RESULTS = "cells/*/result.json"


def times(workspace: Path, pattern: str) -> dict[Path, int]:
    """When the files of a pattern were written."""
    return {path: path.stat().st_mtime_ns for path in workspace.glob(pattern)}


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
def finished(quick_workspace: Path) -> tuple[Path, str, str]:
    """A workspace whose study was killed in training and among its cells, then finished; and what
    it said then."""
    workspace = quick_workspace
    for network in workspace.glob("models/*/model.safetensors"):
        shutil.rmtree(network.parent)  # the base is to be trained
    made = times(workspace, "models/*/*") | times(workspace, "tokens/*/*")

    first = SMALL.start(workspace, workers=2)
    end_when(first, lambda: bool(times(workspace, "models/*/metrics.jsonl")), signal.SIGKILL)
    wait_until_empty(first.pid)
    assert len(times(workspace, "models/*/config.json")) == 1, "half a base counts as one"
    assert not times(workspace, RESULTS)

    second = SMALL.start(workspace, workers=2)
    end_when(second, lambda: len(times(workspace, RESULTS)) >= 3, signal.SIGKILL)
    wait_until_empty(second.pid)
    kept = times(workspace, RESULTS)
    assert len(kept) >= 3

    third = SMALL.start(workspace)
    output, errors = third.communicate(timeout=300)
    assert third.returncode == 0, errors
    for path, before in (kept | made).items():
        assert path.stat().st_mtime_ns == before, f"{path} was made again"
    return workspace, output, errors


@pytest.fixture
def copied(finished: tuple[Path, str, str], tmp_path: Path) -> Path:
    """A copy of the workspace of the finished study."""
    return shutil.copytree(finished[0], tmp_path / "runs")


def test_a_killed_study_goes_on_where_it_was(finished):
    workspace, output, errors = finished
    assert "cells are finished already" in errors
    assert "report.pdf" in output
    frame = pd.read_parquet(workspace / "sensitivity-quick" / "frame.parquet")
    assert set(frame["status"]) == {"finished"}


def test_mlflow_ends_as_if_never_interrupted(finished):
    workspace, _, _ = finished
    runs = finished_runs(workspace, "sensitivity-quick")
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    children = [run for run in runs if "mlflow.parentRunId" in run.data.tags]
    assert len(parents) == 1
    digests = [run.data.tags["cell_digest"] for run in children]
    frame = pd.read_parquet(workspace / "sensitivity-quick" / "frame.parquet")
    assert sorted(digests) == sorted(set(frame["cell_digest"]))
    for run in children:
        assert run.data.params["subnet_depth"]
        assert run.inputs.dataset_inputs[0].dataset.name == "shapes"
        points = histories(workspace, run)
        real = run.data.params["family"] == "real"
        for metric in ("class_accuracy", *(() if real else ("nll/mean", "kv_bytes/peak"))):
            assert len(points[metric]) == 1
    assert {"report.pdf", "frame.parquet", "figures"} <= artifacts(workspace, parents[0])
    assert parents[0].data.tags["mlflow.note.content"].count("\n\n") == 2


def test_a_study_killed_before_it_logged_its_data_logs_them_later(copied, undrawn):
    with sqlite3.connect(copied / "mlflow.db") as database:
        database.execute("DELETE FROM inputs")
    SMALL.run(copied)
    runs = finished_runs(copied, "sensitivity-quick")
    assert {len(run.inputs.dataset_inputs) for run in runs} == {1}


def test_frame_holds_every_cell_and_measures_what_it_says(finished):
    workspace, _, _ = finished
    frame = pd.read_parquet(workspace / "sensitivity-quick" / "frame.parquet")
    facts = json.loads((workspace / "sensitivity-quick" / "study.json").read_text())
    patch_nums, depth = tuple(facts["geometry"]["patch_nums"]), facts["geometry"]["depth"]
    entries = entries_of(patch_nums, depth, (1,), ("equidistant",))
    assert frame.dtypes["plan"] == "string", "texts, for readers of other programs"
    assert set(frame["plan"]) == {"real", *(columns["plan"] for _, columns in entries)}
    kv = frame[frame["metric"].isin(["kv_bytes/peak", "kv_bytes/analytic"])]
    assert (kv.groupby("plan")["value"].nunique() == 1).all(), "measured KV is not the analytic"
    accuracy = frame[(frame["metric"] == "class_accuracy") & (frame["plan"] == "full")]
    assert len(accuracy) == 1 + 20
    assert (accuracy["count"] == 80).all()
    # The score on all samples lies among those without a block of them.
    whole = accuracy["group"].isna()
    assert accuracy.loc[~whole, "value"].mean() == pytest.approx(
        accuracy.loc[whole, "value"].item()
    )
    # Scales before the one that lost depth cannot change: same NLL to the last bit.
    for plan, metric in (("d1 on scale 5", "nll/scale_04"), ("d1@3", "nll/scale_02")):
        pair = [
            frame[(frame["plan"] == name) & (frame["metric"] == metric)].sort_values("group")[
                "value"
            ]
            for name in (plan, "full")
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


def test_a_second_selector_reuses_the_cells_that_are_there(copied, undrawn):
    before = times(copied, RESULTS)
    SMALL.run(copied, selectors="equidistant,first")
    assert before.items() <= times(copied, RESULTS).items()
    frame = pd.read_parquet(copied / "sensitivity-quick" / "frame.parquet")
    assert set(frame["selector"].dropna()) == {"equidistant", "first"}


def test_a_tracking_database_that_cannot_be_used_stops_no_study(copied, capsys, undrawn):
    (copied / "mlflow.db").unlink()
    (copied / "mlflow.db").mkdir()
    (copied / ".mlflow.lock").unlink()
    (copied / ".mlflow.lock").mkdir()
    SMALL.run(copied)
    said = capsys.readouterr()
    assert said.err.count("warning: MLflow: ") == 1
    assert "report.pdf" in said.out


def damaged(copied: Path) -> dict[Path, str]:
    """Files of cells, a reference and the cells' manifest that are not what was written, and how
    each is called."""
    kinds = ("result.json", "samples.npy", "features-*.npy", "manifest.json")
    cells = sorted(copied.glob("cells/*"))
    found = {next(cell.glob(kind)): kind for cell, kind in zip(cells, kinds, strict=False)}
    found |= {next(copied.glob("tokens/*/test-*.safetensors")): "reference"}
    for path in found:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    lost = next(cells[4].glob("samples.npy"))
    lost.unlink()
    return found | {lost: "lost"}


def test_what_is_damaged_is_named_and_made_again(copied, capsys, undrawn):
    """One flipped bit in a file of each kind, and a file that is gone: the same frame as before."""
    frame = copied / "sensitivity-quick" / "frame.parquet"
    before, results = frame.read_bytes(), times(copied, RESULTS)
    bad = damaged(copied)
    SMALL.run(copied)
    said = capsys.readouterr().err
    for path in bad:
        assert f"warning: {path.parent if path.name == 'manifest.json' else path}" in said
    assert f"{len(results) - 5} cells are finished already" in said
    assert frame.read_bytes() == before


def test_a_damaged_network_is_named_and_its_cells_run_once_it_is_whole(copied, capsys, undrawn):
    network = next(copied.glob("models/*/model.safetensors"))
    whole = network.read_bytes()
    network.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    shutil.rmtree(sorted(copied.glob("cells/*"))[0])
    with pytest.raises(SystemExit) as ended, exit_codes():
        SMALL.run(copied)
    assert ended.value.code == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: {network}: damaged") and "; " in said
    network.write_bytes(whole)
    SMALL.run(copied)
    frame = pd.read_parquet(copied / "sensitivity-quick" / "frame.parquet")
    assert set(frame["status"]) == {"finished"}


def test_a_checkpoint_can_be_studied_in_place_of_the_base(copied, capsys, undrawn, monkeypatch):
    """The base network given as --model has the cells of the base: same weights, same digests."""
    base = next(path.parent for path in copied.glob("models/*/model.safetensors"))
    before = times(copied, RESULTS)
    SMALL.run(copied, model=base)
    assert "cells are finished already" in capsys.readouterr().err
    assert times(copied, RESULTS) == before
    facts = json.loads((copied / "sensitivity-quick" / "study.json").read_text())
    assert facts["model"].startswith("checkpoint")
    # What nobody noted beside the tokenizer is measured once.
    monkeypatch.setattr("varant.start.sources.reconstruction_psnr", None)
    SMALL.run(copied, model=base)
    again = json.loads((copied / "sensitivity-quick" / "study.json").read_text())
    assert again["tokenizer"] == facts["tokenizer"]


def test_grid():
    patch_nums = (1, 2, 3, 4, 6)
    entries = list(entries_of(patch_nums, 8, (2, 4), ("equidistant", "last")))
    plans = {(columns["plan"], columns["selector"]): plan for plan, columns in entries}
    assert len(entries) == len(plans) == 1 + 2 * (3 + 4 + 2 * 5 + 2 * 5)
    assert plans["d4 on scales 1-2", "equidistant"].depths == (4, 4, 8, 8, 8)
    assert plans["d4 on scale 3", "equidistant"].depths == (8, 8, 4, 8, 8)
    d2_at_1 = DepthPlan.two_zone(patch_nums, 8, subnet_depth=2, switch=1)
    assert plans["d2@1", "equidistant"] == d2_at_1
    assert plans["d4 on late", "equidistant"].depths == (8, 8, 4, 4, 4)
    assert plans["d2@0", "last"].layers[0] == (6, 7)
    assert default_depths(8) == (2, 4, 6)
    assert default_depths(2) == (1,)


def test_a_cell_without_its_network_is_no_result_and_can_be_run_later(finished, tmp_path):
    """A cell whose network vanished is no result, and is no other cell once it is mended."""
    config = SMALL.of(workspace=finished[0]).config
    workspace = Workspace(folder=finished[0])
    bench = prepare_bench(plan_bench(config), config, workspace, InlineExecutor())
    evaluation = bench.evaluation_of(0)
    plan = DepthPlan.full((1, 2, 3, 4, 6), 4)
    mended = bench.site.cell(Measurement(plan=plan, evaluation=evaluation, unit=0))
    lost = replace(mended.network, model_folder=tmp_path / "gone")
    broken = replace(mended, network=lost)
    elsewhere = Workspace(folder=tmp_path)
    with pytest.raises(UserError, match="gone"):
        run_cell(broken, elsewhere.cell(broken.digest))
    assert split_cells([broken], elsewhere).open == {broken.digest: broken}
    assert mended.digest == broken.digest, "a path is no identity"
    assert run_cell(mended, elsewhere.cell(mended.digest)).status == "finished"
    assert not split_cells([mended], elsewhere, retry_failed=True).open


def test_a_result_of_another_cell_is_named(tmp_path):
    write_result(tmp_path, CellResult(digest="other"))
    with pytest.raises(Damaged, match=r"result\.json: of another cell"):
        read_result(tmp_path, "abc")
    assert isinstance(read_result(tmp_path, "other"), CellResult)
    assert read_result(tmp_path / "nothing", "abc") is None


def test_the_first_command_trains_nothing_and_the_readme_counts_its_cells(tmp_path, capsys):
    config = config_of(SensitivityConfig, dry_run=True, workspace=tmp_path / "runs")
    assert Sensitivity(config, "test").run() is None
    said = capsys.readouterr().out
    cells = re.search(r"^(\d+) cells", said, re.MULTILINE)[1]
    assert f"{cells} cells are measured" in " ".join((ROOT / "README.md").read_text().split())
    assert "base networks:" not in said and "training:" not in said
