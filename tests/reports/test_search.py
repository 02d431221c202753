"""The report of a plan search, on a study whose truth is known."""

import json

import pandas as pd
import pytest
from small_studies import FD, NLL, failed, layers, make_folder, search_facts, search_frame, words_of

from reports import build
from reports.build import make_report


def report_of(tmp_path, frame=None, **facts):
    frame = search_frame(gain=0.5) if frame is None else frame
    folder = make_folder(tmp_path / "study", frame, search_facts(**facts))
    return make_report(folder)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return report_of(tmp_path_factory.mktemp("search"))


def test_a_found_plan_beats_two_zones_at_equal_memory(report):
    assert report.verdict == (
        "descriptive, of this one network: found plans against two zones, FD better at 1 and worse "
        "at 0 of 1 memory sizes; NLL better at 1 and worse at 0 of 1 memory sizes"
    )
    assert report.answer["plans_scored"] == 2
    [match] = report.answer["matches"][NLL]
    assert (match["found"], match["two_zone"], match["kv"]) == ("8,8,2,2,2", "d2@3", 400)
    assert match["difference"]["estimate"] == pytest.approx(-0.5) and match["p_holm"] < 0.05
    text = words_of(report.content)
    assert "The best plan by select NLL is 8,8,2,2,2 (plan-best.json)." in text
    assert "the largest found plan, 8,8,2,2,2, differs from d2@3 by" in text
    assert "400 bytes | 40 % | 8,8,2,2,2 | d2@3 | " in text
    assert "Within 60 % of the full network's peak KV" in text
    assert set(report.plates) == {"fronts", "plans", "samples"}


def test_a_search_by_distance_is_told_as_one(tmp_path):
    """The plan of the least NLL is not the one of the least distance."""
    facts = search_facts()
    zones, own = facts["scored"]
    near, far = zones | {"select_distance": 4.0}, zones | {"select_distance": 6.0}
    far |= {"plan": "d2@1", "layers": layers(8, 2, 2, 2, 2), "select_nll": 2.0}
    own |= {"select_distance": 3.0, "select_nll": 2.7}
    fronts = {"two-zone": [far, near], "found": [own]}
    told = {"objective": "distance", "score_samples": 500, "fronts": fronts}
    report = report_of(tmp_path, **told, scored=[far, near, own])
    [match] = report.answer["matches"][NLL]
    assert (match["found"], match["two_zone"]) == ("8,8,2,2,2", "d2@3")
    text = words_of(report.content)
    by = "Fréchet distance of 500 samples to select images"
    assert f"The best plan by {by} is 8,8,2,2,2 (plan-best.json)." in text
    assert "by the NLL of 100 select images and by 500 samples against all 2,000 of them" in text
    assert f"the two-zone plan of at most its peak KV that is best by {by}; paired" in text
    assert "its winner is partly luck" in text and "teacher-forced NLL on select" not in text


def test_a_metric_that_did_not_see_the_damage_has_no_say(tmp_path):
    zones = {"early": False, "middle": True, "late": True}
    report = report_of(tmp_path, ladder={FD: zones})
    said = "FD cannot resolve: FD failed the ladder at the early scales (better at 1 and worse at 0"
    assert said in report.verdict and "; NLL better at 1" in report.verdict
    assert "after Holm's correction over the column, descriptive." in words_of(report.content)


def test_plans_and_selectors_are_named_at_the_edge(report):
    names = list(report.summary["name"])
    assert names[:4] == ["full", "two-zone d2@3", "found d2@3", "found 8,8,2,2,2"]
    assert names[4:7] == ["d4@3 ranked", "d4@3 equidistant", "d4@3 nested"]
    rows = words_of(report.content).splitlines()
    assert any(row.startswith("d4@3 ranked | ") and row.count("+1") == 2 for row in rows)
    assert sum("same layers" in row for row in rows) == 1
    assert "Layers that ranking kept, by depth (from 0): 4: 0, 1, 4, 7; 2: 0, 7" in rows


def test_failed_plans_have_no_numbers(tmp_path):
    frame = search_frame(gain=0.5)
    lost = frame["cell_digest"].isin(["own", "zones", "equidistant-2"])
    report = report_of(tmp_path, failed(frame, lost))
    assert report.verdict.count("none could be compared") == 2
    assert all(match["difference"] is None for match in report.answer["matches"][FD])
    text = words_of(report.content)
    assert "No numbers: two-zone d2@3, found d2@3, found 8,8,2,2,2, d2@3 equidistant." in text
    assert "d2@3 equidistant | failed | \u2013 | failed | \u2013" in text


def test_a_search_without_any_front(tmp_path):
    frame = search_frame(gain=0.5)
    frame = frame[frame["family"] == "full"]
    report = report_of(tmp_path, frame, fronts={}, ranked={}, plans={})
    assert "# Plans" not in words_of(report.content)
    assert "Which layers" not in words_of(report.content)


def test_the_folder_is_written_and_a_rebuild_changes_no_byte(tmp_path):
    folder = make_folder(tmp_path / "study", search_frame(gain=0.5), search_facts(quick=True))
    paths = build(folder)
    answer = json.loads(paths.answer.read_text())
    assert answer["verdict"] == paths.verdict and answer["quick"]
    assert len(pd.read_csv(folder / "summary.csv")) == 11
    before = paths.pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before
