"""The schedule search: parameters and importances on known numbers, and the command."""

from __future__ import annotations

import importlib.util
import json
import shutil
import signal
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow_runs import finished_runs
from study_commands import ROOT, TRAINED, Command, end_when

from analysis.searches.schedules import PARAMETERS
from reports import build
from studies.schedule import ScheduleConfig, ScheduleStudy
from studies.searching.schedules import PAPER, STUDY_NAME, ScheduleSearch, fixed_points, schedule_of
from varant.errors import UserError
from varant.store.workspace import Workspace

SCHEDULE = Command(study=ScheduleStudy, config=ScheduleConfig)
TRIALS = 7
FLAGS = TRAINED | {"trials": TRIALS, "units": 1, "depths": "1,2", "budget": 640}
SMALL = replace(SCHEDULE, flags=FLAGS)


def trials_in(storage: Path) -> list[optuna.trial.FrozenTrial]:
    study = optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{storage}")
    return study.get_trials()


def storage_of(workspace: Path) -> Path:
    """The file of the workspace's search."""
    (path,) = (workspace / "schedule-quick").glob("trials-*.db")
    return path


def assert_same_search(one: Path, other: Path) -> None:
    """Two files hold the same proposals, and the same scores of them."""
    found = [[(t.params, t.values) for t in trials_in(path)] for path in (one, other)]
    assert found[0] == found[1]


@pytest.fixture(scope="module")
def finished(quick_workspace: Path) -> Path:
    """The workspace of a study that was killed twice in its search."""
    workspace = quick_workspace

    def results() -> int:
        return len(list(workspace.glob("cells/*/result.json")))

    # Within a batch of trials, and where two processes run them.
    end_when(SMALL.start(workspace, workers=2), lambda: results() >= 2, signal.SIGKILL)
    end_when(SMALL.start(workspace), lambda: results() >= 6, signal.SIGKILL)
    SMALL.run(workspace)
    return workspace


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the workspace of the finished study."""
    return shutil.copytree(finished, tmp_path / "runs")


def test_killed_twice_no_trial_is_lost_or_repeated(finished):
    trials = trials_in(storage_of(finished))
    assert [t.number for t in trials] == list(range(TRIALS))
    assert {t.state.name for t in trials} == {"COMPLETE"}
    assert [t.user_attrs.get("label") for t in trials] == [*fixed_points(), None]
    facts = json.loads((finished / "schedule-quick" / "study.json").read_text())
    assert len({one["digest"] for one in facts["trials"]}) == TRIALS
    for one in facts["trials"]:
        cell = Workspace(folder=finished).cell(one["digest"])
        result = json.loads((cell / "result.json").read_text())
        values = {
            name.rsplit("/", 1)[1]: found["value"] for name, found in result["metrics"].items()
        }
        assert one["full"] == values.pop("full")
        assert one["subnets"] == pytest.approx(np.mean(list(values.values())))


def test_every_trial_is_a_run_with_its_ratios(finished):
    runs = finished_runs(finished, "schedule-quick")
    trials = [run for run in runs if run.data.params.get("family") == "trial"]
    assert len(trials) == TRIALS
    for run in trials:
        assert set(PARAMETERS) <= set(run.data.params)
        assert any(name.startswith("select/nll/mean/") for name in run.data.metrics)


def test_an_undisturbed_search_proposes_the_same(finished, copied, tmp_path, undrawn):
    SMALL.run(copied, storage=tmp_path / "other.db")  # cells are there: only the search is new
    assert_same_search(tmp_path / "other.db", storage_of(finished))


def test_half_a_proposal_is_completed(finished, copied, tmp_path, undrawn):
    """A search that was killed between two parameters of a trial."""
    path = storage_of(finished)
    known = optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{path}")
    half = tmp_path / "half.db"
    search = ScheduleSearch.opened(half, identity=known.user_attrs["identity"], seed=0)
    search.study.ask().suggest_float(PARAMETERS[0], 0.0, 1.0)
    SMALL.run(copied, storage=half)
    assert_same_search(half, path)


def test_an_edited_score_is_not_believed(finished, tmp_path):
    """A search is held against the results of its trainings before it goes on."""
    path = shutil.copy(storage_of(finished), tmp_path / "edited.db")
    told = {schedule_of(t.params): tuple(t.values) for t in trials_in(path)}
    with sqlite3.connect(path) as database:
        database.execute("UPDATE trial_values SET value = value - 1 WHERE trial_id = 2")
    known = optuna.load_study(study_name=STUDY_NAME, storage=f"sqlite:///{path}")
    search = ScheduleSearch.opened(path, identity=known.user_attrs["identity"], seed=0)
    with pytest.raises(UserError, match=r"edited\.db: trial 1 is told .*; delete this file"):
        search.check(lambda schedules: [told[schedule] for schedule in schedules])


def test_more_trials_go_on_with_the_search(finished, copied, undrawn):
    SMALL.run(copied, trials=TRIALS + 1)
    before, after = trials_in(storage_of(finished)), trials_in(storage_of(copied))
    assert [t.params for t in after[:TRIALS]] == [t.params for t in before]
    assert len(after) == TRIALS + 1


def test_what_is_reported_is_retrained_and_on_test_images(finished):
    folder = finished / "schedule-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    facts = json.loads((folder / "study.json").read_text())
    answer = json.loads((folder / "answer.json").read_text())
    labels = {PAPER, *facts["winners"]}
    assert set(frame["schedule"].dropna()) == {"base", "control", *labels}
    assert set(frame.loc[frame["schedule"] == "control", "anchor"]) == {"control"}
    assert set(frame["seed"].dropna()) == set(frame["unit"]) == {1}, "no pilot"
    assert facts["search_seed"] == 0
    assert {m["schedule"] for m in facts["models"]} == {"control", *labels}
    trained = {m["digest"] for m in facts["models"]}
    assert not trained & {one["digest"] for one in facts["trials"]}
    assert {row["metric"].split("/")[0] for row in answer["retrained"]} <= {"nll", "fd"}
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert {"trade", "search", "slices", "samples"} <= names
    before = (folder / "report.pdf").read_bytes()
    assert build(folder).pdf.read_bytes() == before


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"trials": 0}, "--trials 0"),
        ({"storage": ROOT / "README.md"}, "README.md: not a storage of a schedule search"),
        ({"storage": ROOT}, "not a storage of a schedule search"),
    ],
)
def test_flags(capsys, tmp_path, flags, message):
    assert message in SCHEDULE.refused(capsys, tmp_path / "runs", **flags)


def test_without_scikit_learn(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = SCHEDULE.refused(capsys, tmp_path / "runs")
    assert said.endswith("pip install 'varant[schedule]'")


def test_a_storage_of_another_study_is_refused_and_kept(finished, tmp_path, capsys):
    path = storage_of(finished)
    before = path.read_bytes()
    said = SMALL.refused(capsys, finished, storage=path, budget=320)
    assert "holds the search of another study" in said
    assert path.read_bytes() == before
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("create table other (x)")
    connection.close()
    content = foreign.read_bytes()
    said = SMALL.refused(capsys, finished, storage=foreign)
    assert "not a storage of a schedule search" in said
    assert foreign.read_bytes() == content
