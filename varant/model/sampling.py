"""Generation: scale after scale under a depth plan, with guidance and paired random numbers.

Shape suffixes: B images, R rows of the network (B, or 2B with guidance), L tokens of all scales,
T tokens of one scale, V vocabulary, v channels of a code, s positions of the feature map.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from varant.errors import UserError
from varant.model.cache import KVCache
from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR

# Heads, probabilities and decoded images are made for as many images at once as fit beside the KV
# cache below its peak, or into this, so that they do not undo what a plan saves.
LEAST_ROOM = 64 * 2**20  # bytes
DRAWING_BYTES = 32  # a token and code: logits, filtered, and three float64 forms of probabilities

Watch = Callable[[str, int], object]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A generated batch.

    Attributes:
        images: (B, 3, H, W) float32 in [0, 1].
        tokens: (B, L) int64.
        kv_bytes_peak: bytes of cached K and V that were held at once, read off the tensors.
    """

    images: Tensor
    tokens: Tensor
    kv_bytes_peak: int


def image_uniforms(
    seed: int, image_indices: Sequence[int], scale_index: int, tokens: int
) -> np.ndarray:
    """(B, tokens) float64 uniforms in [0, 1) that images draw their tokens of one scale with.

    Image i's are a function of (seed, i, scale) alone: Philox keyed by seed and scale, with a
    counter block of its own for each image. So batch size, order and device change nothing, and
    two plans under one seed are paired.
    """
    blocks = -(-tokens // 4)  # a Philox counter yields four 64-bit words, one a uniform
    indices = np.asarray(image_indices, dtype=np.int64)
    key = np.array([seed, scale_index], dtype=np.uint64)

    def draw(first: int, images: int) -> np.ndarray:
        bits = np.random.Philox(key=key, counter=[first * blocks, 0, 0, 0])
        return np.random.Generator(bits).random((images, 4 * blocks))[:, :tokens]

    if len(indices) and np.array_equal(indices, np.arange(indices[0], indices[0] + len(indices))):
        return draw(int(indices[0]), len(indices))
    drawn = [draw(int(i), 1) for i in indices]
    return np.concatenate(drawn) if drawn else np.empty((0, tokens))


def filter_logits(logits: Tensor, *, top_k: int, top_p: float) -> Tensor:
    """(..., V) logits with all but the likeliest codes at -inf.

    Args:
        top_k: keep the k largest (ties with the k-th are kept); 0 keeps all.
        top_p: then keep the smallest set of likeliest codes that reaches it; 0.0 keeps all.
    """
    vocabulary = logits.shape[-1]
    top_k = top_k if 0 < top_k < vocabulary else vocabulary
    if top_p == 0.0 and top_k == vocabulary:
        return logits
    top = logits.topk(top_k, dim=-1)  # sorted: both cuts read it
    least = top.values[..., -1:]
    if top_p == 0.0:
        return logits.masked_fill(logits < least, -torch.inf)
    # Codes that tie with the k-th and are not among the k stay or go with it.
    ties = (logits >= least).sum(-1, keepdim=True, dtype=torch.int32) - top_k
    ascending, order = top.values.flip(-1), top.indices.flip(-1)
    weights = (ascending - ascending[..., -1:]).exp()
    below = ties * weights[..., :1] + weights.cumsum(dim=-1)
    tail = below <= (1 - top_p) * below[..., -1:]
    tail[..., -1] = False
    kept = ascending.masked_fill(tail, -torch.inf)
    filtered = torch.full_like(logits, -torch.inf).scatter_(-1, order, kept)
    return torch.where((logits == least) & ~tail[..., :1], logits, filtered)


def draw_tokens(logits_BTV: Tensor, uniforms_BT: Tensor) -> Tensor:
    """(B, T) tokens by inverting the cumulative distribution, in float64.

    Codes that a filter removed have probability zero and are never drawn.
    """
    cumulative = logits_BTV.double().softmax(dim=-1).cumsum(dim=-1)
    total = cumulative[..., -1:]
    # Below the total even where the product rounds up to it: the index stays in the vocabulary.
    below = total.nextafter(torch.zeros_like(total))
    target = torch.minimum(uniforms_BT.unsqueeze(-1) * total, below)
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1)


@torch.no_grad()
def generate(
    model: VAR,
    tokenizer: Tokenizer,
    labels_B: Tensor,
    *,
    plan: DepthPlan | str | Path | None = None,
    cfg: float = 1.5,
    top_k: int = 900,
    top_p: float = 0.96,
    seed: int = 0,
    image_indices: Sequence[int] | None = None,
    given: Tensor | None = None,
    until: int | None = None,
    make_cache: Callable[[DepthPlan], KVCache] | None = None,
    watch: Watch = lambda stage, scale_index: None,
) -> Sample:
    """Draw images of the given classes.

    Args:
        labels_B: (B,) int64 classes.
        plan: a `DepthPlan`, or text or a file as `DepthPlan.parse` takes it; None: full depth.
        cfg: classifier-free guidance, t = cfg * scale_index / (K - 1) (VAR's rule); 0 runs the
            conditional half alone.
        top_k, top_p: filters as `filter_logits` applies them; 0 and 0.0 switch them off.
        seed, image_indices: image i draws with the uniforms of (seed, image_indices[i]);
            default 0..B-1.
        given: (B, tokens of the first scales) that are not drawn; their K and V are cached as if
            they had been, and no head is run for them.
        until: as many scales are run and drawn, and the image is what they make; None: all.
        make_cache: another cache than `KVCache`, such as one that keeps less.
        watch: called with (stage, scale_index) as each stage begins: `condition`; at every scale
            `blocks`, `head`, `sampling`, `map` (codes into the image so far); then `decode` and
            `end`. The last four may come several times, a part of the batch each.

    Raises:
        UserError: a plan for another network, labels or filters out of range.
    """
    sides, device = model.patch_nums, model.pos_1LC.device
    if isinstance(plan, str | Path):
        plan = DepthPlan.parse(plan, sides, model.depth)
    plan = plan or DepthPlan.full(sides, model.depth)
    plan.check_fits(sides, model.depth)
    labels_B = labels_B.to(device)
    indices = range(len(labels_B)) if image_indices is None else image_indices
    _check_inputs(model, tokenizer, labels_B, indices)
    _check_drawing(top_k=top_k, top_p=top_p, cfg=cfg, seed=seed)
    guided, last = cfg != 0, len(plan.layers) - 1
    drawn = plan if until is None else plan.begun(until)
    fixed = _given_scales(given, drawn, len(labels_B), device)
    watch("condition", 0)
    uniforms_BL = np.concatenate(
        [image_uniforms(seed, indices, k, count) for k, count in enumerate(drawn.tokens)], axis=1
    )
    uniforms = torch.from_numpy(uniforms_BL).to(device).split(drawn.tokens, dim=1)
    halves = [labels_B, torch.full_like(labels_B, model.num_classes)]
    condition = model.condition(torch.cat(halves) if guided else labels_B, drawn)
    cost = plan_cost(
        model.geometry,
        plan,
        batch=len(labels_B),
        guidance=guided,
        kv_bytes=model.pos_1LC.element_size(),
    )
    cache, quantizer = (make_cache or KVCache)(drawn), tokenizer.quantize
    codes_BTv, features_Bvs, tokens = None, torch.zeros((), device=device), list[Tensor]()

    def draw(scale_index: int, hidden_BTC: Tensor, uniforms_BT: Tensor) -> Tensor:
        watch("head", scale_index)
        logits_BTV = model.head(hidden_BTC).float()
        watch("sampling", scale_index)
        return draw_tokens(filter_logits(logits_BTV, top_k=top_k, top_p=top_p), uniforms_BT)

    for k, uniforms_BT in enumerate(uniforms):
        watch("blocks", k)
        hidden_RTC = model.run_scale(k, codes_BTv, condition, drawn, cache)
        if k < len(fixed):
            tokens.append(fixed[k])
        else:
            hidden_BTC = model.head_input(hidden_RTC, condition)
            if guided:  # the head is linear and (1 + t) - t = 1, so mixing before it is exact
                t = cfg * k / max(last, 1)
                conditional, unconditional = hidden_BTC.chunk(2)
                hidden_BTC = (1 + t) * conditional - t * unconditional
            room = max(LEAST_ROOM, cost.kv_bytes_peak - cache.bytes_held)
            at_once = max(1, room // (DRAWING_BYTES * plan.tokens[k] * model.vocab_size))
            parts = zip(hidden_BTC.split(at_once), uniforms_BT.split(at_once), strict=True)
            tokens.append(torch.cat([draw(k, *part) for part in parts]))
        watch("map", k)
        features_Bvs = features_Bvs + quantizer.up(quantizer.codes(tokens[-1]), k)
        if k < last:
            codes_BTv = quantizer.down(features_Bvs, k + 1).transpose(1, 2)
    watch("decode", last)
    bytes_an_image = tokenizer.config.decoded_elements * tokenizer.decoder_type.itemsize
    at_once = max(1, max(LEAST_ROOM, cache.bytes_peak) // bytes_an_image)
    images = [tokenizer.decode_features(part).float() for part in features_Bvs.split(at_once)]
    sample = Sample(
        images=torch.cat(images).add_(1).div_(2),
        tokens=torch.cat(tokens, dim=1),
        kv_bytes_peak=cache.bytes_peak,
    )
    watch("end", last)
    return sample


def _given_scales(
    given_BL: Tensor | None, plan: DepthPlan, images: int, device: torch.device
) -> tuple[Tensor, ...]:
    """(B, T) tokens of each scale that is given."""
    if given_BL is None:
        return ()
    ends = list(itertools.accumulate(plan.tokens))
    count = given_BL.shape[-1]
    if given_BL.shape != (images, count) or count not in ends:
        raise UserError(
            f"given tokens of shape {tuple(given_BL.shape)}: need ({images}, tokens of the first "
            f"scales), so many: {', '.join(map(str, ends))}"
        )
    return given_BL.to(device).split(plan.tokens[: ends.index(count) + 1], dim=1)


def _check_inputs(
    model: VAR, tokenizer: Tokenizer, labels_B: Tensor, indices: Sequence[int]
) -> None:
    if tokenizer.patch_nums != model.patch_nums or tokenizer.vocab_size != model.vocab_size:
        raise UserError(
            f"tokenizer with scales {tokenizer.patch_nums} and {tokenizer.vocab_size} codes: the "
            f"network has {model.patch_nums} and {model.vocab_size}"
        )
    if tokenizer.config.code_channels != model.geometry.code_channels:
        raise UserError(
            f"tokenizer with codes of {tokenizer.config.code_channels} channels: the network takes "
            f"{model.geometry.code_channels}"
        )
    if labels_B.is_floating_point():
        raise UserError(f"labels of type {labels_B.dtype}: need integers")
    if labels_B.ndim != 1 or len(labels_B) == 0:
        raise UserError(f"labels of shape {tuple(labels_B.shape)}: need (B,), at least one")
    lowest, highest, classes = int(labels_B.min()), int(labels_B.max()), model.num_classes
    if lowest < 0 or highest > classes:
        raise UserError(
            f"labels from {lowest} to {highest}: the network has classes 0 to {classes - 1}, and "
            f"{classes} for unconditional"
        )
    if len(indices) != len(labels_B):
        raise UserError(f"{len(indices)} image_indices for {len(labels_B)} labels: one a label")
    if min(indices) < 0:
        raise UserError(f"image_indices with {min(indices)}: must be 0 or more")


def _check_drawing(*, top_k: int, top_p: float, cfg: float, seed: int) -> None:
    if top_k < 0:
        raise UserError(f"top_k {top_k}: must be 0 (off) or more")
    if not 0.0 <= top_p <= 1.0:
        raise UserError(f"top_p {top_p}: must be from 0.0 (off) to 1.0")
    if not np.isfinite(cfg):
        raise UserError(f"cfg {cfg}: must be a finite number")
    if not 0 <= seed < 2**64:
        raise UserError(f"seed {seed}: must be from 0 to 2**64 - 1")
