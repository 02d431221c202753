"""Where samples lie among real images: precision, recall, density, coverage, and memorised ones.

Each set's manifold is the union of balls about its features that reach to the k-th nearest of their
own. Precision and recall: T. Kynkaanniemi et al., NeurIPS 2019 (arXiv 1904.06991); density and
coverage: M. F. Naeem et al., ICML 2020 (arXiv 2002.09797).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from torch import Tensor

NEIGHBOURS = 5
NEAR_QUANTILE = 0.05  # of held-out images' distances to the nearest training image
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
    samples_NF: np.ndarray, real_MF: np.ndarray, radii_M: np.ndarray | None = None
) -> Manifold:
    """Precision, recall, density and coverage of features.

    Args:
        radii_M: of the real images' balls, where they are known: they are the same for all samples.

    Raises:
        ValueError: a set with no more than `NEIGHBOURS` features.
    """
    least = min(len(samples_NF), len(real_MF))
    if least <= NEIGHBOURS:
        raise ValueError(f"{least} features: {NEIGHBOURS} neighbours need at least one more")
    samples, real = _tensor(samples_NF), _tensor(real_MF)
    of_samples_N = radii(samples_NF)
    of_real_M = radii(real_MF) if radii_M is None else radii_M
    balls, covered_M, recalled_M = [], np.zeros(len(real), bool), np.zeros(len(real), bool)
    for start in range(0, len(samples), ROWS):
        # NumPy compares and counts ten times as fast as torch.
        distances_nM = torch.cdist(samples[start : start + ROWS], real).numpy()
        in_real_nM = distances_nM <= of_real_M
        balls.append(np.count_nonzero(in_real_nM, axis=1))
        covered_M |= in_real_nM.any(axis=0)
        recalled_M |= (distances_nM <= of_samples_N[start : start + ROWS, None]).any(axis=0)
    balls_N = np.concatenate(balls)
    return Manifold(
        precision=float((balls_N > 0).mean()),
        recall=float(recalled_M.mean()),
        density=float(balls_N.mean()) / NEIGHBOURS,
        coverage=float(covered_M.mean()),
    )


@dataclass(frozen=True, kw_only=True)
class Training:
    """Training images that samples may be copies of: features (M, F) of their reconstructions.

    Attributes:
        near: distance that 5 % of held-out images are nearer to some training image than.
    """

    features_MF: np.ndarray
    near: float

    @classmethod
    def of(cls, features_MF: np.ndarray, held_out_HF: np.ndarray) -> Self:
        """Held-out images must be processed as samples are: reconstructed."""
        near = np.quantile(nearest(held_out_HF, features_MF), NEAR_QUANTILE)
        return cls(features_MF=features_MF, near=float(near))

    def memorised(self, samples_NF: np.ndarray) -> float:
        """Share of samples that lie nearer to a training image than `near`.

        About 0.05 where samples are distributed as held-out images, 1 where all are copies.
        """
        return float((nearest(samples_NF, self.features_MF) < self.near).mean())


def nearest(features_NF: np.ndarray, others_MF: np.ndarray) -> np.ndarray:
    """(N,) distance of each feature to the nearest of the others."""
    others = _tensor(others_MF)
    parts = [_squares(part, others).amin(1) for part in _tensor(features_NF).split(ROWS)]
    return torch.cat(parts).sqrt().numpy()


def radii(features_NF: np.ndarray) -> np.ndarray:
    """(N,) distance of each feature to its k-th nearest neighbour, itself not counted."""
    features, found = _tensor(features_NF), []
    for start in range(0, len(features), ROWS):
        squares = _squares(features[start : start + ROWS], features)
        itself = torch.arange(len(squares))
        squares[itself, start + itself] = torch.inf
        found.append(squares.topk(NEIGHBOURS, dim=1, largest=False, sorted=False).values.amax(1))
    return torch.cat(found).sqrt().numpy()


def _squares(one_nF: Tensor, other_mF: Tensor) -> Tensor:
    """(n, m) squared distances, in one product as `torch.cdist` has it, without n m roots."""
    ones = [torch.ones(len(side), 1) for side in (one_nF, other_mF)]
    norms = [side.square().sum(1, keepdim=True) for side in (one_nF, other_mF)]
    one = torch.cat([-2 * one_nF, norms[0], ones[0]], dim=1)
    return (one @ torch.cat([other_mF, ones[1], norms[1]], dim=1).T).clamp_min_(0)


def _tensor(features_NF: np.ndarray) -> Tensor:
    return torch.from_numpy(np.asarray(features_NF, dtype=np.float32))
