"""The switch study from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow_runs import finished_runs
from study_commands import TRAINED, Command

from reports import ReportPaths, build
from studies.switch import Switch, SwitchConfig

SWITCH = Command(study=Switch, config=SwitchConfig)


@pytest.fixture(scope="module")
def finished(quick_workspace: Path) -> tuple[Path, ReportPaths]:
    """The study's folder, and its report."""
    paths = SWITCH.run(quick_workspace, **TRAINED, switches="0,3", depths=2, budget=640)
    return quick_workspace / "switch-quick", paths


def test_the_study_end_to_end(finished):
    folder, paths = finished
    frame = pd.read_parquet(folder / "frame.parquet")
    trained = frame[["schedule", "kind", "train_switch"]].dropna().drop_duplicates()
    assert set(trained.itertuples(index=False, name=None)) == {
        ("base", "base", 0),
        ("control", "full", 0),
        ("switch 0", "fixed", 0),
        ("switch 3", "fixed", 3),
    }
    assert set(frame["status"]) == {"finished"}
    answer = json.loads(paths.answer.read_text())
    assert answer["trained_at"] == {"0": "switch 0", "3": "switch 3"}
    assert paths.verdict.startswith("FD: cannot resolve: a quick run: not a result (d2 ")
    assert "worse elsewhere than trained in" in paths.verdict
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert {"transfer", "switch", "samples"} <= names
    runs = finished_runs(folder.parent, "switch-quick")
    expected = {"real", "base u0 full", "control u0", "switch 0 u0", "switch 3 u0"}
    assert expected <= {run.info.run_name for run in runs}


def test_a_rebuild_changes_no_byte(finished):
    folder, paths = finished
    before = paths.pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"switches": "5"}, "--switches 5: the network has 5 scales; use 0 to 4"),
        ({"switches": "x"}, "--switches x: not a whole number; give numbers such as 0,2"),
        ({"schedule": "full"}, "--schedule full: use one of fixed"),
        ({"share": 0.0}, "--share 0.0: must be above 0"),
    ],
)
def test_flags(capsys, tmp_path, flags, message):
    assert message in SWITCH.refused(capsys, tmp_path / "runs", **flags)
