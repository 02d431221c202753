"""The reports of the pareto study and of any other: from a saved folder to figures and PDF."""

import itertools
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pareto_frames import SCHEDULES, pareto_facts, pareto_frame

from analysis.figures.fronts import (
    ScatterPanel,
    colours_of,
    draw_curves,
    draw_scatter,
    draw_trade,
    spread,
)
from analysis.figures.theme import new_figure, style
from reports import build
from reports.__main__ import main
from reports.pareto.figures import TradePanel

FEW = ("control", "fixed 0.1", "fixed 1", "progressive")


def curves_of(schedules, seeds) -> pd.DataFrame:
    images = np.arange(0, 40_001, 4_000)
    return pd.DataFrame(
        [
            {
                "schedule": s,
                "seed": seed,
                "images_seen": int(n),
                "plan": plan,
                "value": 3 - n / 1e5 + 0.01 * i + 0.001 * seed,
                "images": 500,
            }
            for i, s in enumerate(schedules)
            for seed in seeds
            for plan in ("full", "d6@3", "d4@3", "d2@3")
            for n in images
        ]
    )


def make_folder(folder: Path, *, schedules=FEW, seeds=(0,), quick=False, **settings) -> Path:
    folder.mkdir(parents=True)
    shared = {"schedules": schedules, "seeds": seeds}
    pareto_frame(**shared, **settings).to_parquet(folder / "frame.parquet")
    facts = pareto_facts(**shared, quick=quick, status=settings.get("status"))
    (folder / "study.json").write_text(json.dumps(facts | {"question": "Which plan is best?"}))
    curves_of(schedules, seeds).to_parquet(folder / "curves.parquet")
    rng = np.random.default_rng(0)
    rows = [f"{s} full" for s in schedules[:3]]
    images = rng.integers(0, 256, (len(rows), 10, 24, 24, 3), dtype=np.uint8)
    np.savez_compressed(
        folder / "samples.npz",
        images=images,
        rows=np.array(rows),
        columns=np.array([f"class {i}" for i in range(10)]),
    )
    return folder


def pdf_text(path: Path) -> str:
    if shutil.which("pdftotext") is None:
        pytest.skip("pdftotext is not installed")
    text = subprocess.run(["pdftotext", path, "-"], capture_output=True, text=True, check=True)
    return " ".join(text.stdout.split())


@pytest.fixture(scope="module")
def five_seeds(tmp_path_factory) -> Path:
    status = {("progressive", 4, None): "diverged", ("fixed 1", 2, "d2@3"): "failed"}
    folder = make_folder(
        tmp_path_factory.mktemp("five") / "study",
        schedules=SCHEDULES,
        seeds=range(6),
        status=status,
    )
    build(folder)
    return folder


def test_everything_is_there(five_seeds):
    names = {path.stem for path in (five_seeds / "figures").iterdir()}
    assert names == {
        "frontier_fd",
        "frontier_nll",
        "trade_fd",
        "trade_nll",
        "hypervolume",
        "curves",
        "samples",
    }
    for name in names:
        assert (five_seeds / "figures" / f"{name}.svg").stat().st_size > 1000
    summary = pd.read_csv(five_seeds / "summary.csv")
    assert set(summary["schedule"]) == set(SCHEDULES)


def test_the_ledger_comes_first_and_says_what_it_rests_on(five_seeds):
    text = pdf_text(five_seeds / "report.pdf")
    assert text.index("Claim ledger") < text.index("Protocol")
    assert "Table 1. Claim ledger" in text
    for claim in ("C1", "C2", "C3", "C4", "C5", "C6", "C7"):
        assert claim in text
    assert "training seeds" in text
    answer = json.loads((five_seeds / "answer.json").read_text())
    assert [row["claim"] for row in answer["ledger"]] == [f"C{i}" for i in range(1, 8)]
    verdicts = {row["claim"]: row["verdict"] for row in answer["ledger"]}
    assert verdicts["C2"] == "reproduced"
    assert verdicts["C3"] == "contradicted"
    assert verdicts["C1"] == verdicts["C6"] == "untested"


def test_cells_without_numbers_are_listed(five_seeds):
    text = pdf_text(five_seeds / "report.pdf")
    assert "diverged" in text and "not finite at step 120" in text
    answer = json.loads((five_seeds / "answer.json").read_text())
    assert "fixed 1 s2 d2@3: failed" in answer["unfinished_cells"]
    assert len([c for c in answer["unfinished_cells"] if c.startswith("progressive s4")]) == 8


def test_one_seed_measures_no_training_variance(tmp_path):
    folder = make_folder(tmp_path / "study")
    paths = build(folder)
    text = pdf_text(paths.pdf)
    assert "training variance is not measured" in text
    verdicts = {r["claim"]: r["verdict"] for r in json.loads(paths.answer.read_text())["ledger"]}
    assert "reproduced" not in {verdicts[c] for c in ("C2", "C3", "C4", "C7")}


def test_quick_is_marked(tmp_path):
    paths = build(make_folder(tmp_path / "study", quick=True))
    assert "QUICK RUN" in pdf_text(paths.pdf)
    assert "QUICK" in (tmp_path / "study" / "figures" / "curves.svg").read_text()


@pytest.mark.parametrize(
    "settings",
    [
        {"schedules": ("control", "progressive")},
        {"schedules": ("fixed 0.5",)},
        {"plans": ("full", "d4@3")},
        {"metrics": ("nll/mean", "select/nll/mean")},
        {"status": {("control", None, None): "failed"}},
        {"status": {(None, None, None): "failed"}},
        {"status": {(None, None, "full"): "interrupted"}, "seeds": (0, 1)},
        {"sample_sets": 2, "nll_sets": 2, "select_sets": 2, "noise": 0.0},
    ],
)
def test_poor_studies_still_report(tmp_path, settings):
    paths = build(make_folder(tmp_path / "study", **settings))
    assert paths.pdf.read_bytes().startswith(b"%PDF")


def test_a_rebuild_changes_no_byte(tmp_path):
    folder = make_folder(tmp_path / "study", seeds=(0, 1))
    before = build(folder).pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda f: without(f / "frame.parquet", "schedule"), "missing columns schedule"),
        (lambda f: without(f / "curves.parquet", "plan"), "missing columns plan"),
        (lambda f: (f / "curves.parquet").write_bytes(b"no"), "not a readable parquet file"),
        (lambda f: edited(f, schedules=[]), "schedules or seeds is empty"),
        (lambda f: edited(f, schedules=[{"label": "other"}]), "schedule 'control'"),
        (lambda f: edited(f, train_switch="3"), "train_switch is '3'"),
        (lambda f: edited(f, reference_point=None), "NoneType"),
    ],
)
def test_bad_input_is_one_line(tmp_path, capsys, damage, named):
    folder = make_folder(tmp_path / "study")
    damage(folder)
    before = sorted(tmp_path.rglob("*"))
    assert main([str(folder)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert named in said and str(tmp_path) in said
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


def without(path: Path, *columns: str) -> None:
    pd.read_parquet(path).drop(columns=list(columns)).to_parquet(path)


def edited(folder: Path, **changes) -> None:
    path = folder / "study.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def overlaps(ax) -> list[tuple[str, str]]:
    """Pairs of texts on the axes that share ink."""
    ax.figure.canvas.draw()
    texts = [t for t in (*ax.texts, ax.title) if t.get_text()]
    boxes = [(t.get_text(), t.get_window_extent()) for t in texts]
    return [
        (one, other)
        for (one, a), (other, b) in itertools.combinations(boxes, 2)
        if a.x0 < b.x1 and b.x0 < a.x1 and a.y0 < b.y1 - 0.5 and b.y0 < a.y1 - 0.5
    ]


@pytest.mark.parametrize("count", [1, 2, 6, 12])
def test_labels_do_not_overlap_at_any_number_of_schedules(count):
    names = [f"fixed 0.{i:02d}" for i in range(count)]
    colours = colours_of(names)
    rng = np.random.default_rng(count)
    points = pd.DataFrame(
        {
            "schedule": names,
            "full": rng.normal(3, 1e-3, count),
            "subnet": rng.normal(3, 1e-3, count),
            "full_half": np.nan,
            "subnet_half": np.nan,
        }
    )
    with style():
        figure = new_figure(height=2.45, constrained=False)
        ax = figure.add_axes((0.11, 0.3, 0.68, 0.55))
        draw_trade(
            ax,
            TradePanel(
                title="full against d4@3",
                x_label="full",
                y_label="d4@3",
                points=points,
                seeds=points[["schedule", "full", "subnet"]],
                front=np.zeros((0, 2)),
                colours=colours,
            ),
        )
        assert not overlaps(ax)
        figure = new_figure(height=2.25, constrained=False)
        ax = figure.add_axes((0.09, 0.2, 0.70, 0.55))
        curves = curves_of(names, (0,))
        curves["value"] = 3.0
        draw_curves(ax, curves[curves["plan"] == "full"], colours, title="full")
        assert not overlaps(ax)
        figure = new_figure(height=max(2.0, 0.6 + 0.14 * count), constrained=False)
        ax = figure.add_axes((0.1, 0.2, 0.6, 0.65))
        ones = [1.0] * count
        draw_scatter(
            ax,
            ScatterPanel(
                title="NLL", x_label="KV", names=names, x=ones, y=ones, low=ones, high=ones
            ),
        )
        assert not overlaps(ax)


def test_spread():
    np.testing.assert_allclose(spread([0.1, 0.5, 0.9], 0.1, 0, 1), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(spread([0.5, 0.5], 0.2, 0, 1), [0.4, 0.6])
    np.testing.assert_allclose(spread([1.0, 1.0, 0.0], 0.1, 0, 1), [0.9, 1.0, 0.0])
    np.testing.assert_allclose(spread([0.3, 0.3, 0.3], 0.9, 0, 1), [0, 0.5, 1.0])
    assert len(spread([], 0.1, 0, 1)) == 0


def test_colours_tell_schedules_apart():
    colours = colours_of(SCHEDULES)
    assert len(set(colours.values())) == len(SCHEDULES)


def test_a_study_without_a_report_of_its_own(tmp_path):
    """Any study on the runner: `study` is a name that this package does not know."""
    folder = make_folder(tmp_path / "study", schedules=("progressive",))
    edited(folder, study="layers", question="First.\n\nSecond.", baseline="full")
    paths = build(folder)
    text = pdf_text(paths.pdf)
    assert "First." in text and "Second." in text
    assert "against full: paired damage" in text
    assert paths.verdict == "8 of 8 cells measured"
    summary = pd.read_csv(folder / "summary.csv")
    assert len(summary) == 8
    row = summary[summary["name"].str.endswith("d2@3")].iloc[0]
    damage = row["nll/mean"] - summary[summary["name"].str.endswith("full")].iloc[0]["nll/mean"]
    assert row["nll/mean damage"] == pytest.approx(damage)
