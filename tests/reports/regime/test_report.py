"""The report of the regime study, on a study whose truth is known."""

from dataclasses import replace

import pytest
from regime_frames import AGES, RATES, conflict_rows, regime_facts, regime_frame
from small_studies import edited, failed, make_folder, rewritten, sealed, words_of

from analysis.errors import FrameError
from analysis.statistics.conflict import load_conflict
from reports.build import REPORTS, make_report
from reports.pool import pool

PLACES = [(age, rate) for age in AGES for rate in RATES]
FULL_BY = dict(zip(PLACES, (-0.2, 0.1, 0.1, 0.2), strict=True))
SUBNETS_BY = dict(zip(PLACES, (-0.2, -0.1, 0.1, 0.3), strict=True))


def folder_of(folder, units):
    frame, facts = regime_frame(FULL_BY, SUBNETS_BY, units=units), regime_facts(units=units)
    make_folder(folder, frame, facts, samples=False)
    conflict_rows(SUBNETS_BY, units=units).to_parquet(folder / "conflict.parquet")
    return sealed(folder)


def report_of(tmp_path, units=(0, 1, 2, 3, 4)):
    return make_report(folder_of(tmp_path / "study", units))


def test_which_regimes_favour_progressive_training(tmp_path):
    report = report_of(tmp_path)
    assert report.verdict == (
        "progressive against fixed at its mean share: full network better in 1 and worse in 3 of 4 "
        "regimes; subnets better in 2 and worse in 2 of 4 regimes"
    )
    assert set(report.plates) == {"regimes", "conflict"}
    text = words_of(report.content)
    assert "]* (base of 8,000 images, rate 0.0001) to +0.199 [0.195, 0.203]* (base of 32" in text
    better = "better from bases of 8,000 (at 0.0001, 0.001) images, worse from bases of 32,000 (at"
    assert f"{better} 0.0001, 0.001) images;" in text, "subnets"
    assert "C3 by likelihood: reproduced in 1 and contradicted in 3." in text
    assert "What a doubling of the base's age" in text
    assert "none is drawn: likelihood is all" in text and "Feature spaces" not in text
    (row,) = report.answer["ledger"]
    assert (row["claim"], row["verdict"]) == ("C3", "untested")
    verdicts = {line["part"]: line["verdict"] for line in row["lines"] if line["part"]}
    assert verdicts == {
        "8,000 images, rate 0.0001": "reproduced",
        "8,000 images, rate 0.001": "contradicted",
        "32,000 images, rate 0.0001": "contradicted",
        "32,000 images, rate 0.001": "contradicted",
    }
    assert len(report.summary) == 2 * 2 * 4  # schedules, zones, regimes


def test_fewer_than_five_units_cannot_resolve(tmp_path, undrawn):
    report = report_of(tmp_path, units=(0, 1, 2))
    assert report.verdict.startswith("cannot resolve: 3 units; a verdict needs 5 (")
    lines = report.answer["ledger"][0]["lines"]
    assert {line["verdict"] for line in lines[1:]} == {"cannot resolve"}


def test_units_that_were_lost_do_not_count(tmp_path, undrawn):
    frame, facts = regime_frame(FULL_BY, SUBNETS_BY), regime_facts()
    (name, *_) = frame.loc[frame["kind"] == "progressive", "schedule"].unique()
    lost = failed(frame, (frame["schedule"] == name) & (frame["unit"] == 4))
    folder = make_folder(tmp_path / "study", lost, facts, samples=False)
    conflict_rows(SUBNETS_BY).to_parquet(folder / "conflict.parquet")
    report = make_report(sealed(folder))
    assert report.verdict.startswith("cannot resolve: 4 units; a verdict needs 5 (progressive")


def test_nights_are_pooled_with_their_conflict(tmp_path, undrawn):
    nights = [folder_of(tmp_path / str(units[0]), units) for units in ((0, 1, 2), (3, 4))]
    out = pool(nights, tmp_path / "all")
    assert sorted(load_conflict(out / "conflict.parquet")["unit"].unique()) == [0, 1, 2, 3, 4]
    assert make_report(out).verdict.startswith("progressive against fixed")


def test_what_runs_has_a_report_before_its_table_is_written(tmp_path):
    folder = folder_of(tmp_path / "study", (0, 1))
    (folder / "conflict.parquet").unlink()
    report = make_report(edited(folder, pending=3))
    report.write(folder)
    assert "No training has gradients to compare" in words_of(report.content)


def test_of_too_little_there_is_no_report_but_a_line(tmp_path, monkeypatch, refused):
    folder = edited(folder_of(tmp_path / "study", (0, 1)), pending=3)

    def lacking(folder, study):
        raise ValueError("Number of columns must be a positive integer, not 0")

    monkeypatch.setitem(REPORTS, "regime", replace(REPORTS["regime"], make_report=lacking))
    assert "3 cells are to come, too little is there for a report; wait" in refused(folder)


def test_a_table_that_is_gone_or_another_s_is_named(tmp_path):
    folder = folder_of(tmp_path / "study", (0, 1))
    rewritten(folder, lambda table: table[["unit"]], "conflict.parquet")
    with pytest.raises(FrameError, match=r"conflict\.parquet: not a table of this version"):
        make_report(folder)
