"""The ladder from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
from mlflow_runs import finished_runs
from study_commands import Command

from analysis.instrument_file import LadderTable
from studies.ladder import Ladder, LadderConfig

LADDER = Command(study=Ladder, config=LadderConfig)


def test_the_study_end_to_end(quick_workspace: Path) -> None:
    paths = LADDER.run(quick_workspace, quick=True, units=2, samples=60)
    folder = quick_workspace / "ladder-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["family"]) == {"real", "rung"}
    zones = frame.dropna(subset="window").groupby("window", sort=False)["scale"].unique()
    assert {zone: list(scales) for zone, scales in zones.items()} == {
        "early": [1],
        "middle": [2],
        "late": [5],
    }
    runs = finished_runs(quick_workspace, "ladder-quick")
    (parent,) = [run for run in runs if "config_digest" in run.data.tags]
    assert any("5 percent random tokens" in name for name in parent.data.metrics)
    answer = json.loads(paths.answer.read_text())
    table = LadderTable.read(folder / "table.json")
    assert (table.repeats, table.samples) == (2, 60)
    assert not any(any(one.zones.values()) for one in table.metrics)  # too few repeats
    assert len(answer["passes"]) == len(table.metrics)
    assert {path.stem for path in (folder / "figures").iterdir()} == {"ladder", "samples"}
