"""Scores of generated images from features: distances by clean-fid's functions, and accuracy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from varant.evaluation.cleanfid_import import cleanfid_fid
from varant.evaluation.features import Features

KID_SUBSETS = 20


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What generated images are compared with: features of reconstructed held-out images.

    Attributes:
        features_NF: (N, F) float64.
        labels_N: (N,) int64 true classes.
    """

    features_NF: np.ndarray
    labels_N: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one set of samples.

    Attributes:
        frechet: Frechet distance of the two Gaussians (Dowson and Landau 1982); falls with the
            sample count, so compare equal counts only.
        class_kid: mean over classes of the kernel distance (cubic polynomial kernel, unbiased).
        class_accuracy: share of samples that the feature network gives their label.
    """

    frechet: float
    class_kid: float
    class_accuracy: float


def score(samples: Features, labels_N: np.ndarray, reference: Reference) -> Scores:
    """Scores of samples with labels `labels_N`.

    Raises:
        ValueError: fewer than two samples, or a class with fewer than two in either set.
    """
    if len(labels_N) < 2:
        raise ValueError(f"{len(labels_N)} samples: a distance needs at least two")
    return Scores(
        frechet=frechet_distance(samples.features_NF, reference.features_NF),
        class_kid=class_kid(samples.features_NF, labels_N, reference),
        class_accuracy=float((samples.classes_N == labels_N).mean()),
    )


def frechet_distance(one_NF: np.ndarray, other_NF: np.ndarray) -> float:
    """Frechet distance between Gaussians fitted to two sets of features."""
    statistics = [(f.mean(axis=0), np.cov(f, rowvar=False)) for f in (one_NF, other_NF)]
    (mean_1, covariance_1), (mean_2, covariance_2) = statistics
    return float(cleanfid_fid().frechet_distance(mean_1, covariance_1, mean_2, covariance_2))


def class_kid(features_NF: np.ndarray, labels_N: np.ndarray, reference: Reference) -> float:
    """Kernel distance within each class, averaged over the classes present.

    clean-fid draws its subsets with NumPy's global generator: it is seeded here, so that two
    plans are compared with the same subsets, and put back as it was.
    """
    state = np.random.get_state()
    try:
        np.random.seed(0)
        distances = []
        for label in np.unique(labels_N):
            one = features_NF[labels_N == label]
            other = reference.features_NF[reference.labels_N == label]
            if min(len(one), len(other)) < 2:
                raise ValueError(
                    f"class {label}: {len(one)} samples and {len(other)} reference images; a "
                    "kernel distance needs at least two of each"
                )
            distances.append(cleanfid_fid().kernel_distance(other, one, num_subsets=KID_SUBSETS))
    finally:
        np.random.set_state(state)
    return float(np.mean(distances))
