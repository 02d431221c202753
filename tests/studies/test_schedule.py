"""The schedule search: parameters, winners and retraining on known numbers, and the command."""

import importlib.util
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from mlflow_runs import finished_runs
from pareto_frames import FD, NLL

from analysis.frame import checked_frame
from analysis.metrics import parse_metric
from analysis.searches.schedules import COMPROMISE, PAPER, SUBNETS, retrained, trial_table, winners
from reports import build
from studies.schedule import (
    PARAMETERS,
    ScheduleFlags,
    ScheduleSearch,
    fixed_points,
    importances_of,
    open_search,
    params_of,
    schedule_of,
)
from varant.errors import exit_codes
from varant.store.workspace import Workspace
from varant.training.schedule import Schedule

ROOT = Path(__file__).parents[2]


def test_parameters_and_schedules_are_inverse():
    for schedule in (
        Schedule.progressive(),
        Schedule.progressive().reversed(),
        Schedule.progressive(0.1, 0.7, (0.3, 0.2, 0.5), "late"),
        Schedule.fixed(0.4),
    ):
        again = schedule_of(params_of(schedule))
        progress = np.linspace(0, 1, 50)
        np.testing.assert_allclose(
            again.share_at(progress), schedule.share_at(progress), atol=1e-12
        )
        assert again.name == schedule.name


def test_fixed_points_are_the_papers_and_its_rivals():
    points = fixed_points()
    assert next(iter(points)) == PAPER
    paper = schedule_of(points[PAPER])
    assert (paper.start_share, paper.end_share) == (0.2, 1.0)
    np.testing.assert_allclose(paper.phases, (5 / 30, 15 / 30, 10 / 30))
    backwards = schedule_of(points["reversed"])
    np.testing.assert_allclose(backwards.share_at(0.1), 1.0)
    np.testing.assert_allclose(backwards.share_at(0.95), 0.2)


def trial(number: int, full: float, subnets: float, label: str | None = None, **more) -> dict:
    values = dict.fromkeys(PARAMETERS, 0.5) | {"ramp shape": "linear"}
    return (
        {"number": number, "label": label, "status": "finished", "full": full, "subnets": subnets}
        | values
        | more
    )


def test_winners_of_known_trials():
    trials = [
        trial(0, 2.0, 3.0, PAPER),
        trial(1, 1.0, 3.5),
        trial(2, 3.0, 1.5),  # the least mean
        trial(3, 1.9, 2.9),  # the best subnets at a full network no worse than the paper's
        trial(4, 0.0, 0.0, status="failed"),
    ]
    table = trial_table(trials)
    assert list(table["number"]) == [1, 2, 3, 0]  # of equal means the earlier first
    assert winners(table) == {COMPROMISE: 1, SUBNETS: 3}
    assert set(table.loc[table["front"], "number"]) == {1, 2, 3}
    assert winners(trial_table([trial(0, 1.0, 1.0, PAPER), trial(1, 2.0, 2.0)])) == {}
    assert winners(trial_table([trial(0, 2.0, 2.0, PAPER), trial(1, 1.0, 1.0)])) == {COMPROMISE: 1}
    assert winners(trial_table([])) == {}


def planted(*, full: float, subnets: float, seeds=(1, 2, 3)) -> pd.DataFrame:
    """The winner differs from the paper's point by `full` and, on average, `subnets`."""
    rows = []
    for schedule, damages in (
        (PAPER, (0.0, 0.0, 0.0)),
        (COMPROMISE, (full, subnets - 0.1, subnets + 0.1)),
    ):
        for seed in seeds:
            for cell, damage in zip(("full", "d4@3", "d2@3"), damages, strict=True):
                shared = {
                    "study": "schedule",
                    "base_seed": 0,
                    "scale": None,
                    "window": None,
                    "family": "full" if cell == "full" else "switch",
                    "cell": cell,
                    "switch": None if cell == "full" else 3,
                    "subnet_depth": None,
                    "selector": "equidistant",
                    "cell_digest": f"{schedule}-{seed}-{cell}",
                    "status": "finished",
                    "schedule": schedule,
                    "share": None,
                    "seed": seed,
                    "train_switch": 3,
                }
                noise = 0.002 * (-1) ** seed * (schedule != PAPER)
                for metric in (NLL, FD):
                    rows += [
                        shared
                        | {"metric": metric, "set": i, "value": 3 + damage + noise, "count": 9}
                        for i in range(4)
                    ]
    return checked_frame(pd.DataFrame(rows), training=True)


def test_retrained_differences_of_known_models():
    metrics = [parse_metric(NLL), parse_metric(FD)]
    found = retrained(
        planted(full=0.0, subnets=-0.3),
        metrics,
        reference=PAPER,
        schedules=[COMPROMISE],
        subnets=["d4@3", "d2@3"],
    )
    by_place = {(r.metric.kind, r.zone): r for r in found}
    assert set(by_place) == {("nll", "full"), ("nll", "subnets"), ("fd", "full"), ("fd", "subnets")}
    assert by_place["nll", "subnets"].damage.estimate == pytest.approx(-0.3, abs=0.01)
    assert by_place["nll", "subnets"].sign == -1
    assert by_place["nll", "full"].sign == 0
    assert by_place["nll", "full"].seeds == 3


def test_a_lost_model_leaves_no_number_that_is_half_a_mean():
    frame = planted(full=0.0, subnets=-0.3)
    lost = (frame["schedule"] == COMPROMISE) & (frame["cell"] == "d2@3") & (frame["seed"] == 2)
    found = retrained(
        frame[~lost],
        [parse_metric(NLL)],
        reference=PAPER,
        schedules=[COMPROMISE],
        subnets=["d4@3", "d2@3"],
    )
    assert {r.zone for r in found} == {"full"}


def test_importances_find_the_parameter_that_matters():
    rng = np.random.default_rng(0)
    study = optuna.create_study(directions=["minimize", "minimize"])
    distributions = {
        name: optuna.distributions.FloatDistribution(0, 1) for name in PARAMETERS[:4]
    } | {PARAMETERS[4]: optuna.distributions.CategoricalDistribution(("linear", "late"))}
    for _ in range(40):
        params = {name: float(rng.random()) for name in PARAMETERS[:4]}
        params[PARAMETERS[4]] = str(rng.choice(["linear", "late"]))
        study.add_trial(
            optuna.trial.create_trial(
                params=params,
                distributions=distributions,
                values=[3 * params[PARAMETERS[1]], params[PARAMETERS[2]]],
            )
        )
    found = importances_of(study.get_trials(), seed=0)
    assert found["full"][PARAMETERS[1]]["mean"] > 0.8
    assert found["subnets"][PARAMETERS[2]]["mean"] > 0.8
    assert all(value["sd"] >= 0 for values in found.values() for value in values.values())
    assert importances_of(study.get_trials()[:5], seed=0) == {}


COMMAND = [
    sys.executable,
    "-m",
    "studies.schedule",
    "--quick",
    "--trials",
    "7",
    "--seeds",
    "1",
    "--budget",
    "1600",
]


def trials_of(workspace: Path) -> list[optuna.trial.FrozenTrial]:
    (path,) = (workspace / "schedule-quick").glob("trials-*.db")
    study = optuna.load_study(study_name="schedule", storage=f"sqlite:///{path}")
    return study.get_trials()


@pytest.fixture(scope="module")
def finished(quick_workspace):
    """A study that was killed in its search and again after it."""

    def start() -> subprocess.Popen:
        return subprocess.Popen(
            [*COMMAND, "--workspace", str(quick_workspace), "--workers", "2"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    before = len(list(quick_workspace.glob("cells/*/result.json")))
    for results in (2, 6):
        process = start()
        deadline = time.monotonic() + 200
        while len(list(quick_workspace.glob("cells/*/result.json"))) < before + results:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    last = start()
    output, errors = last.communicate(timeout=300)
    assert last.returncode == 0, errors
    return quick_workspace, output


def test_killed_twice_no_trial_is_lost_or_repeated(finished):
    workspace, output = finished
    assert "report.pdf" in output
    trials = trials_of(workspace)
    assert [t.number for t in trials] == list(range(7))
    assert {t.state.name for t in trials} == {"COMPLETE"}
    assert [t.user_attrs.get("label") for t in trials] == [*fixed_points(), None]
    facts = json.loads((workspace / "schedule-quick" / "study.json").read_text())
    assert len({one["digest"] for one in facts["trials"]}) == 7
    for one in facts["trials"]:
        cell = Workspace(folder=workspace).cell(one["digest"])
        result = json.loads((cell / "result.json").read_text())
        values = {
            name.rsplit("/", 1)[1]: found["values"][0] for name, found in result["metrics"].items()
        }
        assert one["full"] == values.pop("full")
        assert one["subnets"] == pytest.approx(np.mean(list(values.values())))


def test_every_trial_is_a_run_with_its_ratios(finished):
    runs = finished_runs(finished[0], "schedule-quick")
    trials = [run for run in runs if run.data.params.get("family") == "trial"]
    assert len(trials) == 7
    for run in trials:
        assert set(PARAMETERS) <= set(run.data.params)
        assert any(name.startswith("select/nll/mean/") for name in run.data.metrics)


def test_an_undisturbed_search_proposes_the_same(finished, tmp_path):
    workspace, _ = finished
    flags = ScheduleFlags(
        workspace=workspace,
        quick=True,
        trials=7,
        seeds="1",
        budget="1600",
        storage=tmp_path / "other.db",
    )
    ScheduleSearch(flags, "test").run()  # its cells are there: only the search is new
    again = optuna.load_study(study_name="schedule", storage=f"sqlite:///{tmp_path / 'other.db'}")
    assert [t.params for t in again.get_trials()] == [t.params for t in trials_of(workspace)]
    assert [t.values for t in again.get_trials()] == [t.values for t in trials_of(workspace)]


def test_what_is_reported_is_retrained_and_on_test_images(finished):
    workspace, _ = finished
    folder = workspace / "schedule-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    facts = json.loads((folder / "study.json").read_text())
    answer = json.loads((folder / "answer.json").read_text())
    labels = {PAPER, *facts["winners"]}
    assert set(frame["schedule"]) == labels
    assert set(frame["seed"]) == {1}
    assert facts["search_seed"] == 0
    assert {m["schedule"] for m in facts["models"]} == labels
    trained = {m["digest"] for m in facts["models"]}
    assert not trained & {one["digest"] for one in facts["trials"]}
    assert {row["metric"].split("/")[0] for row in answer["retrained"]} <= {"nll", "fd"}
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert {"search", "slices", "samples"} <= names
    before = (folder / "report.pdf").read_bytes()
    assert build(folder).pdf.read_bytes() == before


def test_half_a_proposal_is_completed(finished, tmp_path):
    """A search that was killed between two parameters of a trial."""
    workspace, _ = finished
    flags = ScheduleFlags(
        workspace=workspace,
        quick=True,
        trials=7,
        seeds="1",
        budget="1600",
        storage=tmp_path / "half.db",
    )
    (path,) = (workspace / "schedule-quick").glob("trials-*.db")
    identity = optuna.load_study(study_name="schedule", storage=f"sqlite:///{path}").user_attrs[
        "identity"
    ]
    search = open_search(tmp_path / "half.db", identity)
    for label, params in fixed_points().items():
        search.enqueue_trial(params, user_attrs={"label": label})
    search.ask().suggest_float(PARAMETERS[0], 0.0, 1.0)
    ScheduleSearch(flags, "test").run()
    again = optuna.load_study(study_name="schedule", storage=f"sqlite:///{tmp_path / 'half.db'}")
    assert [t.params for t in again.get_trials()] == [t.params for t in trials_of(workspace)]


def refused(capsys, **flags) -> str:
    with pytest.raises(SystemExit) as ended, exit_codes():
        ScheduleSearch(ScheduleFlags(**flags), "test").run()
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()
    return said[-1]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"trials": 0}, "--trials 0"),
        ({"seeds": "0,1"}, "--seeds 0,1: 0 is the seed that trials train with"),
        ({"budget": "10"}, "--budget 10: below one batch"),
        ({"train_switch": 5}, "--train-switch 5: the network has 5 scales; use 0 to 4"),
        ({"storage": ROOT / "README.md"}, "README.md: not a storage of a schedule search"),
        ({"storage": ROOT}, "not a storage of a schedule search"),
    ],
)
def test_flags(capsys, tmp_path, flags, message):
    assert message in refused(capsys, workspace=tmp_path / "runs", **flags)
    assert not (tmp_path / "runs").exists()


def test_without_scikit_learn(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = refused(capsys, workspace=tmp_path / "runs")
    assert said.endswith("pip install 'varant[schedule]'")


def test_a_storage_of_another_study_is_refused_and_kept(finished, tmp_path, capsys):
    workspace, _ = finished
    (path,) = (workspace / "schedule-quick").glob("trials-*.db")
    before = path.read_bytes()
    common = {"workspace": workspace, "quick": True, "trials": 7, "seeds": "1", "storage": path}
    said = refused(capsys, **common, budget="1280")
    assert "holds the search of another study" in said
    assert path.read_bytes() == before
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("create table other (x)")
    connection.close()
    content = foreign.read_bytes()
    said = refused(capsys, **(common | {"storage": foreign, "budget": "1600"}))
    assert "not a storage of a schedule search" in said
    assert foreign.read_bytes() == content


def test_more_trials_go_on_with_the_search(finished):
    workspace, _ = finished
    before = trials_of(workspace)
    flags = ScheduleFlags(
        workspace=workspace, quick=True, trials=7, seeds="1", budget="1600", workers=2
    )
    ScheduleSearch(replace(flags, trials=8), "test").run()
    after = trials_of(workspace)
    assert [t.params for t in after[:7]] == [t.params for t in before]
    assert len(after) == 8


def damaged(folder: Path, tmp_path: Path, *, schedules=(), trials=()) -> dict:
    """The answer of a copy of the study in which these models and trials failed."""
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    frame = pd.read_parquet(copy / "frame.parquet")
    bad = frame["schedule"].isin(schedules)
    frame.loc[bad, ["status", "metric", "value"]] = ["failed", "", float("nan")]
    frame.loc[bad, "set"] = pd.NA
    frame.loc[bad, "count"] = 0
    frame = frame[~bad | ~frame.duplicated(["cell_digest"])]
    frame.to_parquet(copy / "frame.parquet", index=False)
    facts = json.loads((copy / "study.json").read_text())
    for one in facts["trials"]:
        if one["number"] in trials:
            one["status"] = "failed"
            del one["full"], one["subnets"]
    (copy / "study.json").write_text(json.dumps(facts))
    return json.loads(build(copy).answer.read_text())


def test_a_study_with_failures_still_reports(finished, tmp_path):
    folder = finished[0] / "schedule-quick"
    facts = json.loads((folder / "study.json").read_text())
    names = [s["label"] for s in facts["schedules"] if s["label"] != PAPER]
    answer = damaged(folder, tmp_path / "a", schedules=names)
    assert not answer["retrained"]
    assert all(f"{name}: no numbers" in answer["verdict"] for name in names)
    answer = damaged(folder, tmp_path / "b", schedules=[*names, PAPER])
    assert not answer["retrained"]
    answer = damaged(folder, tmp_path / "c", trials=range(1, len(facts["trials"])))
    assert "1 schedule" in answer["answer"] and "did not finish" in answer["answer"]
    answer = damaged(folder, tmp_path / "d", trials=range(len(facts["trials"])))
    assert answer["winners"] == {}
