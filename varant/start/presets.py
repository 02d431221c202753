"""A preset as recipes: a light tokenizer and a small base network."""

from __future__ import annotations

from dataclasses import dataclass, replace

from varant.errors import UserError
from varant.model.geometry import Geometry
from varant.model.tokenizer import TokenizerConfig
from varant.presets import QUICK_BUDGET, Preset
from varant.training.config import TrainingConfig
from varant.training.tokenizer import TokenizerTraining

QUICK_IMAGES = 2_000  # training images of an embedded data set
QUICK_TOKENIZER_STEPS = 60


def light_tokenizer(preset: Preset) -> TokenizerConfig:
    recipe = preset.tokenizer
    return TokenizerConfig(
        patch_nums=preset.patch_nums,
        vocab_size=recipe.vocab_size,
        code_channels=recipe.code_channels,
        backbone="light",
        channels=recipe.channels,
        phis=0,
    )


def base_geometry(preset: Preset) -> Geometry:
    """For ten classes, as the embedded data sets have them."""
    sizes = {"depth": preset.depth, "width": preset.width, "heads": preset.heads}
    return light_tokenizer(preset).geometry(**sizes, num_classes=10)


@dataclass(frozen=True, kw_only=True)
class BaseConfig:
    """All that fixes a tokenizer and a base network, but for the data.

    Attributes:
        evaluations: of a base network on select images, along its training.
    """

    tokenizer: TokenizerConfig
    tokenizer_training: TokenizerTraining
    geometry: Geometry
    training: TrainingConfig
    evaluations: int = 0

    @classmethod
    def of(cls, preset: Preset, *, budget: int | None = None, quick: bool = False) -> BaseConfig:
        """A preset's; quick, with half the layers and one head less, few images and few steps.

        Args:
            budget: training images of the base network; None for the preset's.
        """
        geometry, steps = base_geometry(preset), preset.tokenizer.steps
        recipe = preset.base
        budget = budget or (QUICK_BUDGET if quick else preset.base.budget)
        if quick:
            depth, heads = geometry.depth // 2, max(1, geometry.heads - 1)
            width = heads * geometry.head_dim
            geometry = replace(geometry, depth=depth, width=width, heads=heads)
            steps = QUICK_TOKENIZER_STEPS
        try:
            training = TrainingConfig(
                budget_images=budget,
                batch=recipe.batch,
                lr=recipe.lr,
                lr_schedule=recipe.lr_schedule,
            )
        except UserError as error:
            raise UserError(str(error).replace("--budget", "--base-budget")) from None
        return cls(
            tokenizer=light_tokenizer(preset),
            tokenizer_training=TokenizerTraining(steps=steps),
            geometry=geometry,
            training=training,
        )
