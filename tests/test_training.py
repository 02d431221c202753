"""The training loop: a function of its arguments, with the official parameter groups."""

import itertools

import numpy as np
import pytest
import torch

from varant import VAR, DepthPlan, Geometry, Tokenizer, TokenizerConfig, UserError
from varant.evaluation.likelihood import mean_nll, nll_per_scale
from varant.randomness import batch_indices, stream
from varant.tokens import TokenSplit
from varant.training import TrainingConfig, parameter_groups, train

PATCH_NUMS = (1, 2, 3)
GEOMETRY = Geometry(
    depth=2, width=16, heads=2, patch_nums=PATCH_NUMS, vocab_size=8, code_channels=4, num_classes=3
)


def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    config = TokenizerConfig(
        patch_nums=PATCH_NUMS, vocab_size=8, code_channels=4, backbone="light", channels=8, phis=0
    )
    return Tokenizer(config).eval()


def tokens(count: int = 96) -> TokenSplit:
    """Tokens that the class decides, so that there is something to learn."""
    labels = torch.arange(count) % 3
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 2, (count, 14), generator=generator)
    return TokenSplit(shards=((labels[:, None] * 2 + noise).int(),), labels_N=labels)


def trained(**options) -> tuple[VAR, list[dict]]:
    torch.manual_seed(4)
    model, lines = VAR(GEOMETRY), []
    config = TrainingConfig(**({"budget_images": 640, "batch": 16, "warmup_steps": 5} | options))
    train(model, tokenizer(), tokens(), config, log=lambda step, m: lines.append(m))
    return model, lines


def test_training_learns_and_repeats_bit_for_bit():
    model, lines = trained()
    again, lines_again = trained()
    assert lines == lines_again
    assert len(lines) == 40
    assert lines[-1]["images_seen"] == 640
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    losses = [line["loss"] for line in lines]
    assert abs(losses[0] - np.log(8)) < 0.05, "the official head starts near uniform"
    assert np.mean(losses[-5:]) < losses[0] - 0.5
    assert not model.training


def test_seed_changes_the_run():
    assert trained(seed=1)[1] != trained(seed=2)[1]


def test_class_drop_trains_the_unconditional_class():
    kept, dropped = (trained(class_drop=share)[0].class_emb.weight[3] for share in (0.0, 0.5))
    torch.manual_seed(4)
    initial = VAR(GEOMETRY).class_emb.weight[3]
    assert torch.equal(kept, initial)
    assert not torch.equal(dropped, initial)


def test_learning_rate_warms_up_and_ends_at_five_percent():
    config = TrainingConfig(budget_images=64_000, batch=64, learning_rate=1.0, warmup_steps=10)
    rates = [config.rate_at(step) for step in range(config.steps)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


@pytest.mark.parametrize("shared", [False, True])
def test_embeddings_biases_scales_and_gammas_do_not_decay(shared):
    model = VAR(Geometry(**(GEOMETRY.as_dict() | {"shared_adaln": shared})))
    names = {id(p): name for name, p in model.named_parameters()}
    decayed, free = parameter_groups(model, 0.1)
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0.0
    found = [names[id(p)] for p in decayed["params"]]
    assert all(name.endswith("weight") for name in found)
    assert not any(
        part in name for name in found for part in ("class_emb", "lvl_embed", "pos_", "ada_gss")
    )
    assert "word_embed.weight" not in [names[id(p)] for p in free["params"]]
    assert len(decayed["params"]) + len(free["params"]) == len(names)


def test_a_budget_below_one_batch_and_a_diverged_loss():
    with pytest.raises(UserError, match="budget 10: below one batch of 16 images"):
        TrainingConfig(budget_images=10, batch=16)
    with pytest.raises(FloatingPointError, match="at step"):
        trained(learning_rate=float("inf"))


def test_every_epoch_sees_every_image_once():
    drawn = np.concatenate([batch_indices(3, step, batch=7, images=20) for step in range(20)])
    for epoch in range(7):
        assert sorted(drawn[epoch * 20 : (epoch + 1) * 20]) == list(range(20))
    assert not np.array_equal(drawn[:20], drawn[20:40])
    assert not np.array_equal(drawn[:20], batch_indices(4, 0, batch=20, images=20))
    # A batch larger than the data set takes several epochs.
    assert np.bincount(batch_indices(0, 0, batch=50, images=20)).tolist().count(2) == 10


def test_streams_are_apart():
    draws = {
        (seed, purpose, step): stream(seed, purpose, step).random()
        for seed in (0, 1)
        for purpose in ("data order", "class drop")
        for step in (0, 1)
    }
    assert len(set(draws.values())) == len(draws)
    assert stream(0, "class drop", 1).random() == draws[0, "class drop", 1]


def test_nll_against_a_direct_sum():
    model, _ = trained()
    data = tokens(10)
    plan = DepthPlan.two_zone(PATCH_NUMS, 2, subnet_depth=1, switch=1)
    found = nll_per_scale(model, tokenizer(), data, plan, batch=4)
    inputs = tokenizer().teacher_inputs(data.rows(slice(None)).tokens_NL.long())
    logs = model(inputs, data.labels_N, plan).detach().double().log_softmax(-1)
    each = -logs.gather(2, data.rows(slice(None)).tokens_NL.long()[:, :, None])[:, :, 0]
    expected = torch.stack([each[:, :1].mean(1), each[:, 1:5].mean(1), each[:, 5:].mean(1)], 1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(mean_nll(found, PATCH_NUMS), each.mean(1).numpy(), atol=1e-6)
