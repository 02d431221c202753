"""The mirror in MLflow can always be made, and made again."""

from __future__ import annotations

import gc
import shutil
import statistics
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from mlflow_runs import histories, runs_of, shown
from small_studies import make_folder, study_facts

from studies.cells.result import CellResult, Measurements, write_result
from studies.tracking.__main__ import main
from studies.tracking.logged import Answer, LoggedCell, LoggedStudy
from studies.tracking.mirror import Mirror, mirror_study
from studies.tracking.outline import Outline, OutlinedCell
from studies.tracking.spread import over_units
from varant.store.workspace import Workspace

if TYPE_CHECKING:
    from studies.tracking.mlflow_runs import StudyRecord

STUDY = LoggedStudy(
    experiment="one", run_name="r", quick=True, question="?", config_digest="c", params={}
)


def opened(folder: Path, **changes: str) -> StudyRecord:
    """The record of the study, or of one that differs in what is given."""
    from studies.tracking.mlflow_runs import open_study

    return open_study(folder, replace(STUDY, **changes))


def cell(digest: str) -> LoggedCell:
    result = CellResult(digest=digest, metrics={"nll/mean": Measurements.exact(2.0)}, seconds=1.0)
    return LoggedCell(
        result=result,
        name=digest,
        place=0,
        params={},
        metrics=result.values,
        curve=[],
        images_seen=0,
        tags=STUDY.tags,
    )


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new workspace with a name for which URLs have other plans, in which two studies began at
    once beside a half-made database."""
    from studies.tracking.mlflow_runs import DATABASE

    folder = tmp_path_factory.mktemp("ws") / "50 %41? #x"
    folder.mkdir()
    (folder / DATABASE).touch()
    with ThreadPoolExecutor(2) as threads:
        for record in threads.map(lambda name: opened(folder, experiment=name), ("one", "two")):
            record.record_cell(cell("a"))
    return folder


def statuses(workspace: Path, experiment: str) -> list[str]:
    from studies.tracking.mlflow_runs import DATABASE, _client_of

    client = _client_of(workspace / DATABASE)
    found = client.get_experiment_by_name(experiment)
    assert found.tags["mlflow.experimentKind"] == "custom_model_development"
    return sorted(run.info.status for run in client.search_runs([found.experiment_id]))


def test_studies_begun_at_once_share_a_database_that_is_made_once(workspace, capfd):
    assert {path.name for path in workspace.iterdir()} == {
        ".mlflow",
        ".mlflow.lock",
        "mlflow.db",
        "mlflow.db.damaged-1",
    }
    assert [path.name for path in workspace.parent.iterdir()] == [workspace.name]
    for experiment in ("one", "two"):
        assert "FINISHED" in statuses(workspace, experiment)


def test_two_processes_at_one_study_write_each_cell_once(workspace):
    records = [opened(workspace, experiment="six") for _ in range(2)]
    for record in records:
        record.record_cell(cell("b"))
    assert statuses(workspace, "six") == ["FINISHED", "RUNNING"]


def test_what_runs_in_no_living_process_is_closed_when_another_begins(workspace):
    dead = opened(workspace, experiment="three")
    opened(workspace, experiment="four")
    assert statuses(workspace, "three") == ["RUNNING"], "its process lives"
    dead.living.close()  # as the system does
    opened(workspace, experiment="four")
    assert statuses(workspace, "three") == ["KILLED"]


@pytest.mark.parametrize("damage", ["no database" * 500, "page"])
def test_a_damaged_database_is_kept_aside_and_said_without_a_traceback(
    workspace, tmp_path, capfd, damage, monkeypatch
):
    from studies.tracking import mlflow_runs

    path = tmp_path / mlflow_runs.DATABASE
    content = damage.encode()
    if damage == "page":
        content = bytearray((workspace / mlflow_runs.DATABASE).read_bytes())
        content[4096 * 3 : 4096 * 6] = bytes(3 * 4096)
    path.write_bytes(content)
    whole = (workspace / mlflow_runs.DATABASE).read_bytes()
    # Making one takes seconds.
    make = mlflow_runs._client_of
    monkeypatch.setattr(
        mlflow_runs,
        "_client_of",
        lambda at: make(at) if at.stat().st_size else at.write_bytes(whole),
    )
    mlflow_runs.open_study(tmp_path, STUDY)
    said = capfd.readouterr().err
    assert said.count("\n") == 1 and "mlflow.db.damaged-1" in said, said
    assert (tmp_path / "mlflow.db.damaged-1").read_bytes() == content
    gc.collect()


def test_a_signal_while_a_study_is_written_leaves_no_run_running(workspace):
    class Stop(KeyboardInterrupt):
        pass

    outline = Outline(study=replace(STUDY, experiment="five"), cells=())
    with pytest.raises(Stop), Mirror(outline, Workspace(folder=workspace)):
        raise Stop
    assert statuses(workspace, "five") == ["KILLED"]


@pytest.fixture(scope="module")
def of_two(workspace: Path) -> Workspace:
    """The workspace, with a study of three cells that has ended and one that was killed."""
    found = Workspace(folder=workspace)
    found.claim()
    digests = [letter * 64 for letter in "abc"]
    results = {
        digest: CellResult(digest=digest, metrics={"nll/mean": Measurements.exact(2.0 + i)})
        for i, digest in enumerate(digests)
    }
    for digest, result in results.items():
        write_result(found.cell(digest), result)
    study = replace(STUDY, experiment="seven", config_digest="d" * 64)
    first, second, third = (
        OutlinedCell(
            digest=digest,
            name=f"cell {digest[0]}",
            places=("fixed 2/3 d4@3 (nested)",) if i < 2 else ("alone",),
            params={"n": i, "share": 2 / 3, "unit": i},
        )
        for i, digest in enumerate(digests)
    )
    second = replace(second, compared={"baseline": first.digest})
    answer = Answer(note="n", metrics={"m": 1.5}, tags={"verdict": "v"})
    ended = Outline(study=study, cells=(first, second, third), answer=answer)
    killed = Outline(study=replace(study, experiment="eight"), cells=(first,))
    for outline in (ended, killed):
        outline.write(found)
        mirror_study(outline, results, found)
    return found


@pytest.fixture
def told(of_two: Workspace, tmp_path: Path) -> Workspace:
    """A copy: SQLAlchemy keeps databases open that this process has read."""
    return Workspace(folder=shutil.copytree(of_two.folder, tmp_path / "runs"))


def test_one_command_mirrors_everything_again(of_two, told, capsys):
    before = {name: shown(of_two.folder, name) for name in ("seven", "eight")}
    finished = ["QUICK r", "cell a", "cell b", "cell c"]
    assert [run[:2] for run in before["seven"]] == [(name, "FINISHED") for name in finished]
    assert "KILLED" in {run[1] for run in before["eight"]}
    main([str(told.folder)])
    said = capsys.readouterr()
    assert " studies, 4 cells mirrored; the one before is mlflow.db.before-1" in said.out
    assert {name: shown(told.folder, name) for name in ("seven", "eight")} == before
    assert (told.folder / "mlflow.db.before-1").exists()


def test_runs_are_tagged_with_the_study_s_name_wherever_it_lies(workspace):
    of = {"experiment": "eleven-quick", "study": "eleven", "config_digest": "e" * 64}
    opened(workspace, **of).living.close()
    (run,) = runs_of(workspace, "eleven-quick")
    assert (run.data.tags["study"], run.data.tags["mlflow.source.name"]) == (
        "eleven",
        "studies.eleven",
    )


def test_a_parent_run_has_mean_and_spread_over_units(of_two):
    parent = next(run for run in runs_of(of_two.folder, "seven") if run.info.run_name == "QUICK r")
    of = "nll-mean/fixed 2-3 d4 at 3 nested"
    found = {name: v for name, v in parent.data.metrics.items() if "nll" in name}
    expected = {f"mean/{of}": 2.5, f"sd/{of}": pytest.approx(0.5**0.5), f"units/{of}": 2.0}
    assert found == expected, "a place of one unit has no spread"


def test_spreads_are_over_units_that_have_numbers_and_seeds_are_averaged_before():
    places = ("progressive d4@3",)
    values = [(0, 1.0), (0, 3.0), (1, 5.0), (2, None)]
    cells = tuple(
        OutlinedCell(digest=f"c{i}", name="", places=places, params={"unit": unit})
        for i, (unit, _) in enumerate(values)
    )
    measured = {"nll/mean": 1.0, "nll/scale_01": 1.0, "class_accuracy": 0.5, "flops/transformer": 2}
    results = {
        f"c{i}": CellResult(
            digest=f"c{i}",
            status="finished" if value else "diverged",
            metrics={n: Measurements.exact(v * (value or 0)) for n, v in measured.items()},
        )
        for i, (_, value) in enumerate(values)
    }
    found = over_units(Outline(study=STUDY, cells=cells), results)
    of = "nll-mean/progressive d4@3"
    assert {n: v for n, v in found.items() if "nll" in n} == {
        f"mean/{of}": 3.5,
        f"sd/{of}": pytest.approx(statistics.stdev([2.0, 5.0])),
        f"units/{of}": 2.0,
    }
    assert {name.split("/")[1] for name in found} == {"nll-mean", "class_accuracy"}


def test_a_spread_that_changed_is_written_again_and_no_other(of_two):
    """A cell that failed may be run again: then a unit more has numbers."""
    answer = Answer(note="n", metrics={"m": 1.5})
    record = opened(of_two.folder, experiment="ten", config_digest="f" * 64)
    for spreads in ({"mean/a": 1.0, "mean/b": 1.0}, {"mean/a": 2.0, "mean/b": 1.0}):
        record.finish(answer, spreads, of_two.folder, failed=False)
    record.living.close()
    (run,) = runs_of(of_two.folder, "ten")
    assert run.data.metrics == {"m": 1.5, "mean/a": 2.0, "mean/b": 1.0}
    points = histories(of_two.folder, run)
    assert [len(points[name]) for name in ("m", "mean/a", "mean/b")] == [1, 2, 1]


def test_what_is_damaged_is_named_and_the_rest_mirrored_again(told, capsys):
    (told.cell("b" * 64) / "result.json").write_text("{}")
    outline = next((told.folder / "mirror").glob("eight-*"))
    outline.write_text(outline.read_text().replace("cell a", "cell z"))
    make_folder(told.folder / "older", pd.DataFrame({"unit": [0]}), study_facts("older"))
    (told.study("broken") / "study.json").parent.mkdir()
    (told.study("broken") / "study.json").write_text("{}")
    main([str(told.folder)])
    said = capsys.readouterr()
    assert " studies, 2 cells mirrored" in said.out
    lines = said.err.splitlines()
    assert len(lines) == 4
    assert "eight-dddddddddddddddd.json: damaged" in lines[0]
    assert "broken/study.json" in lines[1]
    assert "no outline of it; run again: python -m studies.older" in lines[2]
    assert "result.json: damaged" in lines[3]


def test_it_touches_no_running_study_and_no_other_folder(of_two, tmp_path, capsys):
    running = opened(of_two.folder, experiment="nine")
    for folder, said in ((of_two.folder, "a study is running there"), (tmp_path, "no workspace")):
        with pytest.raises(SystemExit) as stop:
            main([str(folder)])
        assert stop.value.code == 2
        assert said in capsys.readouterr().err
    running.living.close()
    assert not list(of_two.folder.glob("*.before-*")) and not list(tmp_path.iterdir())
