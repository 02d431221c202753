"""A sampler that behaves as the public implementation is described: what ours is measured against.

Written from the description of its costs, not from its code: the cache grows by concatenation and
keeps all that was computed until the last scale has run, K of it in float32 even under half
precision; every block makes its AdaLN vectors anew at every scale; the head runs in float32 on
both halves of guidance; top-p sorts the whole vocabulary after top-k; all images are decoded at
once; weights stay in float32 and are cast at every use under autocast. The same equations as
`varant.generate`, so the same tokens from the same weights and uniforms.

Shape suffixes: B images, R rows of the network (B, or 2B with guidance), T tokens of one scale,
L tokens so far, H heads, c channels of a head, C width, V vocabulary, v channels of a code,
s positions of the feature map, 6 AdaLN vectors of a block.
"""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from varant.model.attention import MAX_LOG_SCALE, SelfAttention
from varant.model.plan import DepthPlan
from varant.model.sampling import Sample, Watch, draw_tokens, image_uniforms
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import NORM_EPS, VAR, Block


@dataclass(kw_only=True)
class GrowingCache:
    """K and V of every layer that ran, each one tensor that grows; nothing is ever given back."""

    pairs: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)

    def grow(self, layer: int, k_RHTc: Tensor, v_RHTc: Tensor) -> tuple[Tensor, Tensor]:
        if layer in self.pairs:
            k_RHLc, v_RHLc = self.pairs[layer]
            k_RHTc = torch.cat([k_RHLc, k_RHTc], dim=2)
            v_RHTc = torch.cat([v_RHLc, v_RHTc], dim=2)
        self.pairs[layer] = k_RHTc, v_RHTc
        return self.pairs[layer]

    @property
    def bytes(self) -> int:
        return sum(t.numel() * t.element_size() for pair in self.pairs.values() for t in pair)


@torch.no_grad()
def generate_reference_style(
    model: VAR,
    tokenizer: Tokenizer,
    labels_B: Tensor,
    *,
    plan: DepthPlan | None = None,
    cfg: float = 1.5,
    top_k: int = 900,
    top_p: float = 0.96,
    seed: int = 0,
    precision: torch.dtype = torch.float32,
    watch: Watch = lambda stage, scale_index: None,
) -> Sample:
    """Draw images of the given classes, as `varant.generate` does in its own way.

    Args:
        model, tokenizer: with float32 weights that are frozen, whatever the precision.
        precision: of autocast; float32 runs without.
        watch: called as each stage begins, by the names that `varant.generate` calls its own.
    """
    device, last = model.pos_1LC.device, len(model.patch_nums) - 1
    plan = plan or DepthPlan.full(model.patch_nums, model.depth)
    half = precision != torch.float32
    casting = torch.autocast(device.type, precision) if half else nullcontext()
    cache, quantizer, images, tokens = GrowingCache(), tokenizer.quantize, len(labels_B), []
    with casting:
        watch("condition", 0)
        both = torch.cat([labels_B, torch.full_like(labels_B, model.num_classes)])
        class_RC = model.class_emb(both if cfg else labels_B)
        positions_1LC = model.lvl_embed(model.level_L).unsqueeze(0) + model.pos_1LC
        x_RTC = class_RC.unsqueeze(1) + model.pos_start + positions_1LC[:, : plan.tokens[0]]
        features_Bvs, done = torch.zeros((), device=device), 0
        for k, count in enumerate(plan.tokens):
            done += count
            watch("blocks", k)
            shared = model.shared_ada_lin(class_RC) if model.geometry.shared_adaln else None
            for layer in plan.layers[k]:
                block = model.blocks[layer]
                adaln_R6C = block.ada_lin(class_RC) if shared is None else block.ada_gss + shared
                x_RTC = _run_block(block, layer, x_RTC, adaln_R6C, cache)
            watch("head", k)
            with _uncast(device):
                scale, shift = model.head_nm["ada_lin"](class_RC.float()).unbind(2)
                logits_BTV = model.head(_modulated(x_RTC.float(), scale, shift))
            if cfg:
                t = cfg * k / max(last, 1)
                logits_BTV = (1 + t) * logits_BTV[:images] - t * logits_BTV[images:]
            watch("sampling", k)
            logits_BTV = sorted_filter(logits_BTV, top_k=top_k, top_p=top_p)
            uniforms = torch.from_numpy(image_uniforms(seed, range(images), k, count)).to(device)
            tokens.append(draw_tokens(logits_BTV, uniforms))
            watch("map", k)
            with _uncast(device):
                features_Bvs = features_Bvs + quantizer.up(quantizer.codes(tokens[-1]), k)
                if k < last:
                    codes_BTv = quantizer.down(features_Bvs, k + 1).transpose(1, 2)
            if k < last:
                x_BTC = (
                    model.word_embed(codes_BTv) + positions_1LC[:, done:][:, : plan.tokens[k + 1]]
                )
                x_RTC = x_BTC.repeat(2, 1, 1) if cfg else x_BTC
        kv_bytes = cache.bytes
        cache.pairs.clear()
        watch("decode", last)
        drawn = tokenizer.decode_features(features_Bvs).float().add_(1).mul_(0.5)
        watch("end", last)
    return Sample(images=drawn, tokens=torch.cat(tokens, dim=1), kv_bytes_peak=kv_bytes)


def _uncast(device: torch.device) -> AbstractContextManager[object]:
    """Without autocast; meta tensors know none."""
    return nullcontext() if device.type == "meta" else torch.autocast(device.type, enabled=False)


def sorted_filter(logits_BTV: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """The k largest, then the likeliest of them that reach `top_p`, by sorting the vocabulary."""
    if 0 < top_k < logits_BTV.shape[-1]:
        kth = logits_BTV.topk(top_k, dim=-1).values[..., -1:]
        logits_BTV = logits_BTV.masked_fill(logits_BTV < kth, -torch.inf)
    if top_p > 0.0:
        ascending, order = logits_BTV.sort(dim=-1)
        tail = ascending.softmax(dim=-1).cumsum(dim=-1) <= 1 - top_p
        tail[..., -1] = False
        logits_BTV = logits_BTV.masked_fill(tail.scatter(-1, order, tail), -torch.inf)
    return logits_BTV


def _run_block(
    block: Block, layer: int, x_RTC: Tensor, adaln_R6C: Tensor, cache: GrowingCache
) -> Tensor:
    gamma1, gamma2, scale1, scale2, shift1, shift2 = adaln_R6C.unbind(2)
    q_RHTc, k_RHTc, v_RHTc = _project(block.attn, _modulated(x_RTC, scale1, shift1))
    k_RHLc, v_RHLc = cache.grow(layer, k_RHTc, v_RHTc)
    # Autocast casts K back at each call; without it all three are of one type anyway.
    out = F.scaled_dot_product_attention(
        q_RHTc.to(v_RHLc.dtype), k_RHLc.to(v_RHLc.dtype), v_RHLc, scale=1.0
    )
    x_RTC = x_RTC + block.attn.proj(out.transpose(1, 2).flatten(2)) * gamma1
    mixed_RTC: Tensor = block.ffn(_modulated(x_RTC, scale2, shift2))
    return x_RTC + mixed_RTC * gamma2


def _project(attn: SelfAttention, x_RTC: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v; normalising q and k makes float32 of them whatever they were."""
    bias = torch.cat([attn.q_bias, torch.zeros_like(attn.q_bias), attn.v_bias])
    qkv = F.linear(x_RTC, attn.mat_qkv.weight, bias).unflatten(-1, (3, attn.heads, -1))
    q_RHTc, k_RHTc, v_RHTc = qkv.permute(2, 0, 3, 1, 4)
    scale = attn.scale_mul_1H11.clamp_max(MAX_LOG_SCALE).exp()
    return F.normalize(q_RHTc.float(), dim=-1) * scale, F.normalize(k_RHTc.float(), dim=-1), v_RHTc


def _modulated(x_RTC: Tensor, scale_R1C: Tensor, shift_R1C: Tensor) -> Tensor:
    return F.layer_norm(x_RTC, x_RTC.shape[-1:], eps=NORM_EPS) * (1 + scale_R1C) + shift_R1C
