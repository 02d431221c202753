"""The report of the pareto study: from a saved folder to figures and PDF."""

from __future__ import annotations

import itertools
import json
import shutil
import time
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from pareto_frames import (
    FD,
    HALF,
    NLL,
    PLANS,
    QUARTER,
    SCHEDULES,
    SELECT,
    pareto_facts,
    pareto_frame,
)
from pdf_pages import pages_of, words_on
from pypdf import PdfReader
from small_studies import (
    MARKED,
    edited,
    make_folder as write_folder,
    marked_in,
    rewritten,
    sealed,
    unanchored,
    words_of,
)

from analysis.claims.rows import Kind
from analysis.frame import checked_frame
from analysis.statistics.intervals import Verdict
from analysis.statistics.levels import FULL, PlanKey
from analysis.study_file import ParetoFile
from reports import build
from reports.build import make_report
from reports.pareto import words as sentences
from reports.pareto.findings import ParetoFindings
from reports.parts.page import plain
from reports.parts.report import Report

FEW = ("base", "control", "fixed 0.1", "fixed 1", "progressive")
NOTHING = {(None, None, None): "failed"}  # what finished


def curves_of(schedules, units) -> pd.DataFrame:
    plans = ("full", "d6@3", "d4@3", "d2@3")
    rows = [
        (name, unit, n, plan, 3 - n / 1e5 + 0.01 * i + 0.001 * unit, 500)
        for i, name in enumerate(schedules)
        for unit, plan, n in itertools.product(units, plans, range(0, 40_001, 4_000))
    ]
    columns = ["schedule", "unit", "images_seen", "plan", "value", "images"]
    return pd.DataFrame(rows, columns=columns)


def make_folder(folder: Path, *, schedules=FEW, units=(0,), quick=False, **settings) -> Path:
    shared = {"schedules": schedules, "units": units}
    facts = pareto_facts(**shared, quick=quick, status=settings.get("status"))
    write_folder(folder, pareto_frame(**shared, **settings), facts)
    curves_of(schedules, units).to_parquet(folder / "curves.parquet")
    return sealed(folder)


def verdicts_of(answer) -> dict[str, str]:
    return {row["claim"]: row["verdict"] for row in answer["ledger"]}


@pytest.fixture(scope="module")
def six_units(tmp_path_factory) -> Path:
    status = {("progressive", 4, None): "ended worse", ("fixed 1", 2, QUARTER): "failed"}
    units = {"schedules": SCHEDULES, "units": range(6), "status": status}
    folder = make_folder(tmp_path_factory.mktemp("six") / "study", **units)
    build(folder)
    return folder


@pytest.fixture(scope="module")
def one_unit(tmp_path_factory) -> Path:
    folder = make_folder(tmp_path_factory.mktemp("one") / "study")
    build(folder)
    return folder


def test_everything_is_there(six_units):
    plates = "remaining frontier_fd frontier_nll trade hypervolume curves samples"
    names = {path.stem for path in (six_units / "figures").iterdir()}
    assert names == set(plates.split())
    for name in names:
        assert (six_units / "figures" / f"{name}.svg").stat().st_size > 1000
    summary = pd.read_csv(six_units / "summary.csv")
    assert set(summary["schedule"]) == set(SCHEDULES)


def test_the_ledger_comes_first_and_says_what_it_rests_on(six_units):
    text = words_on(six_units / "report.pdf")
    assert text.index("Claim ledger") < text.index("Protocol")
    assert "Table 1. Claim ledger" in text
    verdicts = verdicts_of(json.loads((six_units / "answer.json").read_text()))
    claims = ["C1", "C2", "C3", "C4", "C5", "C6", "C7a", "C7b", "C8"]
    assert list(verdicts) == claims
    assert all(claim in text for claim in claims) and "over 6 units" in text
    assert verdicts["C2"] == "reproduced"
    assert verdicts["C4"] == verdicts["C7a"] == "contradicted"
    assert verdicts["C1"] == verdicts["C6"] == "untested"


def test_every_table_of_plans_begins_with_real_images(six_units):
    text = words_on(six_units / "report.pdf").split("All plans")[1]
    tables = text.split(": every plan, mean and 95 % interval")[1:]
    assert len(tables) == len(SCHEDULES)
    for table in tables:
        rows = table.split("Plan KV peak FD KID accuracy NLL front, FD front, NLL ")[1]
        assert rows.startswith("real \u2013") and " full 45.0 KiB " in rows


@pytest.mark.parametrize("facts", [{"ladder": None}, {"quick": True}])
def test_a_metric_that_may_not_decide_votes_for_no_plan(facts):
    settings = {"schedules": FEW, "units": range(5)}
    frame = pareto_frame(**settings, by_scale=False)
    votes = {}
    for name, more in {"may": {}, "may not": facts}.items():
        found = ParetoFindings(
            ParetoFile.model_validate(pareto_facts(**settings, **more)), frame, None
        )
        votes[name] = {plan.stands_in[FD] for plan in found.chosen}
        said = "".join(plain(text) for text in sentences.costly(found))
        assert ("by FD" in said) == (name == "may")
        if facts.get("quick") and more:
            assert {plan.stands_in[NLL] for plan in found.chosen} == {None} and not said
    assert votes == {"may": {False}, "may not": {None}}


@pytest.mark.parametrize(("units", "facts", "marked"), MARKED)
def test_only_what_may_decide_is_marked_against_the_control(
    tmp_path, units, facts, marked, undrawn
):
    folder = make_folder(tmp_path / "study", schedules=FEW, units=range(units))
    content = make_report(edited(folder, **facts)).content
    assert marked_in(content, "Against the control") == marked


def test_the_first_page_holds_the_ledger_and_the_main_figure(six_units):
    first = pages_of(six_units / "report.pdf")[0]
    assert "Claim ledger" in first and "Sample quality" in first and "Likelihood" in first
    assert "Figure 1. What is left of the untrained damage" in first


def test_what_a_figure_says_can_be_found_in_the_font_that_it_was_laid_out_for(six_units):
    assert "d2@3: share left" in pages_of(six_units / "report.pdf")[0]
    fonts = PdfReader(six_units / "report.pdf").pages[0]["/Resources"]["/Font"].values()
    assert any("STIXGeneral" in font.get_object()["/BaseFont"] for font in fonts)


def test_what_has_not_finished_decides_nothing(tmp_path):
    """And every page says so."""
    whole = {"schedules": FEW, "units": range(6)}
    frame = checked_frame(pareto_frame(**whole, status={(None, 5, HALF): "pending"}), training=True)
    study = ParetoFile.model_validate(pareto_facts(**whole) | {"pending": 9})
    found = ParetoFindings(study, frame, None)
    verdicts = {row.verdict for row in found.ledger if row.lines[0].kind is Kind.QUALITY}
    assert verdicts <= {Verdict.UNRESOLVED, Verdict.UNTESTED} and Verdict.UNRESOLVED in verdicts
    assert "not finished: 9 cells are to come" in found.ledger[1].lines[0].reason
    assert study.preliminary == "NOT FINISHED: 9 cells are to come"


def test_shares_that_remain_are_of_the_untrained_damage():
    frame = pareto_frame(schedules=FEW, units=range(5))
    study = ParetoFile.model_validate(pareto_facts(schedules=FEW, units=range(5)))
    found = ParetoFindings(study, frame, None)
    row = found.shares.query("schedule == 'progressive' and likelihood")
    row = row.set_index("plan").loc["d4@3"]
    (line,) = found.ledger[3].of(Kind.LIKELIHOOD)[:1]
    assert found.ledger[3].claim.id == "C4" and line.tests[0].share is not None
    ends = ("estimate", "low", "high")
    said = [row["share"], row["low"], row["high"]]
    assert [getattr(line.tests[0].share, end) for end in ends] == pytest.approx(said)
    whole = frame[frame["group"].isna() & (frame["metric"] == NLL)]
    whole = whole[whole["selector"] == "equidistant"]

    def level(schedule: str, plan: str) -> float:
        return whole.query("schedule == @schedule and plan == @plan")["value"].mean()

    full = level("base", "full")
    left = (level("progressive", "d4@3") - full) / (level("base", "d4@3") - full)
    assert row["share"] == pytest.approx(left) and row["low"] < left < row["high"]
    assert row["margin"] == 0.05
    assert "base" not in set(found.shares["schedule"])


def test_levels_stand_beside_the_floor(tmp_path, drawn_once):
    report = report_of(tmp_path / "study", units=range(5), plans=(FULL, HALF), by_scale=False)
    text = words_of(report.content)
    assert "Schedule | Plan | FD | FD above floor | NLL [nats/token]" in text
    bare = report_of(tmp_path / "bare", plans=(FULL, HALF), by_scale=False, real=False)
    assert "above floor" not in words_of(bare.content).split("# The tests")[0]


def test_cells_without_numbers_are_listed(six_units):
    text = words_on(six_units / "report.pdf")
    assert "ended worse" in text and "not finite at step 120" in text
    answer = json.loads((six_units / "answer.json").read_text())
    assert "fixed 1 u2 d2@3: failed" in answer["unfinished_cells"]
    assert len([c for c in answer["unfinished_cells"] if c.startswith("progressive u4")]) == 8


def test_captions_say_what_intervals_and_counts_are(six_units, one_unit):
    text = words_on(six_units / "report.pdf")
    ledger = text.split("Claim ledger.")[1].split("Rules were written")[0]
    assert "90 % of shares, else 95 % intervals" in ledger and "(1,000 test images)" in ledger
    assert "(1,000 samples of a network, features of shapes-1a2b3c)" in ledger
    front = text.split("FD against KV memory.")[1]
    assert "trained for, with their 95 % intervals over units" in front
    assert "staircases, descriptive too: attainment surfaces" in front
    assert "its mean over units, taken as known" in text
    assert "Front, descriptive, since it is picked on what it shows" in text
    alone = words_on(one_unit / "report.pdf")
    assert "trained for (one unit: without intervals)" in alone
    assert "whose own chance is not in them" in alone


def test_one_unit_decides_nothing(one_unit):
    assert "a verdict needs 5" in words_on(one_unit / "report.pdf")
    verdicts = verdicts_of(json.loads((one_unit / "answer.json").read_text()))
    assert "reproduced" not in {verdicts[c] for c in ("C2", "C3", "C4", "C7a")}


def test_a_rebuild_changes_no_byte(one_unit):
    before = (one_unit / "report.pdf").read_bytes()
    assert build(one_unit).pdf.read_bytes() == before


def report_of(folder: Path, **settings) -> Report:
    return make_report(make_folder(folder, **settings))


@pytest.fixture
def drawn_once(monkeypatch) -> None:
    """Figures are drawn, but not written in two formats."""

    def drawn(figure: Figure) -> dict[str, bytes]:
        figure.canvas.draw()
        return {"svg": b"", "png": b""}

    monkeypatch.setattr("reports.parts.page.figure_bytes", drawn)


def test_quick_is_marked(tmp_path):
    report = report_of(tmp_path / "study", quick=True, plans=(FULL, HALF))
    assert "QUICK" in report.plates["curves"]["svg"].decode()
    said = "QUICK RUN: not a result. Nothing here is a result."
    assert report.content["preliminary"] and said in words_of(report.content)


@pytest.mark.parametrize(
    ("settings", "plates"),
    [
        ({"schedules": ("base", "control", "progressive")}, {"frontier_nll", "trade", "remaining"}),
        ({"plans": (FULL,)}, {"frontier_nll"}),
        ({"metrics": (NLL, SELECT)}, {"frontier_nll", "trade", "hypervolume"}),
        ({"status": {("control", None, None): "failed"}}, {"frontier_nll", "trade"}),
        ({"status": NOTHING}, set()),
        ({"schedules": ("base", "control"), "plans": (FULL,), "status": NOTHING}, set()),
        ({"status": {(None, None, FULL): "interrupted"}, "units": (0, 1)}, {"frontier_fd"}),
        ({"groups": 2, "noise": 0.0}, {"trade"}),
    ],
)
def test_poor_studies_still_report(tmp_path, drawn_once, settings, plates):
    report = report_of(tmp_path / "study", by_scale=False, **settings)
    assert report.plates.keys() >= plates | {"curves", "samples"}
    if not plates:
        assert report.plates.keys() == {"curves", "samples"}


def test_every_table_has_every_plan_in_order(tmp_path, drawn_once):
    nested = {"schedules": ("base", "control", "fixed 1", "fixed 1 (nested)"), "plans": PLANS}
    text = words_of(report_of(tmp_path / "study", **nested, by_scale=False).content)
    levels = text[text.index("Levels on test images") : text.index("Against the control, the")]
    plans = [line.split(" | ")[1] for line in levels.splitlines()[2:]]
    untrained = [f"{plan} (untrained)" for plan in ("d6@3", "d4@3", "d2@3")]
    trained = ["full", "d6@3", "d4@3", "d2@3"]
    assert plans == ["full", *untrained, "full", *untrained, *trained, *trained]
    everything = text[text.index("# All plans") :]
    assert everything.count("d4@3 (nested)") == 4


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: without(f, "frame.parquet", "schedule"), "missing columns schedule"),
        (lambda f: without(f, "curves.parquet", "plan"), "missing columns plan"),
        (lambda f: (f / "curves.parquet").write_bytes(b"no"), "not a readable parquet file"),
        (lambda f: unanchored(f, "base"), "unit 0 has no anchor rows (base)"),
        (lambda f: unanchored(f, "real"), "unit 0 has no anchor rows (real)"),
        (lambda f: edited(f, schedules=[]), "schedules is []"),
        (lambda f: edited(f, schedules=pareto_facts(schedules=FEW[2:])["schedules"]), "'control'"),
        (lambda f: edited(f, train_switch="three"), "train_switch is 'three'"),
        (lambda f: edited(f, kv_budgets=None), "kv_budgets is None"),
    ],
)
def test_bad_input_is_one_line(tmp_path, one_unit, refused, damage, named):
    folder = tmp_path / "study"
    shutil.copytree(one_unit, folder)
    damage(folder)
    sealed(folder)
    said = refused(folder)
    assert named in said and str(tmp_path) in said


def without(folder: Path, name: str, column: str) -> None:
    rewritten(folder, lambda table: table.drop(columns=column), name)


def test_large_studies_take_linear_time():
    """Four times the cells take about four times as long, not sixteen."""

    def seconds(plans: int) -> float:
        settings = {"schedules": FEW, "units": (0, 1), "plans": many_plans(plans)}
        levels = dict.fromkeys(FEW, dict.fromkeys(range(1, 9), 3.0))
        frame = pareto_frame(**settings, levels=levels, groups=4, by_scale=False)
        study = ParetoFile.model_validate(pareto_facts(**settings))
        start = time.process_time()
        found = ParetoFindings(study, frame, None)
        assert len(found.levels.differences) == 3 * plans * 6
        return time.process_time() - start

    seconds(8)
    assert seconds(48) < 10 * seconds(12)


def many_plans(count: int) -> tuple[PlanKey, ...]:
    plans = (PlanKey(depth, switch) for switch in range(7) for depth in range(1, 8))
    return (FULL, *itertools.islice(plans, count - 1))
