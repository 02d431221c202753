"""The plan search from end to end, of a given supernet and of one that it trains."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from command_lines import config_of
from mlflow_runs import finished_runs
from study_commands import FEW, Command

from analysis.search_file import SearchFile
from reports import ReportPaths, build
from studies.search import SEARCH_SEED, Search, SearchConfig
from varant import best_plan, generate, load
from varant.evaluation.extractors import extractor_specs
from varant.evaluation.reference import read_reference
from varant.evaluation.scores import frechet
from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.sample import SampleConfig, main as sample_main

SEARCH = Command(study=Search, config=SearchConfig)
TRIALS = 20
FLAGS = FEW | {"trials": TRIALS, "kv_limit": 0.6, "score_images": 60}
SMALL = replace(SEARCH, flags=FLAGS)


@pytest.fixture(scope="module")
def finished(quick_workspace: Path) -> tuple[Path, ReportPaths]:
    """The study's folder, and its report."""
    selectors = "ranked,equidistant,nested"
    paths = SMALL.run(quick_workspace, model=quick_workspace / "supernet", selectors=selectors)
    return quick_workspace / "search-quick", paths


@pytest.fixture
def copied(finished: tuple[Path, ReportPaths], tmp_path: Path) -> Path:
    """A copy of the finished study's workspace."""
    return shutil.copytree(finished[0].parent, tmp_path / "runs")


def test_the_study_end_to_end(finished):
    folder, paths = finished
    facts = json.loads((folder / "study.json").read_text())
    assert len({one["plan"] for one in facts["scored"]}) == len(facts["scored"]) == TRIALS
    assert max(one["kv"] for one in facts["scored"]) <= facts["kv_limit_bytes"]
    assert facts["kv_limit_bytes"] == int(0.6 * facts["kv_full_bytes"])
    assert facts["trained_switch"] == facts["switch"] == 3
    assert set(facts["fronts"]) == {"two-zone", "found"} and all(facts["fronts"].values())
    for one in facts["fronts"]["found"]:  # nothing that was scored is better in both
        assert not any(
            other["select_nll"] < one["select_nll"] and other["kv"] < one["kv"]
            for other in facts["scored"]
        )
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["family"]) == {"real", "full", "two-zone", "found", "selector"}
    assert set(frame.loc[frame["family"] == "selector", "selector"]) == {
        "ranked",
        "equidistant",
        "nested",
    }
    assert "found plans against two zones" in paths.verdict
    names = {path.stem for path in (folder / "figures").iterdir()}
    assert names == {"fronts", "plans", "samples"}
    before = paths.pdf.read_bytes()
    assert build(folder).pdf.read_bytes() == before


def test_every_scored_plan_is_a_run(finished):
    folder, _ = finished
    runs = finished_runs(folder.parent, "search-quick")
    scored = [run for run in runs if run.data.params.get("family") == "scored"]
    assert len(scored) == TRIALS
    for run in scored:
        assert {f"depth_scale_0{k}" for k in range(1, 6)} <= set(run.data.params)
        assert "select/nll/mean" in run.data.metrics
    assert {run.data.params.get("family") for run in runs} >= {"full", "two-zone", "found"}


def test_ranked_plans_are_measured(finished):
    folder, _ = finished
    facts = json.loads((folder / "study.json").read_text())
    kept = [set(facts["ranked"][str(depth)]) for depth in (3, 2, 1)]
    assert kept[2] < kept[1] < kept[0] and [len(layers) for layers in kept] == [3, 2, 1]
    frame = pd.read_parquet(folder / "frame.parquet")
    mine = frame[frame["selector"] == "ranked"].drop_duplicates("cell_digest")
    assert set(mine["plan"]) == {"d1@3", "d2@3", "d3@3"}
    for digest, depth in zip(mine["cell_digest"], mine["subnet_depth"], strict=True):
        assert facts["plans"][digest][3:] == [facts["ranked"][str(depth)]] * 2


def test_no_plan_is_scored_twice(finished, copied, capsys, undrawn):
    cells = {path: path.stat().st_mtime_ns for path in copied.glob("cells/*/*")}
    answer = (copied / "search-quick" / "answer.json").read_text()
    selectors = "ranked,equidistant,nested"
    SMALL.run(copied, model=finished[0].parent / "supernet", selectors=selectors)
    assert {path: path.stat().st_mtime_ns for path in copied.glob("cells/*/*")} == cells
    assert (copied / "search-quick" / "answer.json").read_text() == answer
    assert "cells are finished already" in capsys.readouterr().err


def test_found_plans_are_obeyed(finished, tmp_path):
    folder, _ = finished
    listed = json.loads((folder / "plans.json").read_text())
    best = folder / "plan-best.json"
    assert listed[0]["file"] == best.name
    assert [one["select_nll"] for one in listed] == sorted(one["select_nll"] for one in listed)
    supernet = folder.parent / "supernet"
    assert {one["model"] for one in listed} == {str(supernet)}
    tokenizer, model = load(supernet)
    plan = DepthPlan.load(best)
    assert plan.name == listed[0]["plan"]
    sample = generate(model, tokenizer, torch.tensor([0, 1]), plan=str(best), cfg=0.0, seed=3)
    assert (
        sample.kv_bytes_peak
        == plan_cost(model.geometry, plan, batch=2, guidance=False, kv_bytes=4).kv_bytes_peak
    )
    out = tmp_path / "samples.png"
    sample_main(config_of(SampleConfig, model=supernet, plan=best, out=out))
    assert out.exists()


def test_another_sampler_cost_and_switch_which_is_said_loudly(finished, copied, capsys, undrawn):
    other = {"sampler": "tpe", "cost": "flops", "switch": 2, "selectors": "ranked"}
    SMALL.run(copied, model=finished[0].parent / "supernet", **other)
    assert "warning: --switch 2: the supernet was trained for 3" in capsys.readouterr().err
    facts = json.loads((copied / "search-quick" / "study.json").read_text())
    assert facts["weighed"] == "flops" and facts["sampler"] == "tpe"
    assert len(facts["scored"]) == TRIALS


def test_a_search_by_distance_draws_samples_of_its_own(finished, copied, capsys, undrawn):
    supernet = finished[0].parent / "supernet"
    SMALL.run(copied, model=supernet, objective="distance", score_samples=40)
    assert "warning: --score-samples 40: cannot resolve: " in capsys.readouterr().err
    folder = copied / "search-quick"
    study = SearchFile.model_validate_json((folder / "study.json").read_text())
    assert (study.objective, study.score_samples) == ("distance", 40)
    assert all(one.select_distance == one.minimised for one in study.scored)
    best = study.best["found"]
    for one in study.fronts["found"]:  # nothing that was scored is better in both
        assert not any(
            other.minimised < one.minimised and other.kv < one.kv for other in study.scored
        )
    assert best.minimised == min(one.minimised for one in study.fronts["found"])
    listed = json.loads((folder / "plans.json").read_text())
    assert listed[0]["select_distance"] == best.select_distance
    assert best_plan(folder, kv_limit=2**30).layers == best.layers
    assert study.chosen_by == "Fréchet distance of 40 samples to select images"
    # The value itself, by hand: images of the plan under uniforms that no test image has.
    tokenizer, model = load(supernet)
    plan, labels = DepthPlan.load(folder / "plan-best.json"), torch.arange(40) % model.num_classes
    drawing = {"cfg": 0.0, "top_k": 0, "top_p": 0.0, "seed": SEARCH_SEED}
    drawn = generate(model, tokenizer, labels, plan=plan, **drawing).images
    (extractor, *_) = [spec.load("cpu") for spec in extractor_specs("shapes-24")]
    (tokens,) = copied.glob(f"tokens/*/select-{extractor.name}.safetensors")
    real = read_reference(tokens, features=extractor.features).gaussian
    by_hand = frechet(extractor(drawn).rounded().features_NF, real).value
    assert best.select_distance == pytest.approx(by_hand, rel=1e-6)


def test_without_a_model_it_trains_its_supernet(prepared, tmp_path, capsys, undrawn):
    workspace = shutil.copytree(prepared, tmp_path / "runs")
    tiny = {"budget": 320, "batch": 32, "depths": "1,2", "kv_limit": 0.4, "trials": 2}
    SMALL.of(workspace=workspace, dry_run=True, **tiny).run()
    assert "a supernet is trained first" in capsys.readouterr().out
    SMALL.run(workspace, **tiny)
    (supernet,) = (path.parent for path in workspace.glob("cells/*/model.safetensors"))
    folder = workspace / "search-quick"
    listed = json.loads((folder / "plans.json").read_text())
    (model,) = {one["model"] for one in listed}
    assert (workspace / "search-quick" / model).resolve() == supernet.resolve()
    (base,) = json.loads((folder / "study.json").read_text())["bases"]
    frame = pd.read_parquet(folder / "frame.parquet")
    own = frame[(frame["metric"] == "nll/mean") & (frame["family"] == "full")]
    levels = own[own["group"].isna()].set_index("anchor", drop=False)["value"]
    assert list(levels.index.isna()) == [False, True] and levels.index[0] == "base"
    assert base["nll_mean"] == levels.iloc[0] != levels.iloc[1]  # the supernet that came of it
    assert (folder / "figures" / "samples.svg").exists()
    assert set(json.loads((folder / "study.json").read_text())["plans"]) == set(
        frame.loc[frame["family"] != "real", "cell_digest"]
    )
    note = json.loads((supernet / "config.json").read_text())["note"]["identity"]["training"]
    assert (note["schedule"]["name"], note["depths"], note["switch"]) == ("progressive", [1, 2], 3)
    facts = json.loads((folder / "study.json").read_text())
    assert facts["trained_switch"] == facts["switch"] == 3
    assert facts["image_passes"] == note["budget_images"]
    assert set(frame["status"]) == {"finished"}
    runs = finished_runs(workspace, "search-quick")
    assert [r.info.run_name for r in runs if r.data.params.get("family") == "training"] == [
        "supernet"
    ]
    cells = {path: path.stat().st_mtime_ns for path in workspace.glob("cells/*/*")}
    SMALL.run(workspace, **tiny)
    assert {path: path.stat().st_mtime_ns for path in workspace.glob("cells/*/*")} == cells


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"kv_limit": "0.01"}, "the smallest plan needs"),
        ({"kv_limit": "100"}, "--kv-limit 100: 100 bytes an image; the smallest plan needs"),
        ({"kv_limit": "half"}, "--kv-limit half: not a number"),
        ({"trials": 0}, "--trials 0"),
        ({"sampler": "grid"}, "--sampler grid: use one of nsga2, tpe"),
        ({"cost": "euro"}, "--cost euro: use one of kv, flops"),
        ({"selectors": "best"}, "--selectors best: use one of ranked"),
        ({"switch": 7}, "--switch 7: the network has 5 scales; use 0 to 4"),
        ({"score_images": 0}, "--score-images 0"),
        ({"objective": "fid"}, "--objective fid: use one of nll, distance"),
        ({"objective": "distance", "score_samples": 1}, "a distance needs at least 2"),
        ({"units": 2}, "leave it 1"),
    ],
)
@pytest.mark.parametrize("given", [True, False])
def test_bad_input(capsys, prepared, tmp_path, flags, message, given):
    model = {"model": prepared / "supernet"} if given else {}
    assert message in SEARCH.refused(capsys, tmp_path / "runs", **model, **flags)
