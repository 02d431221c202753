"""The regime study from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow_runs import finished_runs
from study_commands import Command

from analysis.statistics.conflict import load_conflict
from analysis.study_file import RegimeFile
from reports import build
from studies.regime import RegimeConfig, RegimeStudy

REGIME = Command(study=RegimeStudy, config=RegimeConfig)
SMALL = {"budget": 256, "batch": 32, "nll_images": 40, "depths": 2, "ages": "64,128"}
SMALL |= {"rates": "1e-3", "preset": "tiny"}


def test_the_study_end_to_end(
    quick_workspace: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    paths = REGIME.run(quick_workspace, quick=True, **SMALL)
    folder = quick_workspace / "regime-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["status"]) == {"finished"}
    trained = frame[["kind", "base_images", "lr"]].drop_duplicates()
    assert trained["lr"].isna().sum() == 2, "bases"
    kinds = ("full", "progressive", "fixed", "reversed")
    assert {(k, age) for k in kinds for age in (64, 128)} <= set(
        trained[["kind", "base_images"]].itertuples(index=False, name=None)
    )
    control = frame[(frame["kind"] == "full") & (frame["metric"] == "nll/mean")]
    levels = control[control["group"].isna() & (control["plan"] == "full")]
    assert levels.groupby("base_images")["value"].first().nunique() == 2, "from bases of their own"
    conflict = load_conflict(folder / "conflict.parquet")
    assert set(conflict["progress"]) == {0, 0.25, 0.5, 0.75, 1}
    layers = RegimeFile.load(folder / "study.json").geometry.depth
    assert set(conflict["layer"]) == set(range(layers + 1)), "0 is the whole network"
    assert set(conflict["subnet_depth"]) == {2}
    begun = conflict[conflict["progress"] == 0].groupby(["base_images", "layer"])["cosine"]
    assert begun.nunique().eq(1).all(), "both schedules began at one base"
    assert paths.verdict.startswith("cannot resolve: a quick run: not a result (")
    answer = json.loads(paths.answer.read_text())
    assert [row["claim"] for row in answer["ledger"]] == ["C3"]
    names = {run.info.run_name for run in finished_runs(quick_workspace, "regime-quick")}
    assert {"base, 64 u0", "progressive, 128, 0.001 u0 full"} <= names
    before = paths.pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before
    capsys.readouterr()
    REGIME.run(quick_workspace, quick=True, **SMALL)
    assert "30 cells are finished already" in capsys.readouterr().err


def test_the_dry_run_says_the_grid_and_its_price(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    REGIME.of(workspace=tmp_path / "runs", dry_run=True, units=2, workers=3).run()
    said, err = capsys.readouterr()
    assert err == "warning: --units 2: no verdict below 5\n"
    power = [line for line in said.splitlines() if line.startswith("  C3")]
    assert len(power) == 1 and "C3 cosine rate, nll: margin" in power[0]
    assert "6 base networks of 8k, 32k, 128k images; the tokenizer" in said
    assert "72 models of 11,968 image passes" in said and "390 cells\n" in said
    passes = 2 * (8_000 + 32_000 + 128_000) + 72 * 11_968
    assert f"training: {passes:,} image passes, about " in said
    assert "on 3 one-thread processes about " in said
    assert not (tmp_path / "runs").exists()


GROWING = "give growing numbers of images, such as 8k,32k,128k"
RATES = "give growing positive rates, such as 1e-4,1e-3"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"ages": ""}, GROWING),
        ({"ages": "32k,8k"}, f"--ages 32k,8k: {GROWING}"),
        ({"ages": "8k,8k"}, f"--ages 8k,8k: {GROWING}"),
        ({"ages": "young"}, f"--ages young: {GROWING}"),
        ({"ages": 32}, "--ages 32: below one batch of --batch 64 images; give at least as many"),
        ({"rates": "1e-3,0"}, f"--rates 1e-3,0: {RATES}"),
        ({"rates": "-1e-3"}, f"--rates -1e-3: {RATES}"),
        ({"rates": "1e-3,1e-4"}, f"--rates 1e-3,1e-4: {RATES}"),
        ({"lr": 1e-3}, "--lr 0.001: this study varies it; give --rates"),
        ({"base_budget": "48k"}, "--base-budget 48k: this study varies it; give --ages"),
        ({"samples": 100}, "--samples 100: this study draws no images; drop it"),
        ({"cfg": 1.5}, "--cfg 1.5: this study draws no images; drop it"),
        ({"model": "mine"}, "--model mine: this study trains bases of several"),
    ],
)
def test_bad_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: dict[str, object], message: str
) -> None:
    assert message in REGIME.refused(capsys, tmp_path / "runs", **flags)
