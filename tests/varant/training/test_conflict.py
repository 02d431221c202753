"""Cosines of gradients between full network and subnets, against autograd by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from small_run import parts
from small_trainers import PATCH_NUMS

from varant.data.batches import CachedBatches
from varant.data.tokens import TokenBatch
from varant.model.plan import DepthPlan
from varant.model.transformer import VAR
from varant.training.config import TrainingConfig
from varant.training.conflict import WHOLE, ConflictEvaluator, cosine_name, gradient_cosines
from varant.training.run import Evaluator
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer


def plan_of(model: VAR, depth: int, switch: int) -> DepthPlan:
    return DepthPlan.two_zone(PATCH_NUMS, model.depth, subnet_depth=depth, switch=switch)


def by_hand(model: VAR, inputs: torch.Tensor, batch: TokenBatch, plan: DepthPlan | None):
    """Gradients by `backward`: of each layer of three, and of all parameters."""
    model.zero_grad()
    logits = model(inputs, batch.labels_N, plan)
    losses = [
        F.cross_entropy(logits[i, t], batch.tokens_NL[i, t])
        for i in range(len(batch))
        for t in range(batch.tokens_NL.shape[1])
    ]
    torch.stack(losses).mean().backward()
    groups = {0: model, **{i + 1: block for i, block in enumerate(model.blocks)}}
    found = {
        layer: torch.cat([p.grad.flatten().clone() for p in module.parameters()])
        for layer, module in groups.items()
    }
    model.zero_grad()
    return found


def test_cosines_are_those_of_autograd_by_hand():
    tokenizer, model, tokens = parts()
    batch = tokens.rows(slice(0, 6))
    plan = plan_of(model, 1, switch=1)
    inputs = tokenizer.teacher_inputs(batch.tokens_NL)
    full, subnet = (by_hand(model, inputs, batch, p) for p in (None, plan))
    found = gradient_cosines(model, tokenizer, batch, {1: plan})[1]
    assert set(found) == {WHOLE, 1, 2, 3}
    for layer, cosine in found.items():
        hand = F.cosine_similarity(full[layer], subnet[layer], dim=0)
        assert cosine == pytest.approx(float(hand), abs=1e-5)
    assert min(found.values()) < 0.99, "the plans differ, and so do their gradients"


def test_equal_plans_agree_and_a_layer_without_tokens_has_no_cosine():
    tokenizer, model, tokens = parts()
    batch = tokens.rows(slice(0, 6))
    plans = {3: DepthPlan.full(PATCH_NUMS, model.depth), 1: plan_of(model, 1, switch=0)}
    found = gradient_cosines(model, tokenizer, batch, plans)
    assert found[3] == {layer: pytest.approx(1.0) for layer in (WHOLE, 1, 2, 3)}
    assert set(found[1]) == {WHOLE, 1}
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_evaluation_has_them_beside_nll_and_changes_no_training():
    how = {"budget_images": 24, "batch": 8, "schedule": Schedule.fixed(0.5), "depths": (1, 2)}
    config = TrainingConfig(switch=1, **how)
    weights = []
    for watched in (True, False):
        tokenizer, model, tokens = parts()
        batches = CachedBatches(tokens, seed=0, batch=8)
        trainer = Trainer(model, tokenizer, batches, config)
        evaluator = Evaluator(tokens=tokens, every_images=8, images=4)
        if watched:
            evaluator = ConflictEvaluator(**vars(evaluator), gradient_images=4)
        while not trainer.finished:
            trainer.advance()
            found = evaluator(trainer)
            names = {
                cosine_name(config.plan_of(depth, model.geometry), layer)
                for depth in (1, 2)
                for layer in range(4)
            }
            assert names <= found.keys() if watched else names.isdisjoint(found)
            assert "select/nll/mean/full" in found
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
