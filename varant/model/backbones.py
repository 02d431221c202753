"""Encoders and decoders of the tokenizer: the official convolutional one and a light one.

The official pair follows VAR's tokenizer (ch 160, multipliers 1,1,2,2,4) and its checkpoint's
names. Shape suffixes: B images, C channels, H and W pixels or features.
"""

import itertools
from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

LIGHT_PATCH = 4  # pixels of an image that the light backbone folds into one feature


def group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=32, num_channels=channels, eps=1e-6)


class ResidualBlock(nn.Module):
    """Two normed 3x3 convolutions and a shortcut, which projects where the width changes."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.norm1 = group_norm(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm2 = group_norm(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.nin_shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        # Nameless, each map goes as soon as the next one is made.
        h = self.conv2(F.silu(self.norm2(self.conv1(F.silu(self.norm1(x_BCHW))))))
        return self.nin_shortcut(x_BCHW) + h


class PixelAttention(nn.Module):
    """Single-head self-attention over all positions of a feature map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv2d(channels, channels, 1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        B, C, H, W = x_BCHW.shape
        qkv = self.qkv(self.norm(x_BCHW)).view(B, 3, C, H * W).transpose(2, 3)
        q, k, v = qkv.unbind(1)
        out = F.scaled_dot_product_attention(q, k, v)
        return x_BCHW + self.proj_out(out.transpose(1, 2).reshape(B, C, H, W))


class Downsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.pad(x_BCHW, (0, 1, 0, 1)))


class Upsample(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.conv(F.interpolate(x_BCHW, scale_factor=2, mode="nearest"))


class Middle(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block_1 = ResidualBlock(channels, channels)
        self.attn_1 = PixelAttention(channels)
        self.block_2 = ResidualBlock(channels, channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return self.block_2(self.attn_1(self.block_1(x_BCHW)))


class Level(nn.Module):
    """The blocks of one resolution, with attention after each if asked, and the way to the next."""

    def __init__(self, inputs: int, outputs: int, blocks: int, *, attention: bool) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * blocks
        self.block = nn.ModuleList(ResidualBlock(a, b) for a, b in itertools.pairwise(widths))
        self.attn = nn.ModuleList(PixelAttention(outputs) for _ in range(blocks * attention))
        self.downsample: nn.Module = nn.Identity()
        self.upsample: nn.Module = nn.Identity()

    def forward(self, x_BCHW: Tensor) -> Tensor:
        for i, block in enumerate(self.block):
            x_BCHW = block(x_BCHW)
            if self.attn:
                x_BCHW = self.attn[i](x_BCHW)
        return self.upsample(self.downsample(x_BCHW))


class OfficialEncoder(nn.Module):
    """VAR's encoder: (B, 3, H, W) images to (B, Cvae, H/16, W/16) for five multipliers."""

    def __init__(
        self, channels: int, multipliers: Sequence[int], blocks: int, code_channels: int
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.conv_in = nn.Conv2d(3, channels, 3, padding=1)
        self.down = nn.ModuleList()
        for i, width in enumerate(widths):
            coarsest = i == len(widths) - 1
            level = Level(widths[max(i - 1, 0)], width, blocks, attention=coarsest)
            if not coarsest:
                level.downsample = Downsample(width)
            self.down.append(level)
        self.mid = Middle(widths[-1])
        self.norm_out = group_norm(widths[-1])
        self.conv_out = nn.Conv2d(widths[-1], code_channels, 3, padding=1)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        x = self.conv_in(images_B3HW)
        for level in self.down:
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(self.mid(x))))


class OfficialDecoder(nn.Module):
    """VAR's decoder, the encoder's mirror with one more block a level."""

    def __init__(
        self, channels: int, multipliers: Sequence[int], blocks: int, code_channels: int
    ) -> None:
        super().__init__()
        widths = [channels * m for m in multipliers]
        self.conv_in = nn.Conv2d(code_channels, widths[-1], 3, padding=1)
        self.mid = Middle(widths[-1])
        levels = []
        for i, width in enumerate(widths):
            coarsest = i == len(widths) - 1
            coarser = widths[-1] if coarsest else widths[i + 1]
            level = Level(coarser, width, blocks + 1, attention=coarsest)
            if i:
                level.upsample = Upsample(width)
            levels.append(level)
        self.up = nn.ModuleList(levels)  # finest first, as the checkpoint counts
        self.norm_out = group_norm(widths[0])
        self.conv_out = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        x = self.mid(self.conv_in(features_BCHW))
        for level in reversed(self.up):
            x = level(x)
        return self.conv_out(F.silu(self.norm_out(x)))


class LightBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        return x_BCHW + self.conv2(F.silu(self.conv1(F.silu(x_BCHW))))


class LightEncoder(nn.Module):
    """For small images: fold 4x4 pixels into channels, then a few residual blocks."""

    def __init__(self, channels: int, blocks: int, code_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(3 * LIGHT_PATCH**2, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(LightBlock(channels) for _ in range(blocks)))
        self.conv_out = nn.Conv2d(channels, code_channels, 1)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        x = self.conv_in(F.pixel_unshuffle(images_B3HW, LIGHT_PATCH))
        return self.conv_out(F.silu(self.blocks(x)))


class LightDecoder(nn.Module):
    """Mirror of `LightEncoder`."""

    def __init__(self, channels: int, blocks: int, code_channels: int) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(code_channels, channels, 3, padding=1)
        self.blocks = nn.Sequential(*(LightBlock(channels) for _ in range(blocks)))
        self.conv_out = nn.Conv2d(channels, 3 * LIGHT_PATCH**2, 3, padding=1)

    def forward(self, features_BCHW: Tensor) -> Tensor:
        x = self.blocks(self.conv_in(features_BCHW))
        return F.pixel_shuffle(self.conv_out(F.silu(x)), LIGHT_PATCH)
