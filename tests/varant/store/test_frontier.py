"""The best plan that fits: of a search's fronts, or of the plans that a study wrote."""

import dataclasses
import json

import pytest
from small_networks import small_geometry

import varant
from varant import DepthPlan, UserError, best_plan, plan_cost

GEOMETRY = small_geometry((1, 2, 3), 16, depth=4)
NLL = {"full": 3.0, "d2@1": 3.1, "d1@1": 3.4}
PLANS = {text: DepthPlan.parse(text, GEOMETRY.patch_nums, 4) for text in NLL}
NEEDS = {text: plan_cost(GEOMETRY, plan, batch=64).kv_bytes_peak for text, plan in PLANS.items()}


def write_study(folder, **more):
    facts = {"geometry": dataclasses.asdict(GEOMETRY)} | more
    (folder / "study.json").write_text(json.dumps(facts))
    return folder


@pytest.fixture
def search(tmp_path):
    front = [
        {"plan": text, "layers": plan.layers, "select_nll": NLL[text], "kv": 1, "flops": 1}
        for text, plan in PLANS.items()
    ]
    return write_study(tmp_path, fronts={"two-zone": front[:1], "found": front[1:]})


@pytest.fixture
def pareto(tmp_path):
    listed = []
    for i, (text, plan) in enumerate(PLANS.items()):
        plan.save(tmp_path / f"plan-{i}.json")
        listed.append({"file": f"plan-{i}.json", "select_nll": NLL[text]})
    (tmp_path / "plans.json").write_text(json.dumps(listed))
    return write_study(tmp_path)


@pytest.mark.parametrize("kind", ["search", "pareto"])
def test_the_best_that_fits(kind, request):
    folder = request.getfixturevalue(kind)
    for text, need in NEEDS.items():
        assert best_plan(folder, kv_limit=need, batch=64).name == text
    shown = f"{NEEDS['d2@1'] / 2**10:.3f}KiB"
    assert best_plan(folder / "study.json", kv_limit=shown, batch=64).name == "d2@1"
    # Half the rows, or half the bytes: twice as much fits.
    for how in ({"guidance": False}, {"kv_bytes": 1}, {"batch": 32}):
        how = {"batch": 64} | how
        assert best_plan(folder, kv_limit=NEEDS["full"] // 2, **how).is_full


@pytest.mark.parametrize("kind", ["search", "pareto"])
def test_a_distance_that_was_minimised_chooses_not_the_likelihood(kind, request, tmp_path):
    folder = request.getfixturevalue(kind)
    name = "study.json" if kind == "search" else "plans.json"
    content = json.loads((folder / name).read_text())
    fronts = content["fronts"].values() if kind == "search" else [content]
    for i, one in enumerate(one for front in fronts for one in front):
        one["select_distance"] = (7.0, 5.0, 6.0)[i]
    (folder / name).write_text(json.dumps(content))
    assert best_plan(folder, kv_limit="4GiB", batch=64).name == "d2@1"


def test_a_plans_file_and_its_name_are_taken(pareto):
    assert best_plan(pareto / "plans.json", kv_limit="4GiB", batch=64).is_full
    assert varant.best_plan is best_plan
    listed = json.loads((pareto / "plans.json").read_text())
    listed[0]["file"] = "../../plan-0.json"  # never left the folder
    (pareto / "plans.json").write_text(json.dumps(listed))
    assert best_plan(pareto, kv_limit="4GiB").is_full


def test_none_fits_names_the_smallest_need(search):
    need = f"{NEEDS['d1@1'] / 2**10:.1f} KiB"
    with pytest.raises(UserError, match=rf"kv_limit 1KiB: .* {need} \(d1@1 at batch 64\)"):
        best_plan(search, kv_limit="1KiB", batch=64)


def test_bad_input(tmp_path, pareto):
    for limit in ("4 gigabytes", "-1", "GiB"):
        with pytest.raises(UserError, match=f"kv_limit {limit}: give bytes"):
            best_plan(pareto, kv_limit=limit)
    with pytest.raises(UserError, match="nowhere: no such file"):
        best_plan(tmp_path / "nowhere", kv_limit=1)
    (pareto / "plans.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"plans.json: no readable JSON"):
        best_plan(pareto, kv_limit=1)
    (pareto / "plans.json").write_text("[]")
    with pytest.raises(UserError, match="no plans"):
        best_plan(pareto, kv_limit=1)
    (pareto / "study.json").write_text("{}")
    with pytest.raises(UserError, match="not a study of plans"):
        best_plan(pareto, kv_limit=1)
