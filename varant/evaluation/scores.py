"""Scores of generated images from features: each of all samples, with its jackknife replicates."""

from dataclasses import replace

import numpy as np

from varant.evaluation.features import Features
from varant.evaluation.inception_score import dealt, inception_score
from varant.evaluation.jackknife import Jackknifed, blocks
from varant.evaluation.kernel import class_kid
from varant.evaluation.manifold import NEIGHBOURS, manifold
from varant.evaluation.mind import mind
from varant.evaluation.reference import Gaussian, Reference


def scores(
    samples: Features, labels_N: np.ndarray, reference: Reference, *, shared: bool = False
) -> dict[str, Jackknifed]:
    """All scores of samples with labels `labels_N` that the reference and the extractor allow.

    `frechet`: of the two Gaussians; falls with the sample count, so compare equal counts only.
    `spatial_frechet` (sFID) is that of spatial features, `inception_score` needs no reference; both
    where the network gives what they need. `mind`: in place of Gaussians, sorted projections; where
    the reference has features.
    `class_kid`: mean over classes of the kernel distance, unbiased; where the reference has
    features and labels. `class_accuracy`: share of samples that the network gives their label;
    where it has classes. `precision`, `recall`, `density`, `coverage`: without replicates; where
    the reference has features and both sets more than `NEIGHBOURS`.

    With 2,000 features a Frechet distance and its 20 replicates take 21 eigendecompositions, about
    half a minute on one core: little beside the hours that features of 10,000 images take there.

    Args:
        shared: whether other samples are scored against the same reference, whose chance is then
            common to all: distances to its features have their values without each of its blocks,
            too.

    Raises:
        ValueError: fewer than two samples, a reference of other features, or a class too
            small for `class_kid`.
    """
    features_NF, real_MF = samples.features_NF, reference.features_NF
    found = {"frechet": frechet(features_NF, reference.gaussian)}
    if shared and real_MF is not None:
        mine = Gaussian.of(features_NF)  # the distance is symmetric: its root is found once
        without = [frechet_distance(other, mine) for other in Gaussian.without_blocks(real_MF)]
        found["frechet"] = replace(found["frechet"], common_R=np.array(without))
    if samples.spatial_NS is not None and reference.spatial is not None:
        found["spatial_frechet"] = frechet(samples.spatial_NS.astype(np.float64), reference.spatial)
    if samples.probabilities_NC is not None:
        found["inception_score"] = inception_score(samples.probabilities_NC, dealt(len(samples)))
    if samples.classes_N is not None:
        found["class_accuracy"] = _accuracy(samples.classes_N == labels_N)
    if real_MF is None:
        return found
    found["mind"] = mind(features_NF, real_MF)
    if reference.labels_N is not None:
        found["class_kid"] = class_kid(features_NF, labels_N, reference)
    if shared:  # both are symmetric: what samples are to the reference, it is to them
        mirrored = {"mind": mind(real_MF, features_NF)}
        if reference.labels_N is not None:
            drawn = Reference(features_NF=features_NF, labels_N=labels_N)
            asked_M = np.isin(reference.labels_N, labels_N)
            classes_M = reference.labels_N[asked_M]
            if _keep_two(classes_M):
                asked_MF = real_MF if asked_M.all() else real_MF[asked_M]
                mirrored["class_kid"] = class_kid(asked_MF, classes_M, drawn)
        for name, one in mirrored.items():
            found[name] = replace(found[name], common_R=one.replicates_G)
    if min(len(features_NF), len(real_MF)) <= NEIGHBOURS:
        return found
    values = vars(manifold(features_NF, real_MF, reference.radii_M))
    return found | {k: Jackknifed(value=v) for k, v in values.items()}


def frechet(features_NF: np.ndarray, reference: Gaussian) -> Jackknifed:
    """Frechet distance of features, and without each block of them.

    There are no replicates where a block is all but one of the samples. `ValueError` as `scores`.
    """
    without = Gaussian.without_blocks(features_NF)
    return Jackknifed(
        value=frechet_distance(Gaussian.of(features_NF), reference),
        replicates_G=np.array([frechet_distance(one, reference) for one in without]),
    )


def frechet_distance(one: Gaussian, reference: Gaussian) -> float:
    """Frechet distance between two Gaussians; `ValueError` where their features differ in number.

    |m - m_R|^2 + tr S + tr S_R - 2 tr sqrt(R S R), R the root of S_R: D. C. Dowson and B. V. Landau
    (Journal of Multivariate Analysis 12, 1982). R is computed once; R S R is symmetric, so its
    eigenvalues are enough and a singular S is no trouble.
    """
    if one.mean_F.shape != reference.mean_F.shape:
        raise ValueError(
            f"samples with {len(one.mean_F)} features, a reference with {len(reference.mean_F)}: "
            "one extractor must give both"
        )
    root_FF = reference.root_FF
    shared_F = np.linalg.eigvalsh(root_FF @ one.covariance_FF @ root_FF)
    spread = np.trace(one.covariance_FF) + np.trace(reference.covariance_FF)
    shift_F = one.mean_F - reference.mean_F
    return float(shift_F @ shift_F + spread - 2 * np.sqrt(shared_F.clip(min=0)).sum())


def _keep_two(classes_N: np.ndarray) -> bool:
    """Whether every class has two images without any of the blocks; else replicates would be of
    fewer classes, and what classes differ by would pass for chance."""
    _, places_N, counts_C = np.unique(classes_N, return_inverse=True, return_counts=True)
    gone = (
        np.bincount(places_N[block], minlength=len(counts_C)) for block in blocks(len(places_N))
    )
    return all((counts_C - gone_C).min() >= 2 for gone_C in gone)


def _accuracy(right_N: np.ndarray) -> Jackknifed:
    without = [np.delete(right_N, block).mean() for block in blocks(len(right_N))]
    return Jackknifed(value=float(right_N.mean()), replicates_G=np.array(without))
