"""Teacher-forced negative log-likelihood, scale by scale and image by image."""

import numpy as np
import torch
import torch.nn.functional as F

from varant.data.tokens import TokenSplit
from varant.devices import batch_of
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR

MOST_IMAGES = 100  # at once


@torch.no_grad()
def nll_per_scale(
    model: VAR,
    tokenizer: Tokenizer,
    tokens: TokenSplit,
    plan: DepthPlan | None = None,
    *,
    images: int | None = None,
) -> np.ndarray:
    """Mean NLL of each scale's tokens in nats a token, for each image: (N, K) float64.

    `images` takes the first so many; None takes all.

    Errors do not propagate here as they do in generation: every scale sees the true earlier ones.
    """
    rows, device = [], model.pos_1LC.device
    batch = batch_of(_bytes_of(model.geometry), most=MOST_IMAGES)
    count = len(tokens) if images is None else min(images, len(tokens))
    for start in range(0, count, batch):
        part = tokens.rows(slice(start, min(count, start + batch)))
        tokens_BL = part.tokens_NL.to(device)
        logits = model(tokenizer.teacher_inputs(tokens_BL), part.labels_N.to(device), plan)
        loss = F.cross_entropy(logits.transpose(1, 2).float(), tokens_BL, reduction="none")
        counts = [p * p for p in model.patch_nums]
        rows.append(torch.stack([s.double().mean(1) for s in loss.split(counts, dim=1)], dim=1))
    return torch.cat(rows).cpu().numpy()


def _bytes_of(geometry: Geometry) -> int:
    """What an image holds at once, in float32: about 16 vectors of the width a token in a block
    (q, k, v, the MLP's hidden ones twice), three sets of logits after the last."""
    return 4 * geometry.tokens * (16 * geometry.width + 3 * geometry.vocab_size)


def mean_nll(per_scale_NK: np.ndarray, patch_nums: tuple[int, ...]) -> np.ndarray:
    """(N,) NLL over all tokens of each image, in nats a token."""
    counts = np.array([p * p for p in patch_nums])
    return np.asarray(per_scale_NK @ counts / counts.sum())
