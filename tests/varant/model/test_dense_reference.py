"""Every kind of plan against the dense float64 forward pass, values and gradients."""

import math

import dense_reference
import pytest
import reference
import torch
from small_networks import small_geometry

from varant import VAR, DepthPlan, Geometry, load_official
from varant.model import attention

PATCH_NUMS, DEPTH = (1, 2, 3, 4), 6
PLANS = {
    "full": DepthPlan.full(PATCH_NUMS, DEPTH),
    "two-zone": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=3, switch=2),
    "two-zone, subnet everywhere": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=2, switch=0),
    "two-zone, never switched": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=1, switch=4),
    "nested": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=3, switch=1, selector="nested"),
    "first": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=2, switch=3, selector="first"),
    "last": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=4, switch=1, selector="last"),
    "early scales shallow": DepthPlan.per_scale(PATCH_NUMS, DEPTH, depths=(2, 3, 6, 6)),
    "up and down": DepthPlan.per_scale(PATCH_NUMS, DEPTH, depths=(6, 1, 5, 2)),
    "layers in turns": DepthPlan(PATCH_NUMS, DEPTH, ((0, 2, 4), (1, 3, 5), (0, 5), (2, 3))),
    "a layer that never runs": DepthPlan(PATCH_NUMS, DEPTH, ((0, 1), (0, 2), (2, 5), (5,))),
}


def network(shared_adaln: bool, dtype=torch.float64) -> VAR:
    """A network whose every tensor is random: the official initialisation hides AdaLN and bias."""
    geometry = small_geometry(
        PATCH_NUMS, 17, depth=DEPTH, num_classes=4, code_channels=5, shared_adaln=shared_adaln
    )
    model = VAR(geometry).to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            spread = 2.0 if "scale_mul" in name else 0.3
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
        # One head beyond the clamp at ln 100.
        model.blocks[0].attn.scale_mul_1H11[0, 0] = 5.5
    return model


def batch(model: VAR):
    generator = torch.Generator().manual_seed(2)
    inputs = torch.randn(3, model.geometry.tokens - 1, 5, generator=generator).double()
    return inputs, torch.tensor([0, 3, model.num_classes])


def dense(model: VAR, plan: DepthPlan, inputs, labels, state=None):
    state = state or {k: v.detach() for k, v in model.state_dict().items()}
    return dense_reference.forward(
        state, model.geometry.heads, PATCH_NUMS, DEPTH, plan.layers, inputs, labels
    )


@pytest.mark.parametrize("masked", [0, 10**6], ids=["a call a scale", "one masked call"])
@pytest.mark.parametrize("shared_adaln", [False, True], ids=["own adaln", "shared adaln"])
@pytest.mark.parametrize("name", PLANS)
@torch.no_grad()
def test_logits(name, shared_adaln, masked, monkeypatch):
    monkeypatch.setattr(attention, "MASKED_ATTENTION_TOKENS", masked)
    model = network(shared_adaln)
    inputs, labels = batch(model)
    expected = dense(model, PLANS[name], inputs, labels)
    torch.testing.assert_close(model(inputs, labels, PLANS[name]), expected, atol=1e-9, rtol=1e-9)


def backward(model, plan, *, seed):
    """Gradients of a random loss on the model's parameters, and on a state of the reference's."""
    inputs, labels = batch(model)
    generator = torch.Generator().manual_seed(seed)
    weights = torch.randn(3, model.geometry.tokens, 17, generator=generator).double()
    (model(inputs, labels, plan) * weights).sum().backward()
    state = {k: v.detach().requires_grad_() for k, v in model.state_dict().items()}
    (dense(model, plan, inputs, labels, state) * weights).sum().backward()
    return state


@pytest.mark.parametrize("name", PLANS)
def test_gradients(name):
    model = network(shared_adaln=False)
    state = backward(model, PLANS[name], seed=6)
    for key, parameter in model.named_parameters():
        expected = state[key].grad
        if parameter.grad is None:  # a layer that never runs
            assert expected is None or not expected.any(), key
        else:
            torch.testing.assert_close(parameter.grad, expected, atol=1e-8, rtol=1e-7, msg=key)


def test_a_skipped_layer_gets_exactly_its_bridge_zone_gradient():
    """Of layers that the subnet skips, later scales' losses reach only the bridge tokens."""
    model = network(shared_adaln=False)
    inputs, labels = batch(model)
    plan = DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=1, switch=2)
    bridge = 1 + 4
    model(inputs, labels, plan)[:, bridge:].sum().backward()
    skipped = model.blocks[DEPTH - 1].ffn.fc1.weight.grad
    assert skipped is None or not skipped.any(), "its last layer's output is read by nobody later"
    model.zero_grad()
    model(inputs, labels, plan)[:, :bridge].sum().backward()
    assert model.blocks[DEPTH - 1].ffn.fc1.weight.grad.any()


@pytest.mark.parametrize("name", PLANS)
@torch.no_grad()
def test_a_later_scale_cannot_change_an_earlier_one(name):
    model = network(shared_adaln=False)
    inputs, labels = batch(model)
    level = dense_reference.levels(PATCH_NUMS)
    before = model(inputs, labels, PLANS[name])
    for k in range(1, len(PATCH_NUMS)):
        changed = inputs.clone()
        changed[:, level[1:] == k] += 1.0
        after = model(changed, labels, PLANS[name])
        torch.testing.assert_close(after[:, level < k], before[:, level < k], atol=1e-12, rtol=0)
        assert (after[:, level == k] - before[:, level == k]).abs().max() > 1e-3


def test_the_default_plan_is_full_depth_and_foreign_plans_are_refused():
    model = network(shared_adaln=False)
    inputs, labels = batch(model)
    assert torch.equal(model(inputs, labels), model(inputs, labels, PLANS["full"]))
    with pytest.raises(ValueError, match="made for depth 7"):
        model(inputs, labels, DepthPlan.full(PATCH_NUMS, 7))
    with pytest.raises(ValueError, match="scales 1,2,3"):
        model(inputs, labels, DepthPlan.full((1, 2, 3), DEPTH))


@pytest.mark.parametrize("masked", [0, 10**6], ids=["a call a scale", "one masked call"])
@pytest.mark.parametrize("name", ["two-zone", "layers in turns"])
def test_gradients_with_shared_adaln_and_either_attention(name, masked, monkeypatch):
    monkeypatch.setattr(attention, "MASKED_ATTENTION_TOKENS", masked)
    model = network(shared_adaln=True)
    state = backward(model, PLANS[name], seed=3)
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, state[key].grad, atol=1e-8, rtol=1e-7, msg=key)


def test_a_skipped_layer_s_gradient_is_the_bridge_tokens_alone():
    """A layer that the subnet skips has the gradient that it has on the bridge scales alone.

    Its loss comes from the bridge scales' logits and, through the keys of later layers, from the
    flexible scales'. A cut after the bridge in a float64 replay of the dense form gives both.
    """
    model = network(shared_adaln=False)
    inputs, labels = batch(model)
    plan = DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=2, switch=2)  # layers 0 and 5
    bridge = 1 + 4
    short = DepthPlan.full(PATCH_NUMS[:2], DEPTH)
    model(inputs, labels, plan)[:, :bridge].square().sum().backward()
    state = {k: v.detach().requires_grad_() for k, v in model.state_dict().items()}
    cut = {k: (v[:, :bridge] if k == "pos_1LC" else v) for k, v in state.items()}
    expected = dense_reference.forward(
        cut,
        model.geometry.heads,
        short.patch_nums,
        DEPTH,
        short.layers,
        inputs[:, : bridge - 1],
        labels,
    )
    expected.square().sum().backward()
    for layer in (1, 2, 3, 4):
        for name, parameter in model.blocks[layer].named_parameters():
            key = f"blocks.{layer}.{name}"
            torch.testing.assert_close(
                parameter.grad, state[key].grad, atol=1e-8, rtol=1e-7, msg=key
            )
    # Through layer 5's keys the flexible scales' losses reach layer 1, which they skip.
    model.zero_grad()
    model(inputs, labels, plan)[:, bridge:].square().sum().backward()
    assert model.blocks[1].ffn.fc1.weight.grad.abs().max() > 1e-6


@pytest.mark.parametrize("plan_text", ["full", "d1@5", "3,1,2,3,1,2,3,1,2,1"])
@torch.no_grad()
def test_the_official_ten_scales(plan_text, tmp_path):
    """680 tokens, above `MASKED_ATTENTION_TOKENS` as it is, on the golden weights."""
    vae, var = reference.official_files("ten_scales", tmp_path)
    _, model = load_official(vae=vae, var=var)
    model = model.double()
    geometry = model.geometry
    assert geometry.tokens == 680 > attention.MASKED_ATTENTION_TOKENS
    plan = DepthPlan.parse(plan_text, geometry.patch_nums, geometry.depth)
    generator = torch.Generator().manual_seed(4)
    inputs = torch.randn(1, 679, geometry.code_channels, generator=generator).double()
    labels = torch.tensor([1])
    expected = dense_reference.forward(
        model.state_dict(),
        geometry.heads,
        geometry.patch_nums,
        geometry.depth,
        plan.layers,
        inputs,
        labels,
    )
    torch.testing.assert_close(model(inputs, labels, plan), expected, atol=1e-9, rtol=1e-9)


@torch.no_grad()
def test_a_first_map_of_several_tokens():
    sides = (2, 3)
    geometry = Geometry(
        depth=3, width=8, heads=2, patch_nums=sides, vocab_size=5, code_channels=3, num_classes=2
    )
    torch.manual_seed(5)
    model = VAR(geometry).double()
    for parameter in model.parameters():
        parameter.copy_(torch.randn(parameter.shape))
    inputs, labels = torch.randn(2, 9, 3).double(), torch.tensor([0, 2])
    for layers in (((0, 1, 2), (0, 1, 2)), ((1,), (0, 1))):
        expected = dense_reference.forward(model.state_dict(), 2, sides, 3, layers, inputs, labels)
        found = model(inputs, labels, DepthPlan(sides, 3, layers))
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("shared_adaln", [False, True], ids=["own adaln", "shared adaln"])
def test_the_official_initialisation(shared_adaln):
    """Standard deviations of every rule in `VAR.reset_parameters`, on a network wide enough."""
    torch.manual_seed(6)
    width, depth = 96, 4
    model = VAR(
        Geometry(
            depth=depth,
            width=width,
            heads=4,
            patch_nums=(1, 4, 8),
            vocab_size=200,
            code_channels=32,
            num_classes=40,
            shared_adaln=shared_adaln,
        )
    )
    std = math.sqrt(1 / width / 3)
    block = model.blocks[1]
    expected = {
        model.word_embed.weight: std,
        model.class_emb.weight: std,
        model.pos_1LC: std,
        model.head.weight: 0.02 * std,
        model.head_nm.ada_lin[1].weight: 0.5 * std,
        block.attn.mat_qkv.weight: std,
        block.attn.proj.weight: std / math.sqrt(2 * depth),
        block.ffn.fc1.weight: std,
        block.ffn.fc2.weight: std / math.sqrt(2 * depth),
    }
    found = {tensor: float(tensor.detach().std()) for tensor in expected}
    for tensor, value in expected.items():
        assert abs(found[tensor] / value - 1) < 0.1, tuple(tensor.shape)
    if shared_adaln:
        gains, rest = block.ada_gss[0, 0, :2], block.ada_gss[0, 0, 2:]
        factor = 1 / math.sqrt(width)
        assert abs(float(model.shared_ada_lin[1].weight.detach().std()) / std - 1) < 0.1
    else:
        gains, rest = block.ada_lin[1].weight.split([2 * width, 4 * width])
        factor = std
    assert abs(float(gains.detach().std()) / (1e-5 * factor) - 1) < 0.2
    assert abs(float(rest.detach().std()) / (0.5 * factor) - 1) < 0.2
    assert (block.attn.scale_mul_1H11 == math.log(4)).all()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
