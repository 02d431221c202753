"""Every kind of plan against the dense float64 forward pass, values and gradients."""

import dense_reference
import pytest
import torch

from varant import VAR, DepthPlan, Geometry, transformer

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
    geometry = Geometry(
        depth=DEPTH,
        width=32,
        heads=2,
        patch_nums=PATCH_NUMS,
        vocab_size=17,
        code_channels=5,
        num_classes=4,
        shared_adaln=shared_adaln,
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
    monkeypatch.setattr(transformer, "MASKED_ATTENTION_TOKENS", masked)
    model = network(shared_adaln)
    inputs, labels = batch(model)
    expected = dense(model, PLANS[name], inputs, labels)
    torch.testing.assert_close(model(inputs, labels, PLANS[name]), expected, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", PLANS)
def test_gradients(name):
    model = network(shared_adaln=False)
    inputs, labels = batch(model)
    weights = torch.randn(3, model.geometry.tokens, 17).double()
    (model(inputs, labels, PLANS[name]) * weights).sum().backward()
    state = {k: v.detach().requires_grad_() for k, v in model.state_dict().items()}
    (dense(model, PLANS[name], inputs, labels, state) * weights).sum().backward()
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
