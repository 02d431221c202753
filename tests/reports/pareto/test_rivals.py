"""Rivals in the report of the pareto study: rules, figure, table, and what they leave alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from pareto_frames import QUARTER, as_rival, pareto_facts, pareto_frame, with_rivals
from small_studies import edited, make_folder, marked_in, words_of

from analysis.frame import load_frame, own_rows
from analysis.study_file import ParetoFile
from reports.build import make_report
from reports.pareto import rivals as page
from reports.pareto.findings import ParetoFindings

UNITS = range(5)
SHARED = {"schedules": ("base", "control", "fixed 1", "progressive"), "units": UNITS}
NAMES = ("alone", "skip")
FACTS = [{"name": name, "rule": f"the rule of {name}", "source": "a paper"} for name in NAMES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Of a study whose rivals are its own fixed share and, without NLL, its base once more."""
    frame = pareto_frame(**SHARED, status={("fixed 1", 4, QUARTER): "failed"})
    alone = as_rival(frame, "fixed 1", "alone", weight_bytes=3 * 2**20)
    skip = as_rival(frame, "base", "skip")
    skip = skip[~skip["metric"].str.contains("nll")]
    facts = pareto_facts(**SHARED, rivals=FACTS)
    facts["models"] += [model | {"rival": "alone"} for model in facts["models"][-5:]]
    made = tmp_path_factory.mktemp("rivals") / "pareto"
    return make_folder(made, with_rivals(frame, alone, skip), facts, samples=False)


def findings(folder: Path) -> page.RivalFindings:
    frame = load_frame(folder / "frame.parquet", training=True)
    study = ParetoFile.load(folder / "study.json")
    return page.RivalFindings(ParetoFindings(study, own_rows(frame), None), frame)


def test_each_rival_has_its_rule_and_rows(folder):
    found = findings(folder)
    assert found.rule("skip") == "skip: the rule of skip (a paper); no training."
    alone = found.rule("alone")
    assert "5 networks of 200,000 image passes in all" in alone
    assert alone.endswith("; cells without numbers: 1 failed.")
    rows = found.rows()
    assert set(rows["Rival"]) == set(NAMES)
    assert set(rows.loc[rows["Rival"] == "alone", "Weights"]) == {"3.00 MiB"}
    assert "Kendall's tau" in found.ranks_words() and "over 4 plans" in found.ranks_words()
    figure = page._plate(found)
    assert isinstance(figure, Figure) and len(figure.axes) == 2
    names = {text.get_text() for ax in figure.axes for text in ax.texts}
    assert {"this study", *NAMES} <= names


def test_the_report_has_a_section_and_a_study_without_rivals_has_none(folder, tmp_path, undrawn):
    report = make_report(folder)
    said = words_of(report.content)
    assert "Rivals at equal memory." in said and "the rule of alone" in said
    assert "rivals" in report.plates and report.answer["rivals"] == list(NAMES)
    assert {one["rival"] for one in report.answer["compared"]} == set(NAMES)
    assert not set(NAMES) & set(report.summary["schedule"]), "rivals are in no other table"
    caption = "Rivals against the progressive"
    assert marked_in(report.content, caption) == {"FD", "NLL"}
    blind = edited(shutil.copytree(folder, tmp_path / "blind"), ladder=None)
    assert marked_in(make_report(blind).content, caption) == {"NLL"}
    bare = make_folder(tmp_path / "bare", pareto_frame(**SHARED), pareto_facts(**SHARED))
    plain = make_report(bare)
    assert "rivals" not in plain.plates and "rivals" not in plain.answer
