"""Half precision holds the weights once, and stays near float32."""

import copy

import pytest
import torch
from small_networks import small_geometry, small_tokenizer

import varant
from varant import DepthPlan, UserError
from varant.devices import check_precision
from varant.model.precision import hold
from varant.model.tokenizer import Phis, TokenizerConfig

PATCH_NUMS, DEPTH = (1, 2, 3, 4), 6
PLANS = [
    DepthPlan.full(PATCH_NUMS, DEPTH),
    DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=2, switch=2),
]
LABELS = torch.arange(60) % 4


@pytest.fixture(scope="module")
def pair():
    torch.manual_seed(3)
    geometry = small_geometry(PATCH_NUMS, 23, depth=DEPTH, num_classes=4)
    model = varant.VAR(geometry)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.1)
    return varant.Tokenizer(small_tokenizer(PATCH_NUMS, 23, phis=2)).eval(), model


# How far probabilities (total variation) and pixels (root mean square) may be from float32's; the
# types keep 8 and 11 bits. CPUs compute in float16 as well, if no flag lets them.
NEAR = {"bfloat16": 0.01, "float16": 0.001}


@pytest.fixture(scope="module", params=NEAR)
def half(request, pair):
    tokenizer, model = copy.deepcopy(pair)
    hold(model, tokenizer, request.param)
    return tokenizer, model


def test_float32_holds_nothing_anew(pair):
    tokenizer, model = copy.deepcopy(pair)
    hold(model, tokenizer, "float32")
    assert {p.dtype for p in (*model.parameters(), *tokenizer.parameters())} == {torch.float32}


def test_an_unknown_type_is_named(pair):
    with pytest.raises(UserError, match="precision 'int8': use one of float32"):
        varant.hold(pair[1], pair[0], "int8")


def test_what_decides_tokens_stays_in_float32(half):
    tokenizer, model = half
    wide = {name for name, p in model.named_parameters() if p.dtype == torch.float32}
    assert wide == {
        "head.weight",
        "head.bias",
        *(f"head_nm.ada_lin.1.{n}" for n in ("weight", "bias")),
    }
    for part in (tokenizer.encoder, tokenizer.quantize):
        assert {p.dtype for p in part.parameters()} == {torch.float32}
    kinds = {p.dtype for name, p in model.named_parameters() if name not in wide}
    assert kinds == {tokenizer.decoder_type} < {torch.bfloat16, torch.float16}


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
@torch.no_grad()
def test_half_precision_is_near_and_takes_half_the_cache(pair, half, plan):
    exact = varant.generate(pair[1], pair[0], LABELS, plan=plan, seed=1)
    found = varant.generate(half[1], half[0], LABELS, plan=plan, seed=1)
    assert 2 * found.kv_bytes_peak == exact.kv_bytes_peak
    cost = varant.plan_cost(half[1].geometry, plan, batch=len(LABELS), kv_bytes=2)
    assert found.kv_bytes_peak == cost.kv_bytes_peak
    assert found.images.dtype == torch.float32
    first = slice(0, 1 + 4)  # later tokens follow other ones
    assert (found.tokens == exact.tokens)[:, first].float().mean() > 0.95
    inputs = pair[0].teacher_inputs(exact.tokens)
    logits = [network(inputs, LABELS, plan) for _, network in (pair, half)]
    assert logits[1].dtype == torch.float32
    distance = (logits[0].softmax(-1) - logits[1].softmax(-1)).abs().sum(-1).mean() / 2
    near = NEAR[str(half[0].decoder_type).removeprefix("torch.")]
    assert 0 < distance < near
    images = [tokenizer.decode(exact.tokens).float() for tokenizer, _ in (pair, half)]
    assert 0 < (images[0] - images[1]).square().mean().sqrt() < near


def test_types_that_a_device_has_not():
    check_precision("bfloat16", "cpu")
    with pytest.raises(UserError, match="--precision float16: needs --device cuda"):
        check_precision("float16", "cpu")


def test_an_old_card_has_no_bfloat16(monkeypatch):
    asked = []

    def capability(device):
        asked.append(device)
        return (7, 5)

    monkeypatch.setattr(torch.cuda, "get_device_capability", capability)
    with pytest.raises(UserError, match="--precision bfloat16: cuda:1 does not compute in it"):
        check_precision("bfloat16", "cuda:1")
    assert asked == ["cuda:1"]


def test_no_tf32_in_the_image_so_far(pair, monkeypatch):
    tokenizer, model = pair
    seen, phi = [], Phis.forward

    def watched(phis, maps, scale_index):
        backends = torch.backends.cuda.matmul, torch.backends.cudnn.conv
        seen.append([backend.fp32_precision for backend in backends])
        return phi(phis, maps, scale_index)

    monkeypatch.setattr(Phis, "forward", watched)
    tokens = varant.generate(model, tokenizer, LABELS[:2]).tokens
    tokenizer.teacher_inputs(tokens)
    tokenizer.decode(tokens)
    scales = len(PATCH_NUMS)
    assert seen == [["ieee", "ieee"]] * (scales + scales - 1 + scales)


def test_bytes_of_decoding_at_the_official_size():
    config = TokenizerConfig.official((1, 2, 3, 4, 5, 6, 8, 10, 13, 16))
    assert config.decoded_elements * 4 == 160 * 2**20  # counted in a decoding of 256 pixels
