"""The formula weights, images and stored outputs of the reference VAR (tests/data/golden)."""

from __future__ import annotations

import ast
import json
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

GOLDEN = Path(__file__).parent / "data" / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())


@dataclass(frozen=True, kw_only=True)
class Key:
    name: str
    shape: tuple[int, ...]
    is_parameter: bool


def keys(file: str) -> list[Key]:
    """Names, shapes and kinds of an official state dict, from a key list."""
    rows = (line.split("\t") for line in (GOLDEN / file).read_text().splitlines())
    return [
        Key(name=row[0], shape=ast.literal_eval(row[1]), is_parameter=row[-1].startswith("param"))
        for row in rows
    ]


def _mean_and_std(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    fan_in = math.prod(shape[1:])
    if name == "quantize.embedding.weight":
        return 0, 0.6
    if name == "decoder.conv_out.weight":
        return 0, 0.35 / math.sqrt(fan_in)
    if ".norm" in name:
        return (1 if name.endswith("weight") else 0), 0.1
    if name.endswith("scale_mul_1H11"):
        return math.log(4), 0.3
    if "ada_lin" in name and len(shape) == 2:
        return 0, 0.5 / math.sqrt(shape[1])
    if "ada_lin" in name or name.endswith("ada_gss"):
        return 0, 0.2
    if name == "head.weight":
        return 0, 2.5 / math.sqrt(shape[1])
    if name in ("pos_start", "pos_1LC", "lvl_embed.weight"):
        return 0, 0.4
    if name == "class_emb.weight":
        return 0, 1
    return (0, 0.1) if len(shape) == 1 else (0, 1 / math.sqrt(fan_in))


def formula_weight(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    mean, std = _mean_and_std(name, shape)
    values = np.random.RandomState(zlib.crc32(name.encode())).standard_normal(shape)
    return torch.from_numpy((mean + std * values).astype(np.float32))


def _buffer(key: Key, patch_nums: list[int]) -> torch.Tensor:
    level = np.repeat(np.arange(len(patch_nums)), [p * p for p in patch_nums])
    if key.name == "lvl_1L":
        return torch.from_numpy(level)[None]
    if key.name == "attn_bias_for_masking":
        mask = np.where(level[:, None] >= level, 0, -np.inf).astype(np.float32)
        return torch.from_numpy(mask)[None, None]
    return torch.zeros(key.shape)


def official_files(case: str, folder: Path) -> tuple[Path, Path]:
    """Write the case's (vae, var) files as the reference would save them."""
    paths = []
    for kind in ("vae", "var"):
        state = {
            key.name: formula_weight(key.name, key.shape)
            if key.is_parameter
            else _buffer(key, CASES[case]["patch_nums"])
            for key in keys(f"{case}_{kind}_keys.txt")
        }
        paths.append(folder / f"{kind}.pth")
        torch.save(state, paths[-1])
    return paths[0], paths[1]


@dataclass(frozen=True, kw_only=True)
class Inputs:
    images_B3HW: torch.Tensor
    labels_B: torch.Tensor


def inputs(case: str) -> Inputs:
    """The case's images in [-1, 1] and labels."""
    sizes = CASES[case]
    batch, side = sizes["B"], sizes["image_side"]
    rng = np.random.RandomState(1234)
    low = rng.standard_normal((batch, 3, 4, 4)).astype(np.float32)
    low = low.repeat(side // 4, axis=2).repeat(side // 4, axis=3)
    noise = rng.standard_normal((batch, 3, side, side)).astype(np.float32)
    images = np.clip(0.5 * low + 0.15 * noise, -1, 1)
    labels = rng.randint(0, sizes["num_classes"], batch)
    return Inputs(images_B3HW=torch.from_numpy(images), labels_B=torch.from_numpy(labels))
