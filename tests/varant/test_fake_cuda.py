"""The CUDA path without a card: types and places of all that matters, on fake tensors.

`tests/fake_cuda.py` says what stands in for what. Numbers are `tests/varant/test_cuda.py`'s.
"""

import pytest
import torch
from fake_cuda import CUDA, Types, fake_cuda, on_cuda, walk_back
from small_networks import small_geometry, small_tokenizer
from small_trainers import SUPERNET, make_trainer, tokens
from torch import nn

import varant
from varant.data.batches import CachedBatches
from varant.model import attention, sampling, transformer
from varant.model.cache import KVCache
from varant.training.config import TrainingConfig
from varant.training.optimiser import optimiser_state
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer

SIDES, DEPTH = (1, 2, 3), 3
FLOAT = torch.float32
HALVES = pytest.mark.parametrize("name", ["bfloat16", "float16"])


def networks() -> tuple[varant.VAR, varant.Tokenizer]:
    with torch.device("meta"):
        model = varant.VAR(small_geometry(SIDES, 8, depth=DEPTH, width=16))
        return model, varant.Tokenizer(small_tokenizer(SIDES, 8, phis=2))


def watched_generation(monkeypatch, types: Types, model: nn.Module, tokenizer: nn.Module) -> None:
    quantizer, decoder = tokenizer.quantize, tokenizer.decoder
    model._project = types.of("project", model._project)
    model._finish = types.of("finish", model._finish)
    monkeypatch.setattr(KVCache, "extend", types.of("cache", KVCache.extend))
    model.head.forward = types.of("head", model.head.forward)
    monkeypatch.setattr(sampling, "draw_tokens", types.of("draw", sampling.draw_tokens))
    quantizer.up = types.of("map", quantizer.up)
    quantizer.down = types.of("map", quantizer.down)
    tokenizer.decode_features = types.of("image", tokenizer.decode_features)
    decoder.forward = types.of("decoder", decoder.forward)


@pytest.mark.parametrize(("name", "cfg"), [("bfloat16", 1.5), ("float16", 0.0)])
def test_generation_with_weights_held_in_half_precision(monkeypatch, name, cfg):
    blank, half, types = networks(), getattr(torch, name), Types()
    with fake_cuda() as card, torch.no_grad():
        model, tokenizer = on_cuda(*blank)
        varant.hold(model, tokenizer, name)
        watched_generation(monkeypatch, types, model, tokenizer)
        labels, before = torch.zeros(3, dtype=torch.long, device=CUDA), card.copies
        sample = varant.generate(model, tokenizer, labels, plan="d2@1", cfg=cfg, top_k=6)
        assert card.copies == before + 1, "the uniforms of all scales"
    for layer in ("project", "finish", "cache", "decoder"):
        assert types.given[layer] == types.made[layer] == {half}, layer
    assert types.given["head"] == types.made["head"] == {FLOAT}
    assert types.given["draw"] == {FLOAT, torch.float64} and types.made["draw"] == {torch.int64}
    assert types.given["map"] == types.made["map"] == {FLOAT}
    assert types.given["image"] == {FLOAT} and types.made["image"] == {half}
    assert (sample.images.dtype, sample.images.device) == (FLOAT, CUDA)
    assert sample.images.shape == (3, 3, 12, 12) and sample.tokens.device == CUDA
    plan = varant.DepthPlan.parse("d2@1", SIDES, DEPTH)
    cost = varant.plan_cost(model.geometry, plan, batch=3, guidance=cfg != 0, kv_bytes=2)
    assert sample.kv_bytes_peak == cost.kv_bytes_peak


@HALVES
def test_generation_under_autocast(monkeypatch, name):
    blank, half, types = networks(), getattr(torch, name), Types()
    with fake_cuda(), torch.no_grad():
        model, tokenizer = on_cuda(*blank)
        watched_generation(monkeypatch, types, model, tokenizer)
        labels = torch.zeros(3, dtype=torch.long, device=CUDA)
        with torch.autocast("cuda", half):
            sample = varant.generate(model, tokenizer, labels, plan="d2@1", top_k=6)
    assert types.made["project"] == types.made["cache"] == {half}
    assert types.made["finish"] == {FLOAT}
    assert types.given["draw"] == {FLOAT, torch.float64}
    assert (sample.images.dtype, sample.images.device) == (FLOAT, CUDA)


@HALVES
def test_teacher_forced_logits_with_weights_held_in_half_precision(monkeypatch, name):
    """As evaluations take them, under a plan whose layers skip a scale between others."""
    blank, half, types = networks(), getattr(torch, name), Types()
    finish, head = transformer.Block.finish, varant.VAR.head_input
    norm = types.of("norm", transformer.modulated_norm)
    monkeypatch.setattr(transformer, "modulated_norm", norm)
    monkeypatch.setattr(transformer.Block, "finish", types.of("finish", finish))
    monkeypatch.setattr(varant.VAR, "head_input", types.of("head", head))
    with fake_cuda(), torch.no_grad():
        model, tokenizer = on_cuda(*blank)
        varant.hold(model, tokenizer, name)
        tokens_BL = torch.zeros(2, 14, dtype=torch.long, device=CUDA)
        inputs_BLC = tokenizer.teacher_inputs(tokens_BL)
        plan = varant.DepthPlan.parse("3,1,2", SIDES, DEPTH)
        logits_BLV = model(inputs_BLC, tokens_BL[:, 0], plan)
        images = tokenizer.decode(tokens_BL)
    assert inputs_BLC.dtype == logits_BLV.dtype == FLOAT
    assert types.given["finish"] == types.made["finish"] == {half}
    assert types.given["head"] == {half} and types.made["head"] == {FLOAT}
    assert types.given["norm"] == {half, FLOAT}, "that of the head is taken in float32"
    assert images.dtype == half
    assert inputs_BLC.device == logits_BLV.device == images.device == CUDA


SANDWICH = {"schedule": Schedule.sandwich_rule(), "distill": True}
SANDWICH |= {"depths": (1, 2), "scale_weights": (1, 1, 0.5), "activation_checkpointing": True}


@pytest.mark.parametrize(
    ("name", "masked_tokens", "options"),
    [("bfloat16", 224, SUPERNET), ("float16", 224, SUPERNET), ("float16", 0, SANDWICH)],
)
@pytest.mark.filterwarnings("ignore:Accessing the data pointer")  # by which torch copies a network
def test_a_training_step(monkeypatch, name, masked_tokens, options):
    half, types, blank = getattr(torch, name), Types(), networks()
    monkeypatch.setattr(attention, "MASKED_ATTENTION_TOKENS", masked_tokens)
    for place, step in ((transformer, "block_causal_attention"), (transformer.Block, "finish")):
        monkeypatch.setattr(place, step, types.of(step, getattr(place, step)))
    config = TrainingConfig(budget_images=640, batch=16, precision=name, ema=0.9, **options)
    batches = CachedBatches(tokens(), seed=0, batch=16)
    with fake_cuda():
        model, tokenizer = on_cuda(*blank)
        tokenizer.teacher_inputs = types.of("inputs", tokenizer.teacher_inputs)
        model.head.forward = types.of("head", model.head.forward)
        trainer = Trainer(model, tokenizer, batches, config)
        trainer.loss.forward = types.of("loss", trainer.loss.forward)
        metrics = trainer.advance().metrics
        state = dict(optimiser_state(trainer.optimiser, model, trainer.ranks))
        scale = trainer.scaler.scale(torch.ones((), device=CUDA))
    assert trainer.scaler.is_enabled() == (name == "float16") and scale.device == CUDA
    assert types.made["inputs"] == {FLOAT}
    assert types.given["loss"] == {FLOAT, torch.int64}
    assert types.made["loss"] == {FLOAT}
    assert types.given["block_causal_attention"] == {half}
    assert types.made["block_causal_attention"] == {half}
    assert types.given["finish"] == {FLOAT, half} and types.made["finish"] == {FLOAT}
    assert types.made["head"] == {half}, "what the loss takes its logarithm of is cast before"
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    assert grads and {(g.dtype, g.device) for g in grads} == {(FLOAT, CUDA)}
    assert state and {(t.dtype, t.device) for t in state.values()} == {(FLOAT, CUDA)}
    assert {(p.dtype, p.device) for p in trainer.averaged.parameters()} == {(FLOAT, CUDA)}
    assert metrics["images_seen"] == 16 * config.passes


def test_the_graph_is_walked_as_autograd_walks_it(monkeypatch):
    """On tensors that are there, in float32, where the order of sums hardly matters."""
    monkeypatch.setattr(attention, "MASKED_ATTENTION_TOKENS", 0)
    gradients = []
    for back in (torch.Tensor.backward, walk_back):
        monkeypatch.setattr(torch.Tensor, "backward", back)
        trainer = make_trainer(**SUPERNET)
        trainer._accumulate_gradients(0, (trainer.plans[3],))
        gradients.append([parameter.grad for parameter in trainer.model.parameters()])
    torch.testing.assert_close(*gradients)
