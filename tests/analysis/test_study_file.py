"""The study file: what is written is read back, and what is wrong with one is said in one line."""

import json
from pathlib import Path

import pytest
from pareto_frames import pareto_facts
from sensitivity_frames import Truth, sensitivity_facts
from small_studies import schedule_facts, search_facts, switch_facts

from analysis.errors import FrameError
from analysis.search_file import ScheduleFile, SearchFile
from analysis.study_file import (
    FILE,
    AnyStudyFile,
    ParetoFile,
    SensitivityFile,
    StudyFile,
    SupernetFile,
)
from varant.manifest import record

KINDS = {
    SensitivityFile: lambda: sensitivity_facts(Truth()),
    ParetoFile: pareto_facts,
    SupernetFile: switch_facts,
    ScheduleFile: schedule_facts,
    SearchFile: search_facts,
}


def write(folder: Path, facts: dict) -> Path:
    path = folder / FILE
    return written(path, json.dumps(facts, default=str))


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    record(path)
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_read_back(tmp_path, kind):
    made = kind.model_validate(KINDS[kind]())
    written(tmp_path / FILE, made.json_text())
    assert kind.load(tmp_path / FILE) == made
    assert AnyStudyFile.load(tmp_path / FILE).study == made.study  # what all kinds have in common
    with pytest.raises(FrameError, match="extra inputs are not permitted"):
        StudyFile.load(tmp_path / FILE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "format is 'other', not 'varant-study'; name a folder that a study"),
        ({"version": 1}, "version is 1, this code reads 3; use the version that wrote it, or run"),
        ({"quick": "perhaps"}, "quick is 'perhaps': "),
        ({"windows": {"early": [9]}}, "window 'early' has scales"),
        ({"colour": "red"}, "colour is 'red': extra inputs are not permitted"),
        ({"half_depth": None}, "half_depth is None: "),
        ({"geometry": {"depth": 0}}, "geometry.depth is 0: "),
    ],
)
def test_a_wrong_value_is_named(tmp_path, change, message):
    path = write(tmp_path, sensitivity_facts(Truth()) | change)
    with pytest.raises(FrameError) as refused:
        SensitivityFile.load(path)
    said = str(refused.value)
    assert said.startswith(f"{path}: ")
    assert message in said
    assert len(said.splitlines()) == 1
    assert "run the study again" in said or "name a folder" in said


def test_what_is_missing_is_named(tmp_path):
    facts = sensitivity_facts(Truth())
    del facts["dataset"]
    with pytest.raises(FrameError, match="missing 'dataset'; run the study again"):
        SensitivityFile.load(write(tmp_path, facts))
    with pytest.raises(FrameError, match="not a study folder"):
        StudyFile.load(tmp_path / "nowhere" / FILE)
    written(tmp_path / FILE, "{")
    with pytest.raises(FrameError, match="not readable JSON"):
        StudyFile.load(tmp_path / FILE)


def test_a_winner_that_is_no_trial_is_refused(tmp_path):
    path = write(tmp_path, schedule_facts(winners={"best compromise": 99}))
    with pytest.raises(FrameError, match="winner 'best compromise' is trial 99"):
        ScheduleFile.load(path)
