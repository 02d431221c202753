"""The training loop: a function of its arguments, with the official parameter groups."""

import itertools
from dataclasses import replace

import dense_reference
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from small_trainers import DEEP, GEOMETRY, PATCH_NUMS, SUPERNET, make_trainer, tokenizer, tokens
from torch.utils._python_dispatch import TorchDispatchMode

from varant import VAR, DepthPlan, UserError
from varant.data.batches import CachedBatches
from varant.errors import Diverged
from varant.evaluation import likelihood
from varant.evaluation.likelihood import mean_nll, nll_per_scale
from varant.model.cost import plan_cost
from varant.training.config import TrainingConfig
from varant.training.optimiser import parameter_groups
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer, Wishes


def trained(**options) -> tuple[VAR, list[dict]]:
    torch.manual_seed(4)
    config = TrainingConfig(**({"budget_images": 640, "batch": 16, "warmup_steps": 5} | options))
    batches = CachedBatches(tokens(), seed=config.seed, batch=config.batch)
    trainer = Trainer(VAR(GEOMETRY), tokenizer(), batches, config)
    lines = [trainer.advance().metrics for _ in range(config.steps)]
    return trainer.averaged.eval(), lines


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
    config = TrainingConfig(budget_images=64_000, batch=64, lr=1.0, warmup_steps=10)
    rates = [config.lr_at(step) for step in range(config.steps)]
    assert rates[0] == pytest.approx(0.1, rel=1e-3)
    assert max(rates) == pytest.approx(1.0, abs=1e-3)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)
    assert all(a > b for a, b in itertools.pairwise(rates[10:]))


def test_wsd_is_constant_until_it_decays_over_the_last_fifth():
    config = TrainingConfig(
        budget_images=64_000, batch=64, lr=1.0, warmup_steps=10, lr_schedule="wsd"
    )
    rates = [config.lr_at(step) for step in range(config.steps)]
    assert set(rates[9:800]) == {1.0}
    assert rates[900] == pytest.approx(0.05 + 0.95 / 2)
    assert rates[-1] == pytest.approx(0.05, abs=0.005)
    assert all(a > b for a, b in itertools.pairwise(rates[800:]))


@pytest.mark.parametrize("shared", [False, True])
def test_embeddings_biases_scales_and_gammas_do_not_decay(shared):
    model = VAR(replace(GEOMETRY, shared_adaln=shared))
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


def test_a_budget_below_one_batch():
    with pytest.raises(UserError, match=r"--budget 10: below one batch of 16 images; .* 16"):
        TrainingConfig(budget_images=10, batch=16)
    with pytest.raises(UserError, match="of 16 images of 3 passes; give at least 48"):
        TrainingConfig(budget_images=40, batch=16, schedule=Schedule.sandwich_rule())


def dense_loss(model: VAR, inputs, targets, labels, layers):
    state = {name: p.detach().clone().requires_grad_() for name, p in model.named_parameters()}
    logits = dense_reference.forward(
        state, model.geometry.heads, PATCH_NUMS, model.depth, layers, inputs, labels
    )
    logs = logits - logits.logsumexp(-1, keepdim=True)
    return state, -logs.gather(2, targets[:, :, None])[:, :, 0]


@pytest.mark.parametrize("switch", [0, 1, 2])
@pytest.mark.parametrize("depth", [1, 2])
def test_gradients_of_a_subnet_step_are_those_of_the_dense_reference(depth, switch):
    options = {"schedule": Schedule.fixed(1.0), "depths": (depth,), "switch": switch}
    trainer = make_trainer(double=True, class_drop=0.0, **options)
    plan = trainer.plans[depth]
    trainer._accumulate_gradients(0, (plan,))
    batch = trainer.batches.batch(0, slice(None))
    inputs = tokenizer().double().teacher_inputs(batch.tokens_NL)
    state, losses_BL = dense_loss(
        trainer.model, inputs, batch.tokens_NL, batch.labels_N, plan.layers
    )
    losses_BL.mean().backward()
    for name, parameter in trainer.model.named_parameters():
        expected = state[name].grad
        if expected is None:
            assert parameter.grad is None, f"{name}: a layer that no scale runs has no gradient"
            assert switch == 0
        else:
            torch.testing.assert_close(parameter.grad, expected, atol=1e-12, rtol=1e-9)


def test_a_skipped_layer_gets_exactly_its_bridge_zone_gradient():
    """The layer's gradient does not change when its flexible-zone input is cut off."""
    trainer = make_trainer(double=True, schedule=Schedule.fixed(1.0), depths=(1,), switch=2)
    skipped = trainer.model.blocks[1]
    seen = []
    original = trainer.model._run_tokens

    def watched(block, x_BLC, constants, lengths):
        if block is skipped:
            seen.append(x_BLC.shape[1])
        return original(block, x_BLC, constants, lengths)

    trainer.model._run_tokens = watched
    trainer._accumulate_gradients(0, (trainer.plans[1],))
    assert seen == [1 + 4], "only bridge-zone tokens pass a skipped layer"
    assert skipped.ffn.fc1.weight.grad.abs().sum() > 0


def test_scale_weights_weigh_tokens():
    weights = (1.0, 0.0, 3.0)
    trainer = make_trainer(double=True, scale_weights=weights, class_drop=0.0)
    batch = trainer.batches.batch(0, slice(None))
    plan = DepthPlan.full(PATCH_NUMS, 3)
    inputs = trainer.tokenizer.teacher_inputs(batch.tokens_NL)
    loss, mean_K, _ = trainer.loss(inputs, batch.tokens_NL, batch.labels_N, plan)
    expected = (mean_K[0] * 1 * 1 + mean_K[2] * 9 * 3) / (1 + 9 * 3)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)


def test_the_paper_s_loss_is_the_mean_over_tokens():
    trainer = make_trainer(double=True, class_drop=0.0)
    batch = trainer.batches.batch(0, slice(None))
    inputs = tokenizer().double().teacher_inputs(batch.tokens_NL)
    full = DepthPlan.full(PATCH_NUMS, 3)
    loss, losses_K, _ = trainer.loss(inputs, batch.tokens_NL, batch.labels_N, full)
    _, losses_BL = dense_loss(trainer.model, inputs, batch.tokens_NL, batch.labels_N, full.layers)
    assert loss.item() == pytest.approx(losses_BL.mean().item(), rel=1e-12)
    expected = [losses_BL[:, :1].mean(), losses_BL[:, 1:5].mean(), losses_BL[:, 5:].mean()]
    torch.testing.assert_close(losses_K, torch.stack(expected).detach())


def test_accumulated_parts_make_the_same_step():
    found = []
    for parts in (1, 4):
        trainer = make_trainer(double=True, accumulate=parts, **SUPERNET)
        lines = [trainer.advance().metrics for _ in range(8)]
        found.append(([line["loss"] for line in lines], trainer.model.state_dict()))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-10)
    for name, tensor in found[0][1].items():
        torch.testing.assert_close(tensor, found[1][1][name], atol=1e-9, rtol=1e-7)


def test_activation_checkpointing_changes_no_bit():
    plain, saved = (make_trainer(activation_checkpointing=on, **SUPERNET) for on in (False, True))
    for _ in range(6):
        assert plain.advance().metrics["loss"] == saved.advance().metrics["loss"]
    for a, b in zip(plain.model.parameters(), saved.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_averaged_weights():
    trainer, decay = make_trainer(ema=0.8), 0.8
    expected = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    for _ in range(5):
        trainer.advance()
        for name, parameter in trainer.model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
    for name, parameter in trainer.averaged.named_parameters():
        torch.testing.assert_close(parameter.detach(), expected[name])
    assert trainer.averaged is not trainer.model


def test_a_sandwich_step_is_three_passes_and_can_distil():
    options = {
        "schedule": Schedule.sandwich_rule(),
        "depths": (1, 2),
        "switch": 1,
        "budget_images": 480,
    }
    trainer = make_trainer(double=True, **options)
    assert trainer.config.steps == 10
    line = trainer.advance().metrics
    assert line["images_seen"] == 48
    parts = [line[f"loss/depth_{depth:02d}"] for depth in (3, 1, 2)]
    assert line["loss"] == pytest.approx(np.mean(parts))
    trainer = make_trainer(double=True, class_drop=0.0, distill=True, **options)
    batch = trainer.batches.batch(0, slice(None))
    inputs = tokenizer().double().teacher_inputs(batch.tokens_NL)
    plans = tuple(trainer.plans[d] for d in (3, 1, 2))
    losses_PK = trainer._accumulate_gradients(0, plans)
    full, *subnets = (trainer.model(inputs, batch.labels_N, plan) for plan in plans)
    # The full network is the teacher: no gradient reaches it through its targets.
    taught = full.detach().softmax(-1)
    losses = [F.cross_entropy(full.flatten(0, 1), batch.tokens_NL.flatten())]
    losses += [-(taught * logits.log_softmax(-1)).sum(-1).mean() for logits in subnets]
    expected = torch.autograd.grad(torch.stack(losses).mean(), list(trainer.model.parameters()))
    for gradient, parameter in zip(expected, trainer.model.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    tokens_K = torch.tensor(trainer.model.geometry.scale_tokens).double()
    assert (losses_PK @ tokens_K / 14)[0].item() == pytest.approx(losses[0].item(), rel=1e-12)


def test_a_sandwich_step_holds_one_pass_s_graph():
    """Its backward pass is done before the next pass begins."""
    trainer = make_trainer(schedule=Schedule.sandwich_rule(), depths=(1, 2), budget_images=480)
    events, network = [], trainer.loss.forward

    def watched(*args):
        events.append("forward")
        found = network(*args)
        found.loss.register_hook(lambda _: events.append("backward"))
        return found

    trainer.loss.forward = watched
    trainer.advance()
    assert events == ["forward", "backward"] * 3


def test_what_one_rank_wishes_comes_with_the_losses():
    """And no number is read from the device but in that one reading."""
    trainer, called = make_trainer(), []

    class Calls(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            called.append(func)
            return func(*args, **(kwargs or {}))

    assert trainer.advance().wishes == Wishes(save=False, stop=False)
    with Calls():
        assert trainer.advance(lambda: Wishes(stop=True)).wishes == Wishes(save=False, stop=True)
    assert torch.ops.aten.mm.default in called
    assert torch.ops.aten._local_scalar_dense.default not in called


def test_metrics_say_what_was_trained():
    trainer = make_trainer(schedule=Schedule.progressive(), depths=(1, 2), switch=1)
    lines = [trainer.advance().metrics for _ in range(trainer.config.steps)]
    subnet = [line["depth"] < 3 for line in lines]
    assert subnet == trainer.draws.subnet_S(3).tolist()
    assert lines[-1]["share/realised"] == pytest.approx(np.mean(subnet))
    assert lines[-1]["images_seen"] == 640
    each = {d: 3 * plan_cost(DEEP, p, guidance=False).flops for d, p in trainer.plans.items()}
    spent = 16 * sum(each[line["depth"]] for line in lines)
    assert lines[-1]["flops/training"] == pytest.approx(spent)
    for line in lines[:3]:
        weighted = sum(line[f"loss/scale_{k + 1:02d}"] * p * p for k, p in enumerate(PATCH_NUMS))
        assert weighted / 14 == pytest.approx(line["loss"], rel=1e-5)


def test_a_loss_that_is_no_number_stops_before_the_step():
    trainer = make_trainer()
    trainer.advance()
    with torch.no_grad():
        trainer.model.head.bias[0] = torch.nan
    before = [p.detach().clone() for p in trainer.model.parameters()]
    with pytest.raises(
        Diverged, match=r"step 2 \(images 16 to 31 .*\): the loss of depth 3 is nan"
    ):
        trainer.advance()
    assert trainer.step == 1
    for a, b in zip(before, trainer.model.parameters(), strict=True):
        assert torch.equal(a.nan_to_num(7), b.detach().nan_to_num(7))


def test_a_loss_far_above_its_depth_s_median_stops_the_run():
    trainer = make_trainer(lr=1e-4)
    for _ in range(20):
        trainer.advance()
    assert len(trainer._recent[3]) == 20
    trainer._recent[3] = [0.1] * 20  # as if it had learnt, and lost it
    with pytest.raises(Diverged, match=r"step 21 .* after a median over its last 20 steps of"):
        trainer.advance()


def test_losses_explode_before_there_is_a_history():
    trainer = make_trainer(lr=1e-4)
    trainer.advance()
    with torch.no_grad():
        trainer.model.head.weight.mul_(300)
    with pytest.raises(
        Diverged, match=r"step 2 .* where (a uniform guess has|training began with) 2\.\d+"
    ):
        trainer.advance()


def test_a_history_of_exploded_losses_excuses_none():
    trainer = make_trainer(lr=1e-4)
    trainer.advance()
    trainer._recent[3] = [8_000.0] * 40
    with torch.no_grad():
        trainer.model.head.weight.mul_(300)
    with pytest.raises(Diverged, match=r"where (a uniform guess has|training began with)"):
        trainer.advance()


def test_depths_are_judged_apart(monkeypatch):
    """A subnet's first, high loss is no divergence of the full network's low one."""
    monkeypatch.setattr("varant.training.trainer.DIVERGENCE_NATS", 1.0)
    trainer = make_trainer(lr=1e-9, **SUPERNET)
    trainer._recent[3] = [-100.0] * 40
    subnet_steps = [i for i, step in enumerate(trainer.draws.depths) if step != (3,)]
    trainer.step = subnet_steps[0]
    trainer.advance()


def test_teacher_inputs_are_of_float32_under_autocast():
    half, seen = make_trainer(precision="bfloat16"), []
    network = half.loss.forward
    half.loss.forward = lambda inputs, *rest: seen.append(inputs) or network(inputs, *rest)
    half.advance()
    tokens_BL = half.batches.batch(0, slice(None)).tokens_NL
    assert seen[0].dtype == torch.float32
    assert torch.equal(seen[0], tokenizer().teacher_inputs(tokens_BL))


def test_bfloat16_autocast_trains():
    exact, half = make_trainer(**SUPERNET), make_trainer(precision="bfloat16", **SUPERNET)
    for _ in range(5):
        assert half.advance().metrics["loss"] == pytest.approx(
            exact.advance().metrics["loss"], rel=0.02
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch": 15, "accumulate": 2}, "--batch 15: must be a multiple of --accumulate"),
        ({"precision": "int8"}, "--precision int8: use one of float32"),
        ({"lr_schedule": "step"}, "--lr-schedule step: use one of cosine"),
        ({"draw": "lots"}, "--draw lots: use one of stratified"),
        ({"precision": "float16"}, "--precision float16: needs --device cuda"),
        ({"lr": -1.0}, "--lr -1.0: must be"),
        ({"lr": float("nan")}, "--lr nan: must be"),
        ({"class_drop": 1.5}, "--class-drop 1.5: must be from 0 to 1"),
        ({"ema": 2.0}, "--ema 2.0: must be from 0 to below 1"),
        ({"distill": True}, "--distill: needs --schedule sandwich"),
        (SUPERNET | {"switch": 4}, "--switch 4: the network has 3 scales"),
        (SUPERNET | {"depths": (3,)}, "--depths 3: subnets .* 1 to 2 of its 3 layers"),
        (SUPERNET | {"selector": "best"}, "--selector best: use one of"),
        ({"scale_weights": (1.0, 1.0)}, "--scale-weights 1,1: give one weight .* 3 scales"),
        ({"scale_weights": (0.0, 0.0, 0.0)}, "not all zero"),
    ],
)
def test_bad_configs(options, message):
    with pytest.raises(UserError, match=message):
        make_trainer(**options)


def test_nll_against_a_direct_sum(monkeypatch):
    monkeypatch.setattr(likelihood, "MOST_IMAGES", 4)
    model, _ = trained()
    data = tokens(10)
    plan = DepthPlan.two_zone(PATCH_NUMS, 2, subnet_depth=1, switch=1)
    found = nll_per_scale(model, tokenizer(), data, plan)
    inputs = tokenizer().teacher_inputs(data.rows(slice(None)).tokens_NL.long())
    logs = model(inputs, data.labels_N, plan).detach().double().log_softmax(-1)
    each = -logs.gather(2, data.rows(slice(None)).tokens_NL.long()[:, :, None])[:, :, 0]
    expected = torch.stack([each[:, :1].mean(1), each[:, 1:5].mean(1), each[:, 5:].mean(1)], 1)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)
    np.testing.assert_allclose(mean_nll(found, PATCH_NUMS), each.mean(1).numpy(), atol=1e-6)
