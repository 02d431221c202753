"""Where samples lie among real images: precision, recall, density, coverage, and memorised ones.

Each set's manifold is the union of balls about its features that reach to the k-th nearest of their
own. Precision and recall: T. Kynkaanniemi et al., NeurIPS 2019 (arXiv 1904.06991); density and
coverage: M. F. Naeem et al., ICML 2020 (arXiv 2002.09797).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 5
ROWS = 2_000  # features compared with all others at once


@dataclass(frozen=True, kw_only=True)
class Manifold:
    """How samples and real images cover each other.

    Attributes:
        precision: share of samples within some real image's ball.
        recall: share of real images within some sample's ball.
        density: real images' balls that a sample lies in, on average, over `NEIGHBOURS`; about 1
            for samples that are distributed as the real images, and it may exceed 1.
        coverage: share of real images with a sample in their ball.
    """

    precision: float
    recall: float
    density: float
    coverage: float


def manifold(
    samples_NF: np.ndarray, real_MF: np.ndarray, *, neighbours: int = NEIGHBOURS
) -> Manifold:
    """Precision, recall, density and coverage of features.

    Raises:
        ValueError: a set with no more than `neighbours` features.
    """
    least = min(len(samples_NF), len(real_MF))
    if least <= neighbours:
        raise ValueError(f"{least} features: {neighbours} neighbours need at least one more")
    samples, real = _tensor(samples_NF), _tensor(real_MF)
    of_samples_N, of_real_M = _radii(samples, neighbours), _radii(real, neighbours)
    inside, covered_M = [], torch.zeros(len(real), dtype=torch.bool)
    recalled_M = torch.zeros(len(real), dtype=torch.bool)
    for part, radius in zip(samples.split(ROWS), of_samples_N.split(ROWS), strict=True):
        distances = torch.cdist(part, real)
        in_real = distances <= of_real_M
        inside.append(in_real.sum(1))
        covered_M |= in_real.any(0)
        recalled_M |= (distances <= radius[:, None]).any(0)
    balls_N = torch.cat(inside).double()
    return Manifold(
        precision=(balls_N > 0).double().mean().item(),
        recall=recalled_M.double().mean().item(),
        density=balls_N.mean().item() / neighbours,
        coverage=covered_M.double().mean().item(),
    )


def nearest(features_NF: np.ndarray, others_MF: np.ndarray) -> np.ndarray:
    """(N,) distance of each feature to the nearest of the others.

    Samples that lie closer to training images than held-out images do are memorised.
    """
    others = _tensor(others_MF)
    parts = [torch.cdist(part, others).amin(1) for part in _tensor(features_NF).split(ROWS)]
    return torch.cat(parts).numpy()


def _tensor(features_NF: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(features_NF, dtype=np.float32))


def _radii(features_NF: Tensor, neighbours: int) -> Tensor:
    """(N,) distance of each feature to its k-th nearest neighbour, itself not counted."""
    found = []
    for start in range(0, len(features_NF), ROWS):
        distances = torch.cdist(features_NF[start : start + ROWS], features_NF)
        itself = torch.arange(len(distances))
        distances[itself, start + itself] = torch.inf
        found.append(distances.kthvalue(neighbours, dim=1).values)
    return torch.cat(found)
