"""The ladder from end to end."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow_runs import finished_runs
from study_commands import Command

from analysis.instrument_file import LadderTable
from studies.cells.measuring import by_turns
from studies.ladder import Ladder, LadderConfig

LADDER = Command(study=Ladder, config=LadderConfig)


def test_repeats_of_a_finite_data_set_are_parts_of_it(tmp_path, capsys):
    pytest.importorskip("sklearn")
    digits = {"quick": True, "preset": "tiny", "dataset": "digits", "units": 3}
    said = LADDER.refused(capsys, tmp_path / "runs", **digits, samples=120)
    assert said.endswith(
        "--samples 120: digits has 200 held-out images, and a repeat takes half of them at most; "
        "give 100 or fewer"
    )
    study = LADDER.of(workspace=tmp_path / "runs", **digits, samples=20)
    _, points = study.plan()
    assert {point.task.part for point in points if point.task.unit == 2} == {2}


def test_a_part_has_classes_by_turns():
    labels_N = np.repeat(np.arange(4), [5, 6, 7, 8])
    one, same, other = (by_turns(labels_N, np.random.default_rng(s)) for s in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()
    assert sorted(one) == list(range(26))
    assert (np.bincount(labels_N[one[:20]]) == 5).all()


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
