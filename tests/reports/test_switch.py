"""The report of the switch study, on a study whose truth is known."""

import pytest
from small_studies import FD, NLL, failed, make_folder, switch_facts, switch_frame, words_of

from analysis.statistics.levels import FULL, Levels
from reports.build import make_report


def report_of(tmp_path, frame=None, **facts):
    frame = switch_frame() if frame is None else frame
    folder = make_folder(tmp_path / "study", frame, switch_facts(**facts))
    return make_report(folder)


def test_where_and_whether_training_there_matters(tmp_path):
    report = report_of(tmp_path)
    assert report.verdict == (
        "FD: d4 from switch 3, worse elsewhere than trained in 3 of 3 earlier and 3 of 3 later; "
        "NLL: d4 from switch 3, worse elsewhere than trained in 3 of 3 earlier and 3 of 3 later"
    )
    assert report.answer["earliest"] == {"4": {FD: 3, NLL: 3}}
    assert report.answer["trained_at"] == {str(n): f"for {n}" for n in (1, 2, 3)}
    assert set(report.plates) == {"switch", "transfer", "samples"}
    text = words_of(report.content)
    assert "a loss of 5 % of what half the layers lose untrained after scale 3" in text
    assert "4 layers, by NLL: from scale 3 on, for 80 % of its KV and 80 % of its FLOPs" in text
    rests = (
        "Fréchet distance (fd/shapes-1a2b3c/n1000): 1,000 samples a model, 5 units. "
        "Teacher-forced NLL: 1,000 test images a model, 5 units."
    )
    assert text.count(rests) == 2, "under figure and table"
    assert "at most by" not in text, "a maximum of noisy cells has no interval"
    assert "One unit" not in text and "by Student's t over 5 units" in text
    rows = [line for line in text.splitlines() if line.endswith("| 60 % | 60 %")]
    assert len(rows) == 1 and rows[0].startswith("d4 | 1 | ") and "| no |" in rows[0]


def test_losses_and_levels_stand_beside_the_floor(tmp_path):
    report = report_of(tmp_path)
    drawn = report.plates["switch"]["svg"].decode()
    assert drawn.count(">real images<") == 1, "a distance has a floor, a likelihood none"
    text = words_of(report.content)
    assert "Band: real images, the floor, against the same network" in text
    base = text.split("base: every plan")[1].splitlines()
    assert base[1] == "Plan | KV peak | FD | FD above floor | NLL"
    real, full = base[2].split(" | "), base[3].split(" | ")
    assert real[0] == "real" and real[2].startswith("0.1") and real[3:] == ["\u2013", "\u2013"]
    assert full[0] == "full" and full[3].startswith("+2.9")


def test_the_floor_s_loss_is_paired_and_below_zero():
    levels = Levels(switch_frame())
    found, base = levels.floor_loss(FD), levels.observed(("base", FULL), FD)
    assert found.mean == pytest.approx(0.1 - 3.0, abs=0.1)
    assert found.values == pytest.approx(levels.floor(FD).values - base.values)
    assert not levels.floor_loss(NLL)


def test_a_metric_that_did_not_see_the_damage_decides_nothing(tmp_path):
    zones = {"early": True, "middle": True, "late": False}
    report = report_of(tmp_path, ladder={FD: zones})
    assert report.verdict.startswith("FD: cannot resolve: FD failed the ladder at the late scales")
    assert "; NLL: d4 from switch 3," in report.verdict
    assert report.answer["earliest"] == {"4": {FD: None, NLL: 3}}
    text = words_of(report.content)
    answer = text.split("Verdict: ")[1].split("\n# ")[0].split("\n")[1]
    assert "by FD" not in answer and "4 layers, by NLL: from scale 3 on" in answer
    assert "trained; Holm within a depth): by NLL in 3 of 3 earlier and 3 of 3 later. FD" in answer
    assert "FD decides nothing here: FD failed the ladder at the late scales." in answer
    rows = [line for line in text.splitlines() if line.startswith("d4 | ")]
    assert [row.split(" | ")[3] for row in rows[:1]] == ["\u2013"], "no vote in the table either"
    report = report_of(tmp_path / "none", ladder=None)
    assert report.verdict.startswith("FD: cannot resolve: no ladder was climbed")


def test_one_unit_is_said(tmp_path):
    report = report_of(tmp_path, switch_frame(units=(0,)), units=(0,))
    assert words_of(report.content).count("One unit") == 2
    assert "by the jackknife over the samples of one unit" in words_of(report.content)


def test_nothing_to_compare_with(tmp_path):
    frame = switch_frame(mismatch=0.0)
    report = report_of(tmp_path, failed(frame, frame["kind"] == "base"))
    assert report.verdict == (
        "FD: cannot resolve: 0 units; a verdict needs 5 (d4 shown nowhere, worse elsewhere than "
        "trained in 0 of 3 earlier and 0 of 3 later); NLL: cannot resolve: 0 units; a verdict "
        "needs 5 (d4 shown nowhere, worse elsewhere than trained in 0 of 3 earlier and 0 of 3 "
        "later)"
    )
    assert report.answer["earliest"] == {"4": {FD: None, NLL: None}}
    text = words_of(report.content)
    assert "No model has numbers to compare with the base." in text
    assert "base" in text.split("# Cells without numbers")[1]
