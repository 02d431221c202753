"""Trainers of networks of two or three layers, in this process and without a folder."""

from dataclasses import replace

import torch
from small_networks import small_geometry, small_tokenizer

from varant import VAR, Tokenizer
from varant.data.batches import CachedBatches
from varant.data.tokens import TokenSplit
from varant.training.config import TrainingConfig
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer

PATCH_NUMS = (1, 2, 3)
GEOMETRY = small_geometry(PATCH_NUMS, 8, depth=2, width=16)


SUPERNET = {"schedule": Schedule.fixed(0.5), "depths": (1, 2), "switch": 1}
DEEP = replace(GEOMETRY, depth=3)


def tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    config = small_tokenizer(PATCH_NUMS, 8)
    return Tokenizer(config).eval()


def tokens(count: int = 96) -> TokenSplit:
    """Tokens that the class decides, so that there is something to learn."""
    labels = torch.arange(count) % 3
    generator = torch.Generator().manual_seed(1)
    noise = torch.randint(0, 2, (count, 14), generator=generator)
    return TokenSplit(shards=((labels[:, None] * 2 + noise).int(),), labels_N=labels)


def make_trainer(geometry=DEEP, *, double=False, **options) -> Trainer:
    torch.manual_seed(4)
    model, draw = VAR(geometry), tokenizer()
    with torch.no_grad():  # away from gammas of nearly zero, where no layer matters
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    if double:
        model, draw = model.double(), draw.double()
    config = TrainingConfig(**({"budget_images": 640, "batch": 16, "warmup_steps": 5} | options))
    batches = CachedBatches(tokens(), seed=config.seed, batch=config.batch)
    return Trainer(model, draw, batches, config)
