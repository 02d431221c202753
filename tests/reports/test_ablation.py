"""The table of what each choice is worth: paired differences against a baseline, one at a time."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from command_lines import config_of
from nights import FEW, night
from scipy import stats

from analysis.frame import load_frame
from reports import build
from reports.__main__ import main
from reports.ablation import ablation
from studies.pareto import Pareto, ParetoConfig
from varant.store.workspace import Workspace

UNITS = (0, 1, 2, 3, 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return night(tmp_path_factory.mktemp("ablation") / "pareto", UNITS)


def values(frame, schedule, plan):
    rows = frame[(frame["schedule"] == schedule) & (frame["plan"] == plan) & frame["group"].isna()]
    return rows[rows["metric"] == "nll/mean"].sort_values("unit")["value"].to_numpy()


def test_differences_are_paired_and_adjusted(folder):
    found = ablation(folder, "progressive")
    frame = load_frame(folder / "frame.parquet", training=True)
    mine = [one for one in found.differences if one.metric.name == "nll/mean"]
    p_values = []
    for one in mine:
        by_hand = values(frame, one.way.name, one.plan.label) - values(
            frame, "progressive", one.plan.label
        )
        test = stats.ttest_1samp(by_hand, 0.0)
        low, high = test.confidence_interval(0.95)
        assert one.damage.estimate == pytest.approx(by_hand.mean())
        assert (one.damage.low, one.damage.high) == pytest.approx((low, high))
        assert (one.factor, one.units) == ("schedule", 5)
        p_values.append(test.pvalue)
    order = np.argsort(p_values)
    ranked = np.maximum.accumulate(np.array(p_values)[order] * np.arange(len(order), 0, -1))
    adjusted = np.empty(len(order))
    adjusted[order] = ranked.clip(max=1)
    assert [one.p_holm for one in mine] == pytest.approx(adjusted)
    assert {one.way.name for one in mine} == {"control", "fixed 0.1", "fixed 1"}


def test_it_is_written_as_pdf_latex_and_csv(folder, tmp_path, capsys):
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    assert main(["--ablation", str(folder), str(out)]) == 0
    assert "significant after Holm" in capsys.readouterr().out
    assert (out / "ablation.pdf").read_bytes().startswith(b"%PDF")
    table = pd.read_csv(out / "ablation.csv")
    assert set(table["trained"]) == {"control", "fixed 0.1", "fixed 1"}
    assert (table["p_holm"] >= table["p"]).all()
    tex = (out / "ablation.tex").read_text()
    rows = tex.split("\\midrule\n")[1].split("\\bottomrule")[0].strip().splitlines()
    columns = tex.split("\\toprule\n")[1].splitlines()[0].count("&")
    assert {row.count("&") for row in rows} == {columns}
    assert all(row.endswith(" \\\\") for row in rows)
    assert not set("−%_") & set(tex.replace("\\%", "").replace("\\_", ""))
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize(
    ("layers", "baseline"), [(("",), ""), ((" (nested)", ""), ""), ((" (nested)",), " (nested)")]
)
def test_a_study_of_any_layers_says_what_its_choices_are_worth(tmp_path, layers, baseline):
    """Against the progressive schedule of the paper's layers, or of those that there are."""
    schedules = [*FEW[:-1], *(f"progressive{of}" for of in layers)]
    site = SimpleNamespace(workspace=Workspace(folder=tmp_path))
    folder = night(tmp_path / "pareto", (0, 1), schedules=schedules)
    outcome = SimpleNamespace(folder=folder, bench=SimpleNamespace(site=site))
    answer = Pareto(config_of(ParetoConfig)).answer(outcome, build(outcome.folder))
    assert "ablation/nll-mean/control full" in answer.metrics
    assert "ablation.csv" in [Path(path).name for path in answer.artifacts[""]]
    assert ablation(outcome.folder).baseline.name == f"progressive{baseline}"


@pytest.mark.parametrize(
    ("units", "facts", "why"),
    [
        (UNITS, {"ladder": None}, "no ladder was climbed with these features at so many samples"),
        (UNITS, {"quick": True}, "a quick run: not a result"),
        ((0, 1, 2), {}, "3 units; a verdict needs 5"),
    ],
)
def test_what_may_not_decide_is_not_marked(tmp_path, units, facts, why):
    found = ablation(night(tmp_path / "pareto", units, **facts), "progressive")
    mute = [one for one in found.differences if one.metric.kind == "fd" or "ladder" not in facts]
    assert any(one.p_holm < 0.05 for one in mute), "or the test would show nothing"
    assert {(one.significant, one.undecided) for one in mute} == {(False, why)}
    assert f"Not marked, whatever p is: {why}." in found.caption
    assert f"{len(mute)} by what may not decide" in found.summary
    marked = [one for one in found.differences if one.significant]
    assert bool(marked) == ("ladder" in facts), "likelihood needs no ladder"


@pytest.mark.parametrize(
    ("baseline", "said"),
    [("fixed 9", "--baseline fixed 9: "), ("control", "has fixed 0.1, fixed 1, progressive")],
)
def test_baselines_that_are_not_there(folder, baseline, said, refused):
    assert said in refused("--ablation", folder, "--baseline", baseline)
