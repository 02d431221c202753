"""The sampler in the reference's style: our tokens, at the costs that it stands for."""

import pytest
import torch
from fake_cuda import CUDA, Types, fake_cuda, on_cuda
from small_networks import small_geometry, small_tokenizer

from studies.cells import reference_style
from studies.cells.reference_style import generate_reference_style, sorted_filter
from studies.cells.tracing import Trace
from varant import VAR, DepthPlan, Tokenizer, generate, plan_cost
from varant.model.sampling import filter_logits
from varant.randomness import torch_seed

SIDES = (1, 2, 3, 4)


def networks(**sizes):
    with torch_seed(0), torch.no_grad():
        model = VAR(small_geometry(SIDES, 32, depth=4, **sizes))
        model.head.weight.mul_(50)  # logits that differ
        tokenizer = Tokenizer(small_tokenizer(SIDES, 32, phis=2))
    return model.eval().requires_grad_(False), tokenizer.eval().requires_grad_(False)


@pytest.mark.parametrize("shared_adaln", [False, True])
@pytest.mark.parametrize("cfg", [0.0, 1.5])
def test_the_same_tokens_and_images_as_ours(cfg, shared_adaln):
    model, tokenizer = networks(shared_adaln=shared_adaln)
    labels, how = torch.tensor([0, 2, 1]), {"cfg": cfg, "top_k": 12, "top_p": 0.9, "seed": 5}
    for text in ("full", "d2@2", "4,2,3,1"):
        plan = DepthPlan.parse(text, SIDES, 4)
        ours = generate(model, tokenizer, labels, plan=plan, **how)
        theirs = generate_reference_style(model, tokenizer, labels, plan=plan, **how)
        assert torch.equal(ours.tokens, theirs.tokens)
        torch.testing.assert_close(ours.images, theirs.images)
    assert len(ours.tokens.unique()) > 8


def test_its_filter_is_ours():
    logits = torch.randn(50, 32, generator=torch.Generator().manual_seed(0))
    for top_k, top_p in ((0, 0.0), (5, 0.0), (0, 0.7), (12, 0.8)):
        how = {"top_k": top_k, "top_p": top_p}
        assert torch.equal(sorted_filter(logits, **how), filter_logits(logits, **how))


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_its_cache_keeps_every_pair_with_k_in_float32(precision):
    model, tokenizer = networks()
    plan = DepthPlan.parse("d2@2", SIDES, 4)
    kind = getattr(torch, precision)
    sample = generate_reference_style(
        model, tokenizer, torch.zeros(3, dtype=torch.long), plan=plan, precision=kind
    )
    counted = plan_cost(model.geometry, plan, batch=3).kv_bytes_reference  # 4 + 2 bytes
    assert sample.kv_bytes_peak == counted * (4 + kind.itemsize) // 6


@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_its_types_on_a_card(monkeypatch, name):
    """On fake tensors: CUDA's autocast, with float32 where it is switched off."""
    half, types = getattr(torch, name), Types()
    with torch.device("meta"):
        blank = VAR(small_geometry(SIDES, 32, depth=4)), Tokenizer(small_tokenizer(SIDES, 32))
    for step in ("_project", "_run_block", "draw_tokens"):
        monkeypatch.setattr(reference_style, step, types.of(step, getattr(reference_style, step)))
    plan = DepthPlan.parse("d2@2", SIDES, 4)
    with fake_cuda() as card:
        model, tokenizer = on_cuda(*blank)
        model.head.forward = types.of("head", model.head.forward)
        tokenizer.quantize.up = types.of("map", tokenizer.quantize.up)
        tokenizer.decode_features = types.of("image", tokenizer.decode_features)
        labels, before = torch.zeros(3, dtype=torch.long, device=CUDA), card.copies
        sample = generate_reference_style(model, tokenizer, labels, plan=plan, precision=half)
        assert card.copies == before + len(SIDES), "the uniforms of each scale"
    assert types.made["_project"] == {torch.float32, half}, "q and k, and v"
    assert types.made["_run_block"] == {torch.float32}, "the residual stream"
    assert types.given["head"] == types.made["head"] == {torch.float32}
    assert types.given["draw_tokens"] == {torch.float32, torch.float64}
    assert types.made["map"] == types.given["image"] == {torch.float32}
    assert (sample.images.dtype, sample.images.device) == (torch.float32, CUDA)
    # K in four bytes and V in two.
    assert sample.kv_bytes_peak == plan_cost(model.geometry, plan, batch=3).kv_bytes_reference


def test_it_does_what_makes_the_reference_slow():
    """More of everything than ours: AdaLN at each scale, both halves through the head, a sort."""
    model, tokenizer = networks()
    seen = {}
    for name, draw in (("ours", generate), ("theirs", generate_reference_style)):
        with Trace() as trace:
            draw(model, tokenizer, torch.zeros(2, dtype=torch.long), top_p=0.9, watch=trace.watch)
        seen[name] = trace.stages
    assert [s.stage for s in seen["theirs"][1:]] == [
        "condition",
        *["blocks", "head", "sampling", "map"] * len(SIDES),
        "decode",
        "end",
    ]
    assert {s.stage for s in seen["ours"]} == {s.stage for s in seen["theirs"]}
    peaks = {name: max(s.peak_bytes for s in stages) for name, stages in seen.items()}
    assert peaks["theirs"] > peaks["ours"]
