"""The plan search: fronts of known points, and the command from end to end."""

import json
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from mlflow_runs import finished_runs
from pareto_frames import FD, NLL

from analysis.frame import checked_frame
from analysis.metrics import parse_metric
from analysis.searches.plans import front_of, group_values, hypervolume_difference
from reports import build
from studies.search import Scored, Search, SearchFlags
from varant import generate, load
from varant.errors import exit_codes
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

SETS = 5


def test_front_of_known_points():
    points = [(3.0, 1.0), (1.0, 3.0), (2.0, 2.0), (2.0, 2.0), (2.5, 2.5), (1.0, 4.0)]
    assert front_of(points) == [1, 2, 0]
    assert front_of([]) == []


def planted(*, gain: float, broken: bool = False) -> pd.DataFrame:
    """Two fronts of one point each at half the full network's KV; found is better by `gain`."""
    rows = []
    for family, cell, level in (
        ("full", "full", 2.0),
        ("two-zone", "two-zone d2@3", 3.0),
        ("found", "found 4,4,2,2,2", 3.0 - gain),
    ):
        shared = {
            "study": "search",
            "base_seed": 0,
            "scale": None,
            "window": None,
            "family": family,
            "cell": cell,
            "switch": None,
            "subnet_depth": None,
            "selector": "equidistant",
            "cell_digest": cell,
            "status": "finished",
        }
        for metric in (NLL, FD):
            for i in range(SETS):
                if broken and family == "found" and i == 2:
                    continue
                value = level + 0.1 * i
                rows.append(shared | {"metric": metric, "set": i, "value": value, "count": 50})
        kv = 100.0 if family == "full" else 50.0
        rows.append(shared | {"metric": "kv_bytes/peak", "set": None, "value": kv, "count": 0})
    return checked_frame(pd.DataFrame(rows), training=False)


@pytest.mark.parametrize("gain", [0.5, -0.5])
def test_hypervolumes_of_known_fronts(gain):
    frame = planted(gain=gain)
    found = hypervolume_difference(
        frame, parse_metric(NLL), one="found", other="two-zone", corner=(1.0, 5.0), full_kv=100.0
    )
    # One point at (x, y) covers (1 - x)(5 - y) of a rectangle of area 5.
    assert found.estimate == pytest.approx(gain * 0.5 / 5.0)
    assert not hypervolume_difference(
        frame, parse_metric(NLL), one="nobody", other="found", corner=(1.0, 5.0), full_kv=100.0
    )


def test_a_plan_that_lacks_a_set_is_in_no_front():
    frame = planted(gain=0.5, broken=True)
    assert group_values(frame, parse_metric(NLL), "found").empty
    assert group_values(frame, parse_metric(NLL), "two-zone").shape == (1, SETS)


@pytest.fixture(scope="module")
def finished(quick_workspace):
    flags = SearchFlags(
        workspace=quick_workspace,
        model=quick_workspace / "supernet",
        quick=True,
        kv_limit="0.6",
        selectors="ranked,equidistant,nested",
        workers=2,
    )
    paths = Search(flags, "test").run()
    return flags, quick_workspace / "search-quick", paths


def test_the_study_end_to_end(finished):
    _, folder, paths = finished
    facts = json.loads((folder / "study.json").read_text())
    assert facts["trials"] == 24
    assert len({one["plan"] for one in facts["scored"]}) == 24
    assert max(one["kv"] for one in facts["scored"]) <= facts["kv_limit_bytes"]
    assert facts["kv_limit_bytes"] == int(0.6 * facts["kv_full_bytes"])
    assert facts["trained_switch"] == facts["switch"] == 3
    by_plan = {one["plan"]: one for one in facts["scored"]}
    for front in facts["fronts"].values():
        assert front
        for one in front:  # nothing that was scored is better in both
            assert not any(
                other["nll"] < one["select_nll"] and other["kv"] < one["kv"]
                for other in by_plan.values()
                if front is facts["fronts"]["found"]
            )
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["family"]) == {"full", "two-zone", "found", "selector"}
    assert set(frame.loc[frame["family"] == "selector", "selector"]) == {
        "ranked",
        "equidistant",
        "nested",
    }
    assert "the found front" in paths.verdict
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"fronts", "plans", "samples"}
    before = paths.pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before


def test_every_scored_plan_is_a_run(finished):
    flags, folder, _ = finished
    runs = finished_runs(flags.workspace, "search-quick")
    facts = json.loads((folder / "study.json").read_text())
    scored = [run for run in runs if run.data.params.get("family") == "scored"]
    assert len(scored) == facts["trials"]
    for run in scored:
        assert {f"depth_scale_0{k}" for k in range(1, 6)} <= set(run.data.params)
        assert "select/nll/mean" in run.data.metrics
    assert {run.data.params.get("family") for run in runs} >= {"full", "two-zone", "found"}


def test_ranking_leaves_out_the_layer_that_costs_least(monkeypatch):
    """Planted: each layer has a price; 0 and 3 replace each other, so both are never left out."""
    prices = (0.1, 0.5, 0.3, 0.2)
    geometry = Geometry(
        patch_nums=(1, 2, 3, 4, 6),
        depth=4,
        width=32,
        heads=2,
        vocab_size=128,
        code_channels=8,
        num_classes=10,
    )

    def score(self, bench, plans, run):
        found = {}
        for plan in plans:
            assert all(layers == (0, 1, 2, 3) for layers in plan.layers[:3])
            assert plan.layers[3] == plan.layers[4]
            gone = set(range(4)) - set(plan.layers[4])
            nll = sum(prices[layer] for layer in gone) + 9.0 * ({0, 3} <= gone)
            found[plan.digest] = Scored(plan=plan, nll=nll, kv=1, flops=1)
        return found

    monkeypatch.setattr(Search, "_score", score)
    search = Search(SearchFlags(switch=3), "test")
    ranked = search._rank(SimpleNamespace(geometry=geometry), run=None)
    assert ranked == {3: (1, 2, 3), 2: (1, 3), 1: (3,)}


def test_ranked_plans_are_measured(finished):
    _, folder, _ = finished
    ranked = json.loads((folder / "study.json").read_text())["ranked"]
    kept = [set(ranked[str(depth)]) for depth in (3, 2, 1)]
    assert kept[2] < kept[1] < kept[0] and [len(layers) for layers in kept] == [3, 2, 1]
    frame = pd.read_parquet(folder / "frame.parquet")
    mine = frame[frame["selector"] == "ranked"]
    assert set(mine["cell"]) == {"d1@3 ranked", "d2@3 ranked", "d3@3 ranked"}


def test_no_plan_is_scored_twice(finished, capsys):
    flags, folder, _ = finished
    cells = {path: path.stat().st_mtime_ns for path in flags.workspace.glob("cells/*/*")}
    answer = (folder / "answer.json").read_text()
    Search(flags, "test").run()
    again = {path: path.stat().st_mtime_ns for path in flags.workspace.glob("cells/*/*")}
    assert again == cells
    assert (folder / "answer.json").read_text() == answer
    assert "cells are finished already" in capsys.readouterr().err


def test_found_plans_are_obeyed(finished, tmp_path):
    flags, folder, _ = finished
    listed = json.loads((folder / "plans.json").read_text())
    best = folder / "plan-best.json"
    assert listed[0]["file"] == best.name
    assert [one["select_nll"] for one in listed] == sorted(one["select_nll"] for one in listed)
    tokenizer, model = load(flags.model)
    plan = DepthPlan.load(best)
    assert plan.name == listed[0]["plan"]
    sample = generate(model, tokenizer, torch.tensor([0, 1]), plan=str(best), cfg=0.0, seed=3)
    assert (
        sample.kv_bytes_peak
        == plan_cost(model.geometry, plan, batch=2, guidance=False, kv_bytes=4).kv_bytes_peak
    )
    out = tmp_path / "samples.png"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "varant.sample",
            "--model",
            flags.model,
            "--plan",
            best,
            "--out",
            out,
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert out.exists()


def test_another_switch_is_said_loudly(finished, capsys):
    flags, _, _ = finished
    Search(replace(flags, switch=2, selectors="ranked", trials=2, workers=1), "test").run()
    assert "warning: --switch 2: the supernet was trained for 3" in capsys.readouterr().err


@pytest.mark.parametrize("sampler", ["tpe"])
@pytest.mark.parametrize("cost", ["flops"])
def test_other_samplers_and_costs(finished, sampler, cost):
    flags, folder, _ = finished
    Search(replace(flags, sampler=sampler, cost=cost, selectors="equidistant"), "test").run()
    facts = json.loads((folder / "study.json").read_text())
    assert facts["weighed"] == cost and facts["sampler"] == sampler
    assert facts["trials"] == 24


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": None}, "--model: give a supernet's folder"),
        ({"kv_limit": "0.01"}, "the smallest plan needs"),
        ({"kv_limit": "100"}, "--kv-limit 100: 100 bytes an image; the smallest plan needs"),
        ({"kv_limit": "half"}, "--kv-limit half: give a share"),
        ({"trials": 0}, "--trials 0"),
        ({"sampler": "grid"}, "--sampler grid: use one of nsga2, tpe"),
        ({"cost": "euro"}, "--cost euro: use one of kv, flops"),
        ({"selectors": "best"}, "--selectors best: use one of ranked"),
        ({"switch": 7}, "--switch 7: the network has 5 scales; use 0 to 4"),
        ({"score_images": 0}, "--score-images 0"),
    ],
)
def test_bad_input(capsys, quick_workspace, tmp_path, flags, message):
    flags = {"model": quick_workspace / "supernet"} | flags
    with pytest.raises(SystemExit) as ended, exit_codes():
        Search(SearchFlags(workspace=tmp_path / "runs", **flags), "test").run()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "runs").exists()
