"""The training loop: cross-entropy of every scale's tokens given the earlier scales."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from varant.errors import UserError
from varant.randomness import batch_indices, stream
from varant.tokenizer import Tokenizer
from varant.tokens import TokenSplit
from varant.transformer import VAR

Log = Callable[[int, dict[str, float]], None]

# Official parameter groups: no weight decay on these, nor on any one-dimensional tensor.
NO_DECAY = ("class_emb", "pos_start", "pos_1LC", "lvl_embed", "ada_gss", "scale_mul")


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained.

    Attributes:
        budget_images: image passes through the network.
        batch: images a step.
        learning_rate: peak, after `warmup_steps`; a cosine takes it to `final_rate_share` of it.
        clip: largest gradient norm.
        class_drop: share of images trained with the unconditional class.
        seed: of initialisation, data order and class drop.

    Raises:
        UserError: a budget below one batch.
    """

    budget_images: int = 48_000
    batch: int = 64
    learning_rate: float = 5e-3
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.02
    clip: float = 2.0
    warmup_steps: int = 50
    final_rate_share: float = 0.05
    class_drop: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.budget_images < self.batch:
            raise UserError(f"budget {self.budget_images}: below one batch of {self.batch} images")

    @property
    def steps(self) -> int:
        return self.budget_images // self.batch

    def rate_at(self, step: int) -> float:
        """Learning rate of step `step` (0-based)."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        share = self.final_rate_share + (1 - self.final_rate_share) * cosine
        return self.learning_rate * warm * share

    def as_dict(self) -> dict:
        return asdict(self)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """AdamW groups by the official rule: embeddings, biases, scales and gammas do not decay."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        exempt = parameter.ndim == 1 or any(part in name for part in NO_DECAY)
        (free if exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


def train(
    model: VAR,
    tokenizer: Tokenizer,
    tokens: TokenSplit,
    config: TrainingConfig,
    *,
    log: Log = lambda step, metrics: None,
) -> None:
    """Train `model` in place at full depth, on the device that it and `tokenizer` are on.

    Args:
        log: called after each step with `loss` (nats a token), `learning_rate`,
            `gradient_norm`, `images_seen`.

    Raises:
        FloatingPointError: the loss became infinite or NaN; names the step.
    """
    model.train()
    device = model.pos_1LC.device
    optimiser = torch.optim.AdamW(
        parameter_groups(model, config.weight_decay), betas=config.betas, fused=True
    )
    for step in range(config.steps):
        chosen = batch_indices(config.seed, step, batch=config.batch, images=len(tokens))
        batch = tokens.rows(chosen)
        dropped = stream(config.seed, "class drop", step).random(config.batch) < config.class_drop
        labels = batch.labels_N.masked_fill(torch.from_numpy(dropped), model.num_classes)
        tokens_BL = batch.tokens_NL.to(device)
        logits = model(tokenizer.teacher_inputs(tokens_BL), labels.to(device))
        loss = F.cross_entropy(logits.flatten(0, 1), tokens_BL.flatten())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"loss {loss.item()} at step {step + 1}: diverged")
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        for group in optimiser.param_groups:
            group["lr"] = config.rate_at(step)
        optimiser.step()
        metrics = {
            "loss": loss.item(),
            "learning_rate": config.rate_at(step),
            "gradient_norm": norm.item(),
            "images_seen": (step + 1) * config.batch,
        }
        log(step + 1, metrics)
    model.eval()
