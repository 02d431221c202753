"""From a name in a report to the digests of all that its numbers were made of."""

import json

import pytest
from nights import night
from study_commands import ROOT

from analysis.efficiency_file import EfficiencyFile, load_measured
from analysis.frame import load_frame
from reports.__main__ import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return night(tmp_path_factory.mktemp("trace") / "pareto", (0, 1))


def test_a_name_leads_to_every_digest(folder, capsys):
    assert main([str(folder), "--trace", "u1 progressive d4@3"]) == 0
    said = capsys.readouterr().out
    frame = load_frame(folder / "frame.parquet", training=True)
    (cell,) = frame.loc[
        (frame["unit"] == 1) & (frame["schedule"] == "progressive") & (frame["plan"] == "d4@3"),
        "cell_digest",
    ].unique()
    rows = frame[(frame["cell_digest"] == cell) & frame["group"].isna()]
    for row in rows.itertuples():
        assert f"{row.metric} {row.value:.6g} (" in said
    study = json.loads((folder / "study.json").read_text())
    (model,) = (m for m in study["models"] if (m["schedule"], m["unit"]) == ("progressive", 1))
    wanted = [cell, model["digest"], model["sha256"], study["frame_sha256"], study["config_digest"]]
    wanted += [study["tokenizer"]["digest"], study["dataset"]["digest"], "unit 1, SHA-256 b1"]
    wanted += [one["digest"] for one in study["extractors"]]
    assert [digest for digest in wanted if digest not in said] == []
    assert "unit 0" not in said
    assert main([str(folder), "--trace", cell]) == 0
    assert capsys.readouterr().out == said


@pytest.mark.parametrize(("name", "said"), [("d9@9", "fits no cell of"), ("s0", "cells of")])
def test_names_that_fit_none_or_too_many(folder, name, said, refused, monkeypatch):
    monkeypatch.setattr("reports.trace.MOST", 2)
    error = refused(folder, "--trace", name)
    assert said in error and "there are u0 " in error


def test_what_a_measured_cost_follows_from(capsys):
    folder = ROOT / "docs" / "results" / "efficiency"
    study = EfficiencyFile.load(folder / "study.json")
    frame = load_measured(folder / "frame.parquet")
    assert main([str(folder), "--trace", "ours d8@6 batch 4"]) == 0
    said = capsys.readouterr().out
    mine = (frame["style"] == "ours") & (frame["subject"] == "d8@6") & (frame["batch"] == 4)
    whole = frame[mine & frame["stage"].isna()]
    seconds = whole.loc[whole["metric"] == "seconds", "value"].median()
    assert f"seconds {seconds:.6g} s (median of 3)" in said
    assert "launches 4639 (counted once)" in said
    wanted = [*whole["cell_digest"].unique(), study.config_digest, study.frame_sha256]
    assert [one for one in [*wanted, study.measured_on, study.command] if one not in said] == []


def test_it_goes_with_a_folder():
    with pytest.raises(SystemExit) as ended:
        main(["--trace", "full", "--pool", "a", "b", "c"])
    assert ended.value.code == 2
