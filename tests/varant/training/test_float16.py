"""Training in float16: CPUs compute in it slowly, but by the rules of a card, scaler and all."""

import json

import pytest
import torch
from small_trainers import SUPERNET, make_trainer
from torch import Tensor

from varant.errors import Diverged
from varant.training.trainer import Trainer

HUGE = 2.0**60  # a scale at which float16's gradients overflow


@pytest.fixture(autouse=True)
def cpu_takes_float16(monkeypatch):
    monkeypatch.setattr("varant.training.config.check_precision", lambda precision, device: None)


def half_trainer(**options) -> Trainer:
    return make_trainer(precision="float16", **SUPERNET, **options)


def set_scale(trainer: Trainer, scale: float) -> None:
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": scale})


def copied(name: str, tensor: Tensor) -> Tensor:
    return tensor.detach().clone()


def test_it_trains_as_float32_does():
    exact, half = make_trainer(**SUPERNET), half_trainer()
    for _ in range(5):
        expected, found = exact.advance().metrics, half.advance().metrics
        for name in ("loss", "gradient_norm"):
            assert found[name] == pytest.approx(expected[name], rel=0.005), name
    assert half.scaler.is_enabled() and not exact.scaler.is_enabled()


def test_a_step_that_overflows_is_skipped_and_the_scale_halved():
    trainer = half_trainer()
    trainer.advance()
    before = trainer.state(copied).tensors
    set_scale(trainer, HUGE)
    metrics = trainer.advance().metrics
    after = trainer.state(copied).tensors
    assert trainer.scaler.get_scale() == HUGE / 2
    assert after.keys() == before.keys()
    assert any(name.startswith("optimiser/step/") for name in after)
    assert all(torch.equal(after[name], before[name]) for name in after)
    # What is logged is what there is, in JSON that any reader takes; MLflow would make 1.8e308 of
    # infinity.
    assert "gradient_norm" not in metrics and metrics["images_seen"] == 32
    json.dumps(metrics, allow_nan=False)
    set_scale(trainer, 2.0**10)
    assert trainer.advance().metrics["gradient_norm"] > 0
    trained = trainer.state(copied).tensors
    assert not torch.equal(trained["model/head.weight"], after["model/head.weight"])


def test_a_gradient_that_no_scale_helps_ends_the_training():
    """Else every step to come would be skipped, in silence."""
    trainer = half_trainer()
    set_scale(trainer, 4.0)
    bias = trainer.model.head.bias
    bias.register_hook(lambda gradient: gradient * torch.nan)
    for left in (2.0, 1.0):
        trainer.advance()
        assert trainer.scaler.get_scale() == left
    with pytest.raises(Diverged, match=r"step 3 .* the gradient's norm is nan"):
        trainer.advance()
    assert trainer.step == 2


def test_a_resumed_training_goes_on_with_its_scale():
    whole, first, second = half_trainer(ema=0.9), half_trainer(ema=0.9), half_trainer(ema=0.9)
    for trainer in (whole, first):
        trainer.advance()
        set_scale(trainer, HUGE)
        trainer.advance()
        trainer.advance()
    state = first.state(copied)
    facts = json.loads(json.dumps(state.facts))  # as a checkpoint has them
    second.restore(state.__class__(step=state.step, tensors=state.tensors, facts=facts))
    assert second.scaler.state_dict() == whole.scaler.state_dict()
    assert second.scaler.get_scale() == HUGE / 4
    for trainer in (whole, second):
        set_scale(trainer, 2.0**12)
    assert second.advance() == whole.advance()
    ends = [trainer.state(copied).tensors for trainer in (whole, second)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
