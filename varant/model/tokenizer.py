"""The multi-scale residual VQ-VAE of VAR (arXiv 2404.02905, algorithms 1 and 2).

An image becomes K token maps: at each scale the residual feature map is averaged down to p x p,
every vector snaps to the nearest code of one shared codebook, and the codes, enlarged and passed
through a convolution phi, are taken off the residual.

Shape suffixes: B images, L tokens of all scales, T tokens of one scale, v channels of a code,
s positions of the feature map (its sides multiplied), V codes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varant.devices import float32_exactly
from varant.errors import UserError
from varant.model.backbones import (
    LIGHT_PATCH,
    LightDecoder,
    LightEncoder,
    OfficialDecoder,
    OfficialEncoder,
)
from varant.model.geometry import Geometry, check_sides, check_size
from varant.values import shortened

PHI_RATIO = 0.5  # phi(x) = 0.5 x + 0.5 conv(x)
MOST_LEVELS, MOST_PARTS = 8, 64  # of a backbone; of a level: the official one has 5, and 4
DECODED_MAPS = 4  # of the largest size, alive at once while decoding (counted, both backbones)


@dataclass(frozen=True, kw_only=True)
class TokenizerConfig:
    """Sizes of a tokenizer.

    Attributes:
        patch_nums: side of each token map; the last is the side of the feature map.
        vocab_size: codes V.
        code_channels: channels of a code, Cvae.
        backbone: `official` (convolutional, 16x for five multipliers) or `light` (4x).
        channels: width of the backbone's first level.
        multipliers: width of each official level over `channels`; each but one halves the side.
        blocks: residual blocks, a level in the official backbone.
        phis: phi convolutions shared over the scales; 0 for none.
    """

    patch_nums: tuple[int, ...]
    vocab_size: int
    code_channels: int
    backbone: Literal["official", "light"]
    channels: int
    multipliers: tuple[int, ...] = (1, 1, 2, 2, 4)
    blocks: int = 2
    phis: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "patch_nums", tuple(self.patch_nums))
        object.__setattr__(self, "multipliers", tuple(self.multipliers))
        check_sides(self.patch_nums)
        for field in ("vocab_size", "code_channels", "channels"):
            check_size(field, getattr(self, field))
        for level in self.multipliers:
            check_size("multipliers", level, MOST_PARTS)
        for field in ("blocks", "phis"):
            check_size(field, getattr(self, field), MOST_PARTS, least=0)
        if not 0 < len(self.multipliers) <= MOST_LEVELS:
            raise UserError(f"multipliers: {len(self.multipliers)} levels, not 1 to {MOST_LEVELS}")
        if self.backbone not in ("official", "light"):
            raise UserError(f"backbone {shortened(repr(self.backbone))}: use official or light")
        if self.backbone == "official" and self.channels % 32:
            raise UserError(f"channels {self.channels}: must be a multiple of 32 (GroupNorm)")

    @classmethod
    def official(cls, patch_nums: tuple[int, ...]) -> TokenizerConfig:
        """The published tokenizer (`vae_ch160v4096z32`) at the scales of a VAR."""
        return cls(
            patch_nums=patch_nums,
            vocab_size=4096,
            code_channels=32,
            backbone="official",
            channels=160,
        )

    @property
    def downsampling(self) -> int:
        """Pixels of the image along one side of a feature."""
        return LIGHT_PATCH if self.backbone == "light" else 2 ** (len(self.multipliers) - 1)

    @property
    def image_side(self) -> int:
        return self.patch_nums[-1] * self.downsampling

    @property
    def decoded_elements(self) -> int:
        """Elements of the decoder's activations at their peak, for one image."""
        light = self.backbone == "light"
        side = self.patch_nums[-1] if light else self.image_side
        width = self.channels * (1 if light else max(self.multipliers[:2]))
        return DECODED_MAPS * width * side**2

    def geometry(self, *, depth: int, width: int, heads: int, num_classes: int) -> Geometry:
        """Of a network that predicts this tokenizer's tokens."""
        return Geometry(
            depth=depth,
            width=width,
            heads=heads,
            patch_nums=self.patch_nums,
            vocab_size=self.vocab_size,
            code_channels=self.code_channels,
            num_classes=num_classes,
        )


class Phis(nn.Module):
    """The phi convolutions; a scale uses the one whose tick is nearest to k/(K-1).

    Ticks are evenly spaced from 1/(3n) to 1 - 1/(3n) for n = 4 phis, as the published tokenizer
    has them, and from 1/(2n) to 1 - 1/(2n) otherwise (the reference's rule).
    """

    def __init__(self, count: int, code_channels: int, scales: int) -> None:
        super().__init__()
        self.qresi_ls = nn.ModuleList(
            nn.Conv2d(code_channels, code_channels, 3, padding=1) for _ in range(count)
        )
        margin = 1 / (3 if count == 4 else 2) / max(count, 1)
        # NumPy's linspace, as in the reference: its rounding decides ties between two ticks.
        ticks = np.linspace(margin, 1 - margin, count)
        places = [k / max(scales - 1, 1) for k in range(scales)]
        self.of_scale = [int(np.abs(ticks - at).argmin()) for at in places] if count else []

    def forward(self, x_BvHW: Tensor, scale_index: int) -> Tensor:
        if not self.of_scale:
            return x_BvHW
        conv = self.qresi_ls[self.of_scale[scale_index]]
        return (1 - PHI_RATIO) * x_BvHW + PHI_RATIO * conv(x_BvHW)


class QuantizedScale(NamedTuple):
    """Tokens of one scale, the vectors that they stand for, and their part of the feature map."""

    tokens_BT: Tensor
    vectors_BTv: Tensor
    part_Bvs: Tensor


def _resampling(side: int, to: int, mode: str) -> Tensor:
    """(side*side, to*to) what each position of a map gives to each of the map in another size."""
    size = torch.empty(side * side, to * to)
    if size.is_meta:  # on which the library's ways take seconds to import
        return size
    eye = torch.eye(side * side).view(-1, 1, side, side)
    return F.interpolate(eye, size=(to, to), mode=mode).flatten(1)


class Quantizer(nn.Module):
    """Residual quantisation over scales with one codebook.

    Resampling is linear, so it is kept as fixed matrices made from `interpolate` (area down,
    bicubic up): the same numbers, faster for small maps.
    """

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.patch_nums = config.patch_nums
        codes_Vv = torch.empty(config.vocab_size, config.code_channels)
        if not codes_Vv.is_meta:
            nn.init.normal_(codes_Vv)
        self.embedding = nn.Embedding(config.vocab_size, config.code_channels, _weight=codes_Vv)
        self.quant_resi = Phis(config.phis, config.code_channels, len(config.patch_nums))
        # Usage counts of the official training code: unused here, kept for the round trip.
        hits = torch.zeros(len(config.patch_nums), config.vocab_size)
        self.register_buffer("ema_vocab_hit_SV", hits)
        side = self.patch_nums[-1]
        for k, p in enumerate(self.patch_nums[:-1]):
            self.register_buffer(f"down_{k}", _resampling(side, p, "area"), persistent=False)
            self.register_buffer(f"up_{k}", _resampling(p, side, "bicubic"), persistent=False)

    @float32_exactly()
    def down(self, features_Bvs: Tensor, scale_index: int) -> Tensor:
        """(B, v, s) to (B, v, T): average over the cells of the scale's grid."""
        if scale_index == len(self.patch_nums) - 1:
            return features_Bvs
        return features_Bvs @ getattr(self, f"down_{scale_index}")

    @float32_exactly()
    def up(self, codes_BvT: Tensor, scale_index: int) -> Tensor:
        """(B, v, T) codes to their (B, v, s) part of the feature map: enlarged, then phi."""
        side = self.patch_nums[-1]
        if scale_index < len(self.patch_nums) - 1:
            codes_BvT = codes_BvT @ getattr(self, f"up_{scale_index}")
        maps = codes_BvT.reshape(*codes_BvT.shape[:2], side, side)
        return self.quant_resi(maps, scale_index).flatten(2)

    @float32_exactly()
    def nearest(self, vectors_BTv: Tensor) -> Tensor:
        """(B, T) index of the nearest code by Euclidean distance."""
        codes_Vv = self.embedding.weight
        flat = vectors_BTv.flatten(0, 1)
        distance = flat.square().sum(1, keepdim=True) + codes_Vv.square().sum(1)
        distance = torch.addmm(distance, flat, codes_Vv.T, alpha=-2)
        return distance.argmin(1).view(vectors_BTv.shape[:2])

    def codes(self, tokens_BT: Tensor) -> Tensor:
        """(B, v, T) code vectors."""
        return self.embedding(tokens_BT).transpose(1, 2)

    def scales(self, features_Bvs: Tensor) -> Iterator[QuantizedScale]:
        """A feature map scale by scale: each takes its part off what the next ones see."""
        for k in range(len(self.patch_nums)):
            vectors_BTv = self.down(features_Bvs, k).transpose(1, 2)
            tokens_BT = self.nearest(vectors_BTv)
            part_Bvs = self.up(self.codes(tokens_BT), k)
            yield QuantizedScale(tokens_BT, vectors_BTv, part_Bvs)
            features_Bvs = features_Bvs - part_Bvs

    def split(self, tokens_BL: Tensor) -> tuple[Tensor, ...]:
        return tokens_BL.split([p * p for p in self.patch_nums], dim=1)

    def features(self, tokens_BL: Tensor) -> Tensor:
        """(B, v, s) feature map that all tokens together stand for."""
        parts = (self.up(self.codes(t), k) for k, t in enumerate(self.split(tokens_BL)))
        return functools.reduce(torch.add, parts)


class Tokenizer(nn.Module):
    """Images to tokens and back; `config` fixes every tensor."""

    def __init__(self, config: TokenizerConfig) -> None:
        super().__init__()
        self.config, self.patch_nums = config, config.patch_nums
        self.vocab_size, self.image_side = config.vocab_size, config.image_side
        channels, v = config.channels, config.code_channels
        if config.backbone == "official":
            levels = config.multipliers
            self.encoder: nn.Module = OfficialEncoder(channels, levels, config.blocks, v)
            self.decoder: nn.Module = OfficialDecoder(channels, levels, config.blocks, v)
            self.quant_conv: nn.Module = nn.Conv2d(v, v, 3, padding=1)
            self.post_quant_conv: nn.Module = nn.Conv2d(v, v, 3, padding=1)
        else:
            self.encoder = LightEncoder(channels, config.blocks, v)
            self.decoder = LightDecoder(channels, config.blocks, v)
            self.quant_conv = nn.Identity()
            self.post_quant_conv = nn.Identity()
        self.quantize = Quantizer(config)

    def encode_features(self, images_B3HW: Tensor) -> Tensor:
        """(B, v, s) continuous feature map of images in [-1, 1]; `UserError` for another size."""
        side = self.image_side
        if images_B3HW.shape[1:] != (3, side, side):
            shape = tuple(images_B3HW.shape)
            raise UserError(f"images of shape {shape}: this tokenizer takes (B, 3, {side}, {side})")
        return self.quant_conv(self.encoder(images_B3HW)).flatten(2)

    @torch.no_grad()
    def encode(self, images_B3HW: Tensor) -> Tensor:
        """Images in [-1, 1] to (B, L) int64 tokens, coarse to fine."""
        scales = self.quantize.scales(self.encode_features(images_B3HW))
        return torch.cat([scale.tokens_BT for scale in scales], dim=1)

    @torch.no_grad()
    def teacher_inputs(self, tokens_BL: Tensor) -> Tensor:
        """(B, L - patch_nums[0]**2, Cvae) inputs of scales 2..K.

        Scale k sees the image as scales 1..k-1 draw it, averaged down to its own grid.
        """
        weight = self.quantize.embedding.weight
        parts, total = [], weight.new_zeros(())
        for k, tokens_BT in enumerate(self.quantize.split(tokens_BL)[:-1]):
            total = total + self.quantize.up(self.quantize.codes(tokens_BT), k)
            parts.append(self.quantize.down(total, k + 1).transpose(1, 2))
        none = weight.new_zeros(len(tokens_BL), 0, self.config.code_channels)
        return torch.cat([none, *parts], dim=1)

    @torch.no_grad()
    def decode(self, tokens_BL: Tensor) -> Tensor:
        """(B, L) tokens to (B, 3, H, W) images in [-1, 1]."""
        return self.decode_features(self.quantize.features(tokens_BL))

    @property
    def decoder_type(self) -> torch.dtype:
        return next(self.decoder.parameters()).dtype

    def decode_features(self, features_Bvs: Tensor) -> Tensor:
        """(B, v, s) feature map to images in [-1, 1]."""
        return self.draw(features_Bvs).clamp(-1, 1)

    def draw(self, features_Bvs: Tensor) -> Tensor:
        """As `decode_features`, and not clamped: training wants the gradient of all pixels."""
        side = self.patch_nums[-1]
        maps_BvHW = features_Bvs.to(self.decoder_type).unflatten(2, (side, side))
        return self.decoder(self.post_quant_conv(maps_BvHW))
