"""An independent forward pass of the VAR under a plan: dense masks, float64, plain code.

Written from the paper's equations and the semantics of a plan; shares nothing with
`varant.model.transformer` but the names of the tensors.
"""

from __future__ import annotations

import math

import torch


def levels(patch_nums):
    """(L,) scale of each token."""
    return torch.tensor([k for k, p in enumerate(patch_nums) for _ in range(p * p)])


def layer_norm(x):
    mean = x.mean(-1, keepdim=True)
    variance = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(variance + 1e-6)


def silu(x):
    return x / (1 + torch.exp(-x))


def gelu_tanh(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def linear(state, name, x):
    return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]


def forward(state, heads, patch_nums, depth, layers, inputs, labels):
    """Logits (B, L, V) of a float64 state dict; `layers` holds the layers of each scale."""
    level = levels(patch_nums)
    condition = state["class_emb.weight"][labels]
    first = condition[:, None] + state["pos_start"]
    x = torch.cat([first, linear(state, "word_embed", inputs)], dim=1)
    x = x + state["lvl_embed.weight"][level] + state["pos_1LC"]
    B, L, W = x.shape
    c = W // heads
    for layer in range(depth):
        name = f"blocks.{layer}"
        passes = torch.tensor([layer in layers[k] for k in level.tolist()])
        if not passes.any():
            continue
        if f"{name}.ada_gss" in state:
            shared = linear(state, "shared_ada_lin.1", silu(condition)).view(B, 1, 6, W)
            vectors = state[f"{name}.ada_gss"] + shared
        else:
            vectors = linear(state, f"{name}.ada_lin.1", silu(condition)).view(B, 1, 6, W)
        gamma1, gamma2, scale1, scale2, shift1, shift2 = vectors.unbind(2)
        h = layer_norm(x) * (1 + scale1) + shift1
        zeros = torch.zeros_like(state[f"{name}.attn.q_bias"])
        bias = torch.cat([state[f"{name}.attn.q_bias"], zeros, state[f"{name}.attn.v_bias"]])
        qkv = (h @ state[f"{name}.attn.mat_qkv.weight"].T + bias).view(B, L, 3, heads, c)
        q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
        q = q / q.norm(dim=-1, keepdim=True)
        k = k / k.norm(dim=-1, keepdim=True)
        factor = state[f"{name}.attn.scale_mul_1H11"].clamp(max=math.log(100)).exp()
        weights = torch.einsum("bihc,bjhc->bhij", q, k) * factor
        visible = (level[:, None] >= level[None]) & passes[None]
        weights = weights.masked_fill(~visible, -torch.inf)
        # A token that no visible key exists for does not pass this layer; its row is not used.
        weights = torch.nan_to_num(weights.softmax(-1))
        out = torch.einsum("bhij,bjhc->bihc", weights, v).reshape(B, L, W)
        y = x + gamma1 * linear(state, f"{name}.attn.proj", out)
        h = layer_norm(y) * (1 + scale2) + shift2
        y = y + gamma2 * linear(
            state, f"{name}.ffn.fc2", gelu_tanh(linear(state, f"{name}.ffn.fc1", h))
        )
        x = torch.where(passes[None, :, None], y, x)
    scale, shift = linear(state, "head_nm.ada_lin.1", silu(condition)).view(B, 1, 2, W).unbind(2)
    return linear(state, "head", layer_norm(x) * (1 + scale) + shift)
