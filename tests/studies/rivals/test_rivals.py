"""Rivals: the rules that each runs by, their points, and a small study of all of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from mlflow_runs import finished_runs
from small_networks import small_geometry, small_tokenizer
from small_trainers import DEEP, make_trainer, tokenizer, tokens
from study_commands import TRAINED, Command

from reports.build import load_study
from reports.trace import trace
from studies.cells.measuring import LoadedHeldOut, LoadedNetwork
from studies.pareto import RIVALS, Pareto, ParetoConfig
from studies.rivals.budgeted import BudgetedCache, BudgetedSubject
from studies.rivals.costs import Budget
from studies.rivals.drafted import Drafted, SpecialistEvaluator
from studies.rivals.layer_dropout import DroppingTrainer, drop_rates, dropped
from varant import VAR, DepthPlan, Tokenizer, generate, plan_cost
from varant.errors import UserError
from varant.evaluation.likelihood import nll_per_scale

SIDES = (1, 2, 3)
FLAGS = {"schedules": "full,progressive", "depths": "1,2", "budget": 960, "samples": 40}
FLAGS |= {"nll_images": 20, "rivals": ",".join(RIVALS)}
SMALL = Command(study=Pareto, config=ParetoConfig, flags=TRAINED | FLAGS)


@pytest.fixture(scope="module")
def drafted() -> Drafted:
    """A network of three layers that drafts two of three scales for one of two layers."""
    geometry = small_geometry(SIDES, 8, depth=3)
    torch.manual_seed(0)
    held_out = LoadedHeldOut(
        tokenizer=Tokenizer(small_tokenizer(SIDES, 8)).eval(), tokens=None, spaces=(), training=None
    )
    models = [VAR(geometry).eval() for _ in range(2)]
    with torch.no_grad():  # away from the start, where no layer matters
        for parameter in (p for model in models for p in model.parameters()):
            parameter.add_(0.2 * torch.randn_like(parameter))
    drafter, refiner = (LoadedNetwork(model=m, tokens=None, held_out=held_out) for m in models)
    plan = DepthPlan.two_zone(SIDES, 3, subnet_depth=2, switch=0)
    return Drafted(drafter=drafter, loaded=refiner, plan=plan, switch=2)


def test_two_models_draw_their_scales_each(drafted):
    labels, how = torch.tensor([0, 1, 2]), {"cfg": 1.5, "top_k": 0, "top_p": 0.0, "seed": 3}
    draw = drafted.loaded.held_out.tokenizer
    sample = drafted.sample(labels, **how)
    large = generate(drafted.drafter.model, draw, labels, **how)
    assert torch.equal(sample.tokens[:, :5], large.tokens[:, :5])
    small = generate(drafted.loaded.model, draw, labels, plan=drafted.plan, **how)
    assert not torch.equal(sample.tokens[:, :5], small.tokens[:, :5])
    # Given what it would have drawn itself, the small one goes on as it would have alone.
    again = generate(
        drafted.loaded.model, draw, labels, plan=drafted.plan, given=small.tokens[:, :5], **how
    )
    assert torch.equal(again.tokens, small.tokens)
    assert torch.equal(again.images, small.images)


def test_two_models_bytes_and_flops_are_counted_as_they_are_held(drafted):
    labels, geometry = torch.tensor([0, 1]), drafted.drafter.model.geometry
    for guidance in (True, False):
        sample = drafted.sample(labels, cfg=1.5 if guidance else 0.0)
        cost = drafted.cost(guidance=guidance)
        assert sample.kv_bytes_peak == 2 * cost.kv_bytes
        # Drafter: three layers at scales of 1 and 4 tokens, where those of the last are not kept.
        # Refiner: two layers, whose first 5 tokens the last scale reads.
        rows = 2 if guidance else 1
        assert cost.kv_bytes == rows * 2 * 4 * geometry.width * max(3 * 1, 2 * 5)
        # The refiner's head runs for none of the five tokens that it is given.
        begun = small_geometry(SIDES[:2], 8, depth=3)
        parts = plan_cost(begun, guidance=guidance).flops
        parts += plan_cost(geometry, drafted.plan, guidance=guidance).flops
        assert cost.flops == parts - 2 * geometry.width * geometry.vocab_size * 5


def test_two_models_nll_is_of_the_one_that_draws_the_scale(drafted):
    draw, split = drafted.loaded.held_out.tokenizer, tokens(6)
    found = drafted.nll(split, 6)
    large = nll_per_scale(drafted.drafter.model, draw, split)
    small = nll_per_scale(drafted.loaded.model, draw, split, drafted.plan)
    np.testing.assert_array_equal(found, np.hstack([large[:, :2], small[:, 2:]]))


@pytest.mark.parametrize("count", [2, 4, 15])
def test_given_tokens_are_those_of_whole_scales(drafted, count):
    given = torch.zeros((1, count), dtype=torch.long)
    with pytest.raises(UserError, match=r"given tokens of shape \(1, .*1, 5, 14"):
        generate(
            drafted.drafter.model,
            drafted.drafter.held_out.tokenizer,
            torch.tensor([0]),
            given=given,
        )


def test_layers_drop_by_layerskips_rates_at_late_scales_alone():
    rates = drop_rates(5, 0.1)
    assert rates[0] == 0 and rates[-1] == pytest.approx(0.1)
    assert rates[2] == pytest.approx(0.1 * (np.sqrt(2) - 1))
    plan = DepthPlan.two_zone(SIDES, 4, subnet_depth=3, switch=1, selector="first")
    lost = np.array([True, False, True, True])
    assert dropped(plan, 1, lost).layers == ((0, 1, 2, 3), (1,), (1,))
    assert dropped(plan, 1, np.ones(4, dtype=bool)).layers == ((0, 1, 2, 3), (0,), (0,))


def test_a_dropping_trainer_runs_and_counts_what_it_dropped(monkeypatch):
    plain = make_trainer(DEEP, depths=(1, 2), switch=1)
    arguments = (plain.model, plain.tokenizer, plain.batches, plain.config)
    trainer, never = (DroppingTrainer(*arguments, rate=rate) for rate in (0.9, 0.0))
    np.testing.assert_array_equal(never._flops_S, plain._flops_S)
    ran, forward = [], VAR.forward

    def watched(model, inputs, labels, plan, **more):
        ran.append(plan)
        return forward(model, inputs, labels, plan, **more)

    monkeypatch.setattr(trainer.loss, "_network", watched.__get__(trainer.model))
    steps = [trainer.advance().metrics for _ in range(6)]
    assert len({plan.layers for plan in ran}) > 1
    assert all(plan.layers[0] == (0, 1, 2) for plan in ran), "the bridge zone drops none"
    flops = [3 * 16 * plan_cost(DEEP, plan, guidance=False).flops for plan in ran]
    assert [step["flops/training"] for step in steps] == np.cumsum(flops).tolist()
    assert len(set(flops)) > 1


def test_a_specialist_is_watched_on_its_own_scales():
    trainer = make_trainer(DEEP, scale_weights=(0.0, 0.0, 1.0))
    evaluator = SpecialistEvaluator(tokens=tokens(12), every_images=100, images=12)
    (found,) = evaluator(trainer).items()
    nll_NK = nll_per_scale(trainer.model.eval(), tokenizer(), tokens(12))
    assert found == ("select/nll/mean/full", pytest.approx(nll_NK[:, 2].mean()))


@pytest.mark.parametrize("tokens_kept", [1, 2, 3, 5, 14])
def test_a_budget_is_what_a_cache_holds(drafted, tokens_kept):
    loaded, labels = drafted.drafter, torch.tensor([0, 1])
    plan, budget = DepthPlan.full(SIDES, 3), Budget(tokens=tokens_kept, first=1)
    subject = BudgetedSubject(loaded=loaded, plan=plan, budget=budget)
    for cfg in (1.5, 0.0):
        how = {"cfg": cfg, "seed": 3}
        sample, cost = subject.sample(labels, **how), subject.cost(guidance=cfg != 0)
        assert sample.kv_bytes_peak == 2 * cost.kv_bytes
        whole = generate(loaded.model, loaded.held_out.tokenizer, labels, **how)
        assert torch.equal(sample.tokens[:, :5], whole.tokens[:, :5]), "chosen after scale 2"
        exact = plan_cost(loaded.model.geometry, guidance=cfg != 0, kv_bytes=4)
        if tokens_kept >= 5:
            assert torch.equal(sample.tokens, whole.tokens)
            assert cost == (exact.kv_bytes_peak, exact.flops)
        else:
            # Two layers hold their budget while the third holds all five, or one and five each.
            rows, pair = 2 if cfg else 1, 2 * 4 * loaded.model.geometry.width
            assert cost.kv_bytes == rows * pair * max(2 * tokens_kept + 5, 1 + 1 + 5)
            # Attention to fewer at the last scale, of 9 tokens; one more product at the second.
            width = loaded.model.geometry.width
            saved = 3 * 4 * width * 9 * (5 - tokens_kept) - 3 * 2 * width * 4 * 5
            assert cost.flops == exact.flops - rows * saved
    assert subject.nll(tokens(2), 2) is None


def test_the_pairs_that_stay_are_those_attended_to():
    plan = DepthPlan.full(SIDES, 1)
    cache = BudgetedCache(plan, budget=Budget(tokens=2, first=1))
    keys = 9 * torch.eye(5).expand(1, 2, 5, 5)
    values = torch.arange(5.0).view(1, 1, 5, 1).expand(1, 2, 5, 5)
    cache.attend(0, 0, keys[:, :, :1], keys[:, :, :1], values[:, :, :1])
    q_BHTc = torch.stack([keys[0, 0, [4, 4, 1, 1]], keys[0, 0, [0, 0, 3, 3]]])[None]
    cache.attend(1, 0, q_BHTc, keys[:, :, 1:], values[:, :, 1:])
    held = cache.joined(0)
    assert held.v_BHLc[0, :, :, 0].tolist() == [[1, 4], [0, 3]], "each head's own, in order"
    assert cache.bytes_held == 2 * 2 * 2 * 5 * 4
    cache.attend(2, 0, torch.zeros(1, 2, 9, 5), torch.zeros(1, 2, 9, 5), torch.zeros(1, 2, 9, 5))
    assert cache.bytes_held == 0


def test_points_of_every_rival_have_its_name_and_the_study_s_passes():
    study = SMALL.of()
    bench, points = study.plan()
    frame = [point for point in points if "rival" in point.columns]
    assert {point.columns["rival"] for point in frame} == set(RIVALS)
    assert not any(point.columns.get("anchor") for point in frame)
    passes = {}
    for point in frame:
        if point.task.trains:
            passes.setdefault(point.columns["rival"], []).append(point.task.images)
    assert passes == {
        "alone": [960] * 4,
        "two-models": [480] * 3,
        "cache-budget": [960],
        "distil": [960],
        "early-exit": [960],
    }
    plans = {(p.columns["rival"], p.columns["plan"]) for p in frame if p.task.tabled}
    assert {("alone", "d1@0"), ("alone", "d2@3"), ("two-models", "d2@3")} <= plans
    own = {point.task for point in points if "rival" not in point.columns}
    skipped = [p for p in frame if p.columns["rival"] == "skip"]
    assert len(skipped) == 2 and all(point.task in own for point in skipped)
    weights = {p.columns["plan"]: p.columns["weight_bytes"] for p in frame if p.task.tabled}
    whole = 4 * plan_cost(bench.geometry).parameters
    two = next(p for p in frame if p.columns["rival"] == "two-models" and p.task.tabled)
    alone = next(p for p in frame if p.columns.get("plan") == "d1@0")
    assert two.columns["weight_bytes"] == whole + alone.columns["weight_bytes"] > whole
    assert weights["full"] == whole
    assert "rival skip: trained none; 2 plans" in "\n".join(study.grid_lines(points))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"schedules": "full"}, "--rivals alone: are held against the progressive schedule"),
        ({"rivals": "two-models", "train_switch": 0}, "--rivals two-models: "),
        ({"rivals": "distil", "depths": 2}, "--schedule sandwich trains the smallest and one"),
        ({"rivals": "code"}, "--rivals"),
    ],
)
def test_rivals_that_cannot_be_measured_are_refused(flags, said, tmp_path, capsys):
    line = SMALL.refused(capsys, tmp_path / "runs", **{"rivals": "alone"} | flags)
    assert said in line


@pytest.mark.long
def test_all_rivals_from_flags_to_report(prepared, tmp_path, undrawn):
    workspace = Path(shutil.copytree(prepared, tmp_path / "runs"))
    SMALL.run(workspace)
    folder = workspace / "pareto-quick"
    frame = pd.read_parquet(folder / "frame.parquet")
    assert set(frame["rival"].dropna()) == set(RIVALS)
    assert set(frame["status"]) == {"finished"}
    answer = json.loads((folder / "answer.json").read_text())
    assert set(answer["rivals"]) == set(RIVALS)
    assert {one["rival"] for one in answer["compared"]} == set(RIVALS)
    kv = frame[frame["metric"].isin(("kv_bytes/peak", "kv_bytes/analytic"))]
    pairs = kv.pivot_table(index="cell_digest", columns="metric", values="value", observed=True)
    assert (pairs["kv_bytes/peak"] == pairs["kv_bytes/analytic"]).all()
    skip = frame[frame["rival"] == "skip"]
    base = frame[frame["anchor"] == "base"]
    assert set(skip["cell_digest"]) < set(base["cell_digest"])
    assert "training    two-models d2" in trace(folder, load_study(folder), "two-models d2@3")
    names = {run.info.run_name for run in finished_runs(workspace, "pareto-quick")}
    assert {"alone u0 d1@0", "two-models drafter u0", "early-exit u0 d2@3"} <= names
