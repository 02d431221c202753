"""The presets: embedded settings by name, as `presets.toml` beside this file has them.

Plain numbers, read without loading a network: flags, data and training look one up alike.
"""

from __future__ import annotations

import functools
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

PresetName = Literal["tiny", "small", "ten"]
DEFAULT: PresetName = "small"
QUICK_BUDGET = 3_200  # images of a training with `--quick`
QUICK: PresetName = "tiny"
"""Of `--quick`, and of images of a side that no preset has."""


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """A light tokenizer, and the optimiser steps of 64 images that train it."""

    vocab_size: int
    code_channels: int
    channels: int
    steps: int


@dataclass(frozen=True, kw_only=True)
class BaseRecipe:
    """How a base network is trained: as in `varant.training.config`."""

    budget: int
    batch: int = 64
    lr: float = 5e-3
    lr_schedule: Literal["cosine", "wsd"] = "cosine"


@dataclass(frozen=True, kw_only=True)
class Preset:
    """An embedded setting.

    Attributes:
        patch_nums: side of each token map, coarse to fine.
        image_side: pixels.
        depth, width, heads: of the base network.
        images: of each split of `shapes`; images are rendered when they are asked for.
        windows: 1-based scales of `early`, `middle` and `late`, as
            `varant.model.geometry.windows_of` has them.
        switch: last scale that runs all layers, by default.
    """

    patch_nums: tuple[int, ...]
    image_side: int
    depth: int
    width: int
    heads: int
    images: dict[str, int]
    windows: dict[str, tuple[int, ...]]
    switch: int
    tokenizer: TokenizerRecipe
    base: BaseRecipe

    @classmethod
    def of(cls, table: dict[str, Any]) -> Preset:
        read = {
            "patch_nums": tuple(table["patch_nums"]),
            "windows": {name: tuple(scales) for name, scales in table["windows"].items()},
            "tokenizer": TokenizerRecipe(**table["tokenizer"]),
            "base": BaseRecipe(**table["base"]),
        }
        return cls(**table | read)


@functools.cache
def presets() -> dict[str, Preset]:
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    return {name: Preset.of(table) for name, table in tables.items()}


def preset_of(patch_nums: tuple[int, ...]) -> Preset | None:
    """The preset of these scales, whatever the network's other sizes."""
    return next((one for one in presets().values() if one.patch_nums == patch_nums), None)


def preset_at(image_side: int) -> Preset:
    """The preset of images of so many pixels; `QUICK` at other sides."""
    found = (one for one in presets().values() if one.image_side == image_side)
    return next(found, presets()[QUICK])
