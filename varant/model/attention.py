"""VAR's self-attention, and the rule of who sees whom in a teacher-forced pass.

Shape suffixes: B images, L tokens, C width, H heads, c channels of a head.
"""

import functools
import itertools
import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from varant.model.geometry import Geometry

MAX_LOG_SCALE = math.log(100)  # clamp of the learned attention scale
MASKED_ATTENTION_TOKENS = 224  # see `block_causal_attention`


class AttentionConstants(NamedTuple):
    """Bias of the joint q-k-v product; the learned scale of q's heads, and ones for k's."""

    bias_3C: Tensor
    scale_2H1: Tensor


class SelfAttention(nn.Module):
    """l2-normalised attention; a learned, clamped scale a head stands in for 1/sqrt(c)."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        width, self.heads = geometry.width, geometry.heads
        self.scale_mul_1H11 = nn.Parameter(torch.full((1, self.heads, 1, 1), math.log(4)))
        self.mat_qkv = nn.Linear(width, 3 * width, bias=False)
        # K has no bias: with l2-normalised keys the reference keeps zeros there.
        self.q_bias = nn.Parameter(torch.zeros(width))
        self.v_bias = nn.Parameter(torch.zeros(width))
        self.proj = nn.Linear(width, width)

    def constants(self) -> AttentionConstants:
        """What `project` needs beside tokens: the same at every scale."""
        bias_3C = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        scale_H1 = self.scale_mul_1H11.view(-1, 1).clamp_max(MAX_LOG_SCALE).exp()
        return AttentionConstants(bias_3C, torch.cat([scale_H1, torch.ones_like(scale_H1)]))

    def project(
        self, x_BLC: Tensor, constants: AttentionConstants
    ) -> tuple[Tensor, Tensor, Tensor]:
        """q, k (l2-normalised, q scaled) and v, each (B, H, L, c), in the compute type."""
        qkv_BLX = F.linear(x_BLC, self.mat_qkv.weight, constants.bias_3C)
        qkv_BLHc = qkv_BLX.unflatten(-1, (3 * self.heads, -1))
        qk_BLHc, v_BLHc = qkv_BLHc.split([2 * self.heads, self.heads], dim=2)
        qk_BLHc = qk_BLHc * (constants.scale_2H1 * inverse_norm(qk_BLHc))
        # Autocast promotes it to float32; back in half precision K takes half the cache.
        q_BHLc, k_BHLc = qk_BLHc.to(v_BLHc.dtype).transpose(1, 2).chunk(2, dim=1)
        return q_BHLc, k_BHLc, v_BLHc.transpose(1, 2)

    def merge(self, out_BHLc: Tensor) -> Tensor:
        B, H, L, c = out_BHLc.shape
        return self.proj(out_BHLc.transpose(1, 2).reshape(B, L, H * c))


def inverse_norm(x_BLHc: Tensor) -> Tensor:
    """1 / max(|x|, 1e-12) over the channels: (B, L, H, 1)."""
    # Half precision would lose the square; cheaper than `norm`, whose gradient divides.
    wide = x_BLHc.to(torch.promote_types(x_BLHc.dtype, torch.float32))
    return wide.square().sum(-1, keepdim=True).clamp_min(1e-24).rsqrt()


def block_causal_attention(
    q_BHLc: Tensor, k_BHLc: Tensor, v_BHLc: Tensor, lengths: list[int]
) -> Tensor:
    """Attention in which a token sees its own scale and the earlier ones.

    One unmasked call a scale: exact work (62 % of L x L at the official scales), no mask in
    memory, and every fused kernel applies. Short sequences take one call with a boolean mask
    instead, where the launches of many calls would cost more than they save.

    Args:
        lengths: tokens of each scale, coarse to fine; they sum to L.
    """
    if sum(lengths) <= MASKED_ATTENTION_TOKENS:
        # A fake tensor, or one that is being traced, must not outlive what made it.
        lasting = type(q_BHLc) is Tensor and not torch.compiler.is_compiling()
        make = visible if lasting else visible.__wrapped__
        mask_LL = make(tuple(lengths), q_BHLc.device)
        return F.scaled_dot_product_attention(q_BHLc, k_BHLc, v_BHLc, attn_mask=mask_LL, scale=1.0)
    ends = tuple(itertools.accumulate(lengths))
    keys, values = (Prefixes.apply(x, ends) for x in (k_BHLc, v_BHLc))  # type: ignore[no-untyped-call]
    parts = zip(q_BHLc.split(lengths, dim=2), keys, values, strict=True)
    outputs = [F.scaled_dot_product_attention(*part, scale=1.0).transpose(1, 2) for part in parts]
    # Joined as `merge` wants them, which saves a copy.
    return torch.cat(outputs, dim=1).transpose(1, 2)


@functools.cache
@torch.inference_mode(False)  # where the first caller is in it, a later one may train
def visible(lengths: tuple[int, ...], device: torch.device) -> Tensor:
    """(L, L) bool: whether the token of a row sees that of a column. Made once: an upload waits."""
    counts_K = torch.tensor(lengths, device=device)
    level_L = torch.repeat_interleave(counts_K, output_size=sum(lengths))
    return level_L[:, None] >= level_L


class Prefixes(torch.autograd.Function):
    """Views of the first `end` tokens, for each end up to L, whose gradients add up in one buffer.

    Of plain slices each would fill a tensor of the whole length, for autograd to add up.
    """

    @staticmethod
    def forward(ctx: Any, x_BHLc: Tensor, ends: tuple[int, ...]) -> tuple[Tensor, ...]:
        return tuple(x_BHLc[:, :, :end] for end in ends)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        *shorter, whole_BHLc = grads
        total_BHLc = whole_BHLc.clone()  # what autograd hands over is not ours to change
        for grad_BHTc in reversed(shorter):  # autograd's own order, so the same bits
            total_BHLc[:, :, : grad_BHTc.shape[2]] += grad_BHTc
        return total_BHLc, None
