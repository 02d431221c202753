"""The report of a study that has none of its own, and its one pass over the frame."""

import errno
import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from small_studies import (
    FD,
    FULL_KV,
    GROUPS,
    MARKED,
    NLL,
    cell_rows,
    failed,
    make_folder,
    marked_in,
    sealed,
    search_frame,
    study_facts,
    switch_facts,
    switch_frame,
    words_of,
)

from analysis.frame import checked_frame
from reports import build
from reports.__main__ import main
from reports.build import load_study, make_report
from reports.parts.tables import cell_table, unfinished
from varant.manifest import record


def report_of(tmp_path, frame, **facts):
    folder = make_folder(tmp_path / "study", frame, study_facts("layers") | facts)
    return make_report(folder)


def small_frame(*, plans: int = 3) -> pd.DataFrame:
    """A study of one's own: the full network, and plans that lose 0.1 nats each more."""
    rows = []
    for i in range(plans):
        name, family = (f"plan {i}", "plan") if i else ("full", "full")
        blocks = np.linspace(-1, 1, GROUPS)
        values = {NLL: [2.0 + 0.1 * i, *(2.0 + 0.1 * i + (0.01 + 0.001 * i) * blocks)]}
        labels = {"family": family, "plan": name, "cell_digest": name}
        rows += cell_rows(labels, values, kv=FULL_KV - 100 * i)
    return checked_frame(pd.DataFrame(rows))


def test_every_cell_is_held_against_the_full_network(tmp_path):
    report = report_of(tmp_path, small_frame(), question="First.\n\nSecond.")
    assert report.verdict == "3 of 3 plans measured"
    assert report.answer["answer"].startswith("Best by each metric: NLL full (2.00 ")
    summary = report.summary.set_index("name")
    assert summary.loc["plan 2", f"{NLL} damage"] == pytest.approx(0.2)
    assert pd.isna(summary.loc["full", f"{NLL} damage"])
    assert list(summary["kv"]) == [1000.0, 900.0, 800.0]
    text = words_of(report.content)
    assert "First.\nSecond." in text
    assert "Every plan against full: paired damage" in text
    assert text.splitlines()[0] == "layers"
    assert set(report.plates) == {"memory_nll", "samples"}


def test_memory_is_drawn_as_a_share_of_the_full_network_s_too(tmp_path):
    report = report_of(tmp_path, small_frame())
    assert "% of full" in report.plates["memory_nll"]["svg"].decode()
    lost = small_frame()
    lost = report_of(tmp_path / "lost", failed(lost, lost["family"] == "full"))
    drawn = lost.plates["memory_nll"]["svg"].decode()
    assert "% of full" not in drawn and "peak KV an image [KiB]" in drawn


def test_failed_cells_are_named(tmp_path):
    frame = small_frame()
    report = report_of(tmp_path, failed(frame, frame["plan"] == "plan 1"), title="A title")
    assert report.verdict == "2 of 3 plans measured"
    assert report.summary["units"].tolist() == [1, 1, 0]  # the failed one is last
    text = words_of(report.content)
    assert "No numbers: plan 1." in text and "plan 1 | failed" in text
    assert text.splitlines()[0] == "A title"
    lost = report_of(tmp_path / "all", failed(frame, frame["plan"].notna()))
    assert lost.answer["answer"] == "No cell was measured."
    assert set(lost.plates) == {"samples"}


def test_ways_to_train_have_their_own_full_network_and_intervals_run_over_units():
    frame = switch_frame(units=(0, 1))
    cells = cell_table(frame).set_index("name")
    assert len(cells) == 5 * 4 + 1 and (cells["units"] == 2).all()
    values = frame[frame["group"].isna() & (frame["metric"] == NLL)]
    for name in ("a control", "for 2"):
        mine = values[values["schedule"] == name].pivot(
            index="unit", columns="plan", values="value"
        )
        lost = mine["d4@1"] - mine["full"]
        interval = stats.t.interval(0.95, 1, lost.mean(), stats.sem(lost))
        row = cells.loc[f"{name} d4@1"]
        assert row[f"{NLL} damage"] == pytest.approx(lost.mean())
        assert row[f"{NLL} damage low"] == pytest.approx(interval[0])
    real = frame[(frame["family"] == "real") & frame["group"].isna()]["value"]
    assert cells.loc["real images", FD] == pytest.approx(real.mean())
    assert pd.isna(cells.loc["real images", f"{FD} damage"])


def test_a_failed_unit_is_named(tmp_path):
    frame = switch_frame(units=(0, 1))
    lost = (frame["schedule"] == "for 2") & (frame["unit"] == 1) & (frame["plan"] == "d4@3")
    frame = failed(frame, lost)
    assert unfinished(frame) == ["for 2 d4@3 (unit 1)"]
    cells = cell_table(frame).set_index("name")
    assert cells.loc["for 2 d4@3", ["status", "units"]].tolist() == ["finished", 1]


def test_p_values_are_adjusted_over_the_cells():
    cells = cell_table(search_frame(gain=0.5))
    assert cells[f"{NLL} damage p"].notna().sum() == 9
    assert (cells[f"{NLL} damage p"].dropna() < 0.05).all()


@pytest.mark.parametrize(
    ("units", "facts", "marked"),
    [*MARKED, (5, {"ladder": {FD: {"early": True, "middle": True, "late": False}}}, {"NLL"})],
)
def test_only_what_may_decide_is_marked(tmp_path, units, facts, marked, undrawn):
    report = report_of(tmp_path, switch_frame(units=range(units)), **facts)
    assert marked_in(report.content, "against full: paired") == marked


def test_a_study_that_trains_may_go_without_a_report_of_its_own(tmp_path):
    folder = make_folder(
        tmp_path / "study", switch_frame(units=(0,)), switch_facts(study="layers", quick=True)
    )
    paths = build(folder)
    assert paths.verdict == "20 of 20 plans measured"
    before = paths.pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before


def test_a_full_disk_leaves_the_report_that_is_there(tmp_path, monkeypatch, capsys, undrawn):
    folder = make_folder(tmp_path / "study", search_frame(gain=0.5), study_facts("layers"))
    build(folder)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    def full(*of: object) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device", "report.pdf")

    monkeypatch.setattr("reports.parts.report.set_pdf", full)
    assert main([str(folder)]) == 1
    said = capsys.readouterr().err
    assert said == f"error: {folder}: No space left on device; no report was changed\n"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_frame_is_held_against_the_study_file_and_the_cells(tmp_path, refused):
    """Changed with its manifest alike, so that only these can tell."""
    frame = search_frame(gain=0.5)
    folder = make_folder(tmp_path / "study", frame, study_facts("layers"))
    own = frame[frame["cell_digest"] == "own"]
    metrics = {
        metric: {
            "value": float(rows.loc[rows["group"].isna(), "value"].iloc[0]),
            "count": 1000,
            "replicates": rows.loc[rows["group"].notna(), "value"].tolist(),
        }
        for metric, rows in own.groupby("metric")
    }
    result = tmp_path / "cells" / "own" / "result.json"
    result.parent.mkdir(parents=True)
    result.write_text(json.dumps({"digest": "own", "metrics": metrics}))
    record(result)
    load_study(folder)
    changed = frame["value"].where(frame["cell_digest"] != "own", frame["value"] * 20)
    frame.assign(value=changed).to_parquet(folder / "frame.parquet")
    assert "frame.parquet: damaged (its SHA-256" in refused(folder)
    record(folder / "frame.parquet")
    said = "frame.parquet: not the frame that study.json is of; run the study again"
    assert said in refused(folder)
    sealed(folder)
    assert "of cell own is" in refused(folder)
    result.write_text("{}")
    assert "result.json: damaged" in refused(folder)


def test_cells_are_grouped_once():
    """Eight times the cells take about eight times as long, not sixty-four."""

    def seconds(plans: int) -> float:
        frame = small_frame(plans=plans)
        start = time.process_time()
        assert len(cell_table(frame)) == plans
        return time.process_time() - start

    seconds(10)
    few = seconds(50)
    assert seconds(400) < 20 * max(few, 0.01)
