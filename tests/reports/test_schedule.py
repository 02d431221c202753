"""The report of the schedule search, on a study whose truth is known."""

import pytest
from small_studies import (
    NLL,
    REFERENCE,
    WINNER,
    failed,
    make_folder,
    schedule_facts,
    schedule_frame,
    trial,
    words_of,
)

from reports.build import make_report


def report_of(tmp_path, frame=None, **facts):
    frame = schedule_frame(full=0.0, subnets=-0.3) if frame is None else frame
    folder = make_folder(tmp_path / "study", frame, schedule_facts(**facts))
    return make_report(folder)


def test_the_winner_is_held_against_the_reference(tmp_path):
    report = report_of(tmp_path)
    said = f"{WINNER}: full not told apart, subnets better"
    assert report.verdict == "against the paper's schedule, " + "; ".join(
        f"by {metric} cannot resolve: 3 units; a verdict needs 5 ({said})"
        for metric in ("FD", "NLL")
    )
    assert report.answer["winners"] == {WINNER: 1}
    subnets = next(
        row
        for row in report.answer["retrained"]
        if (row["zone"], row["metric"]) == ("subnets", NLL)
    )
    assert subnets["damage"] == pytest.approx(-0.3, abs=0.01) and subnets["units"] == 3
    assert set(report.plates) == {"trade", "search", "slices", "importances", "samples"}
    assert {row["schedule"] for row in report.answer["retrained"]} == {WINNER}, "no anchor"
    text = words_of(report.content)
    assert "3 schedules of 3,200 image passes were scored on 500 select images (1 trial " in text
    assert f"{WINNER}: trial 1, share 0.10 to 0.80, phases 0.25 : 0.38 : 0.38, ramp cosine" in text
    held = [line for line in text.splitlines() if line.startswith(f"{WINNER} | ")]
    assert held and all(line.endswith(" | \u2013") for line in held[:4]), "three units"
    rows = [line for line in text.splitlines() if line[:4] in ("1 | ", "2 | ", "3 | ")]
    assert [row.split(" | ")[1] for row in rows] == ["1", f"0 {REFERENCE}", "2"]


def test_a_search_that_found_nothing(tmp_path):
    frame = schedule_frame(full=0.0, subnets=0.0)
    frame = frame[frame["schedule"].isin(["base", REFERENCE]) | (frame["anchor"] == "real")]
    report = report_of(tmp_path, frame, winners={}, trials=[], importances={})
    assert report.verdict == "the search found nothing better than the paper's schedule"
    text = words_of(report.content)
    assert "No schedule was trained again beside the paper's." in text
    assert "No trial had a better mean of both objectives" in text


@pytest.mark.parametrize("lost", [[WINNER], [WINNER, REFERENCE]])
def test_lost_models_leave_no_numbers(tmp_path, lost):
    frame = schedule_frame(full=0.0, subnets=-0.3)
    trials = [trial(1, None, None)]  # nothing to draw
    frame = failed(frame, frame["schedule"].isin(lost))
    report = report_of(tmp_path, frame, trials=trials, importances={})
    assert f"{WINNER}: no numbers" in report.verdict
    assert report.answer["retrained"] == []


def test_no_trial_was_scored(tmp_path):
    trials = [trial(number, None, None) for number in range(3)]
    report = report_of(tmp_path, trials=trials, winners={}, importances={})
    assert set(report.plates) == {"trade", "samples"}
    assert "0 schedules of" in report.answer["answer"]
    assert "(3 trials did not finish)" in report.answer["answer"]
