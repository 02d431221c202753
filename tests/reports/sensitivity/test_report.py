"""The report of a sensitivity study, from files to PDF."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pdf_pages import pages_of, words_on
from sensitivity_frames import (
    BLIND_FD,
    EQUAL,
    FD,
    LATE,
    MIXED,
    TEN,
    Truth,
    make_folder,
    make_frame,
    sensitivity_facts,
)
from small_studies import edited, rewritten, sealed, words_of

from analysis.study_file import SensitivityFile
from reports import build
from reports.parts.page import plain
from reports.sensitivity import words as sentences
from reports.sensitivity.findings import Findings
from reports.sensitivity.report import make_report

ROOT = Path(__file__).parents[3]


def run_reports(*arguments: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "reports", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def five(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("five") / "study"
    make_folder(
        folder, depths=(4, 2), units=range(5), fail=(("d2 on scale 3", None), ("d4@2", None))
    )
    build(folder)
    return folder


def test_everything_is_there(five):
    figures = {path.name for path in (five / "figures").iterdir()}
    names = "scale_depth_heatmap switch_depth_heatmap propagation windows asymmetry sample_sheet"
    assert figures == {f"{name}.{kind}" for name in names.split() for kind in ("svg", "png")}
    assert (five / "report.pdf").read_bytes().startswith(b"%PDF")
    summary = pd.read_parquet(five / "summary.parquet")
    assert {"damage", "low", "high", "p_holm"} <= set(summary.columns)
    assert not list(five.rglob(".*"))  # no temporary file is left


def test_answer_states_the_verdict_and_the_failed_cells(five):
    answer = json.loads((five / "answer.json").read_text())
    assert answer["verdict"] == "C1 reproduced"
    assert answer["verdicts"] == {"equidistant": "reproduced"}
    assert "over 5 units" in answer["answer"]
    assert any("d4@2" in cell for cell in answer["failed_cells"])
    [row] = answer["ledger"]
    assert [line["kind"] for line in row["lines"]] == ["sample quality", "likelihood"]
    rows = {(r["normalisation"], r["metric"]): r for r in answer["asymmetry"]}
    fd = rows["per window", FD]
    assert fd["low"] < 4.0 < fd["high"] and fd["p_value"] < 0.05 and fd["decides"]
    assert fd["units"] == [0, 1, 2, 3, 4]
    assert not rows["per window", "nll/mean"]["decides"]
    assert not rows["per window", BLIND_FD]["decides"]


def test_the_protocol_says_what_decides_and_what_was_seen(five, undrawn):
    study = SensitivityFile.load(five / "study.json")
    text = words_of(make_report(five, study).content)
    assert "FD on shapes-1a2b3c saw damage of early, middle and late scales" in text
    assert "says where metrics disagree" in text and "shown, never decides" in text
    blind = study.model_copy(update={"ladder": None})
    assert "none was climbed" in words_of(make_report(five, blind).content)


def test_pdf_says_it(five):
    text = words_on(five / "report.pdf")
    assert "Verdict: C1 reproduced" in text
    assert "10 cells failed" in text and "d2 on scale 3" in text
    assert "QUICK RUN" not in text
    assert "#[*_$" in text  # the command is set as text, not run as markup
    assert "20,000 train" in text and "Wall time" in text
    assert "Above floor" in text
    assert text.count("Descriptive; in brackets: not significant") == 3, "every map"


def test_the_first_page_holds_the_ledger_and_the_main_figure(five):
    first = pages_of(five / "report.pdf")[0]
    assert "Claim ledger" in first and "Likelihood" in first
    assert "Figure 1. What windows of scales cost, and every other split" in first
    assert "descriptive" in first


def test_verdicts_of_a_finite_data_set_are_for_its_images(five, undrawn):
    study = SensitivityFile.load(five / "study.json")
    finite = study.dataset.model_copy(update={"units_share_images": True})
    said = [
        json.dumps(make_report(five, one).content, default=str)
        for one in (study, study.model_copy(update={"dataset": finite}))
    ]
    assert ["for these test images" in text for text in said] == [False, True]


def test_rebuild_changes_no_byte(five, tmp_path):
    other = tmp_path / "elsewhere"
    other.mkdir()
    for name in ("frame.parquet", "study.json", "samples.npz", "manifest.json"):
        shutil.copy(five / name, other / name)
    done = run_reports(other)
    assert done.returncode == 0, done.stderr
    written = [p.relative_to(five) for p in five.rglob("*") if p.is_file()]
    assert len(written) > 12
    for path in written:
        assert (five / path).read_bytes() == (other / path).read_bytes(), path


def test_ten_scales_quick(tmp_path):
    folder = make_folder(
        tmp_path / "study",
        patch_nums=TEN,
        quick=True,
        depths=(4,),
        units=(0, 1),
        selectors=("equidistant", "first"),
        groups=3,
    )
    paths = build(folder)
    assert (folder / "figures" / "propagation_first.svg") in paths.figures
    text = words_on(paths.pdf)
    pages = text.count("QUICK RUN: not a result")
    assert pages >= 9
    assert "Other selectors" in text and "a verdict needs 5" in text


@pytest.mark.parametrize(
    "settings",
    [
        {"depths": (), "groups": 1},
        {"depths": (6,), "units": (0, 1), "fail": (("full", 1),)},
        {"depths": (4,), "fail": tuple((f"d4 on {w}", None) for w in ("early", "late", "middle"))},
        {
            "depths": (4, 2),
            "samples": False,
            "fail": (("d4 on scale 2", None), ("d2 on scale 2", 0)),
        },
        {"depths": (4,), "effects": {}},
    ],
    ids=[
        "windows only, one block",
        "half depth absent, a unit failed",
        "windows failed",
        "a column failed",
        "NLL only",
    ],
)
def test_poor_studies_still_report(tmp_path, settings):
    paths = build(make_folder(tmp_path / "study", **settings))
    assert paths.pdf.stat().st_size > 10_000


def said_by(code: str) -> str:
    """What a fresh Python prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def test_no_heavy_imports():
    code = (
        "import sys, reports, reports.__main__; "
        "print(sorted(m for m in sys.modules if m in {'torch', 'mlflow', 'studies'} "
        "or m.startswith('varant.')))"
    )
    ground = ("errors", "files", "manifest", "npz", "signals", "values")
    assert said_by(code) == str([f"varant.{name}" for name in ground])


def test_import_changes_no_matplotlib_global():
    code = (
        "import matplotlib; before = dict(matplotlib.rcParams); import reports; "
        "print(before == dict(matplotlib.rcParams))"
    )
    assert said_by(code) == "True"


def truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def with_bare_unit(frame: pd.DataFrame) -> pd.DataFrame:
    """A second unit, without its floor."""
    other = frame[frame["anchor"] != "real"].assign(unit=1)
    return pd.concat([frame, other], ignore_index=True)


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: shutil.rmtree(f), "no such folder"),
        (lambda f: (f / "study.json").unlink(), "not a study folder"),
        (lambda f: (f / "study.json").write_text("{"), "study.json: not readable JSON"),
        (lambda f: edited(f, version=7), "version is 7"),
        (lambda f: edited(f, format="shopping"), "'shopping'"),
        (lambda f: edited(f, study="pareto"), "missing 'schedules'"),
        (lambda f: edited(f, windows={"early": [9]}), "window 'early'"),
        (lambda f: edited(f, windows={"early": "all"}), "windows.early is 'all'"),
        (lambda f: edited(f, geometry=None), "study.json: geometry is None"),
        (lambda f: edited(f, quick="so"), "quick is 'so'"),
        (lambda f: edited(f, selectors=["last"]), "'equidistant'"),
        (lambda f: rewritten(f, with_bare_unit), "unit 1 has no anchor rows (real)"),
        (lambda f: (f / "frame.parquet").unlink(), "frame.parquet: no such file"),
        (lambda f: truncated(f / "frame.parquet"), "frame.parquet: not a readable parquet"),
        (lambda f: (f / "frame.parquet").write_text("a,b"), "frame.parquet: not a readable"),
        (
            lambda f: rewritten(f, lambda frame: frame.drop(columns=["metric", "count"])),
            "missing columns metric, count",
        ),
        (lambda f: truncated(f / "samples.npz"), "samples.npz"),
        (
            lambda f: np.savez(
                f / "samples.npz", images=np.zeros((2, 2)), rows=["a"], columns=["b"]
            ),
            "samples.npz",
        ),
    ],
)
def test_bad_input_is_one_line(tmp_path, refused, damage, named):
    folder = make_folder(tmp_path / "study", depths=(4,), groups=2)
    damage(folder)
    if folder.exists():
        sealed(folder)
    said = refused(folder)
    assert named in said and str(tmp_path) in said
    assert ";" in said  # a remedy follows


def test_command_line_reports_bad_folder_without_traceback(tmp_path):
    done = run_reports(tmp_path / "nowhere")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "nowhere" in done.stderr


def findings(**settings) -> Findings:
    facts = sensitivity_facts(Truth(**settings))
    return Findings(SensitivityFile.model_validate(facts), make_frame(**settings))


@pytest.mark.parametrize(
    ("settings", "verdict", "lead"),
    [
        ({}, "reproduced", "Yes: in this study the early scales"),
        ({"effects": LATE}, "contradicted", "No: in this study the late scales"),
        ({"effects": MIXED}, "metrics disagree", "It depends on the metric"),
        ({"effects": EQUAL, "noise": 0.3}, "inconclusive", "Not shown"),
        ({"effects": LATE, "patch_nums": TEN}, "contradicted", "No: in"),
        ({"units": range(3)}, "cannot resolve", "Cannot be said"),
        ({"units": (0,)}, "cannot resolve", "Cannot be said"),
        ({"fail": (("d4 on late", None),)}, "untested", "Not tested"),
    ],
    ids=["yes", "no", "disagree", "inconclusive", "ten scales", "three units", "one", "untested"],
)
def test_answer_of_every_verdict(settings, verdict, lead):
    settings = {"units": range(5), "seed": 4} | settings
    found = findings(**settings)
    text = plain(sentences.answer_text(found))
    assert found.main.claim.verdict.value == verdict and text.startswith(lead)
    assert "  " not in text and "nan" not in text
    if verdict != "untested":
        assert "half the layers (4) on the early scales only" in text
        assert ("a verdict needs 5" in text) == (len(settings["units"]) < 5)


def test_basis_names_counts_feature_space_and_units():
    assert sentences.basis(findings(units=(0, 3))) == (
        "FD, KID and accuracy from 1,000 samples a unit; NLL from 1,000 test images a unit; "
        "distances on features of shapes-1a2b3c; units 0 and 3."
    )
    alone = sentences.basis(findings())
    assert alone.endswith("unit 0: intervals over its samples, for this network only.")


def test_what_one_unit_alone_has_is_said_to_be_of_it():
    frame = make_frame(units=(0, 1))
    decides = frame["family"].isin(("full", "window", "real"))
    facts = sensitivity_facts(Truth(units=(0, 1)))
    found = Findings(SensitivityFile.model_validate(facts), frame[decides | (frame["unit"] == 0)])
    assert sentences.basis(found).endswith("; units 0 and 1.")
    assert "; unit 0: intervals over its samples" in sentences.basis(found, None, "scale")
    said = " The claim's own split is of all units, the others of unit 0."
    assert sentences.splits(found) == said
    assert sentences.splits(findings(units=(0, 1))) == ""
