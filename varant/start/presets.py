"""The embedded setting: a light tokenizer and a small base network, as recipes."""

from __future__ import annotations

from dataclasses import dataclass, replace

from varant.model.geometry import Geometry
from varant.model.tokenizer import TokenizerConfig
from varant.start.config import BASE_BUDGET, QUICK_BASE_BUDGET
from varant.training.config import TrainingConfig
from varant.training.tokenizer import TokenizerTraining

LIGHT_TOKENIZER = TokenizerConfig(
    patch_nums=(1, 2, 3, 4, 6),
    vocab_size=128,
    code_channels=8,
    backbone="light",
    channels=64,
    phis=0,
)
SMALL_GEOMETRY = LIGHT_TOKENIZER.geometry(depth=8, width=48, heads=3, num_classes=10)


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """All that fixes a tokenizer and a base network, but for the data.

    Attributes:
        limit: training images of an embedded data set to use, None for all.
    """

    limit: int | None = None
    tokenizer: TokenizerConfig = LIGHT_TOKENIZER
    tokenizer_training: TokenizerTraining = TokenizerTraining()
    geometry: Geometry = SMALL_GEOMETRY
    training: TrainingConfig = TrainingConfig(budget_images=BASE_BUDGET)


QUICK_BASE = BaseConfig(
    limit=2_000,
    tokenizer_training=TokenizerTraining(steps=60),
    geometry=replace(SMALL_GEOMETRY, depth=4, width=32, heads=2),
    training=TrainingConfig(budget_images=QUICK_BASE_BUDGET),
)
