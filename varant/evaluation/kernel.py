"""The kernel distance (KID) within classes, exactly: every pair of features, no random subsets.

The squared maximum mean discrepancy of A. Gretton et al. (JMLR 13, 2012, eq. 3), unbiased, with
the kernel k(x, y) = (x.y / F + 1)^3 of M. Binkowski et al. (ICLR 2018, arXiv 1801.01401), whose
distance this is: theirs and clean-fid's average it over random subsets.
"""

import numpy as np

from varant.evaluation.jackknife import Jackknifed, block_of
from varant.evaluation.reference import Reference


def class_kid(features_NF: np.ndarray, labels_N: np.ndarray, reference: Reference) -> Jackknifed:
    """Kernel distance within each class of the samples, averaged over these classes.

    A replicate averages over the classes that keep two samples without its block. There are no
    replicates where a block takes that from every class.

    Raises:
        ValueError: a class with fewer than two samples or reference images.
    """
    assert reference.features_NF is not None and reference.labels_N is not None
    block_N = block_of(len(labels_N))
    groups = int(block_N[-1]) + 1
    values, without_CG = [], []
    for label in np.unique(labels_N):
        chosen_N, real_M = labels_N == label, reference.labels_N == label
        if min(chosen_N.sum(), real_M.sum()) < 2:
            raise ValueError(
                f"class {label}: {chosen_N.sum()} samples and {real_M.sum()} reference images; a "
                "kernel distance needs at least two of each"
            )
        owner_nG = (block_N[chosen_N, None] == np.arange(groups)).astype(np.float64)
        samples_nF, real_mF = features_NF[chosen_N], reference.features_NF[real_M]
        value, without_G = _distance(samples_nF, owner_nG, real_mF)
        values.append(value)
        without_CG.append(without_G)
    defined_CG = np.isfinite(without_CG)
    replicates_G = np.nanmean(without_CG, axis=0) if defined_CG.any(axis=0).all() else np.empty(0)
    return Jackknifed(value=float(np.mean(values)), replicates_G=replicates_G)


def _distance(
    samples_nF: np.ndarray, owner_nG: np.ndarray, real_mF: np.ndarray
) -> tuple[float, np.ndarray]:
    """The distance, and (G,) that without each block: NaN where it leaves fewer than two.

    `owner_nG` says which block each sample is in. All follow from sums of the kernel by block.
    """
    real = _off_diagonal_mean(real_mF)
    kernel_nn = _kernel(samples_nF, samples_nF)
    np.fill_diagonal(kernel_nn, 0.0)
    among_GG = owner_nG.T @ (kernel_nn @ owner_nG)
    with_real_G = owner_nG.T @ _kernel(samples_nF, real_mF).mean(axis=1)
    count, kept_G = len(samples_nF), len(samples_nF) - owner_nG.sum(axis=0)
    value = among_GG.sum() / (count * (count - 1)) + real - 2 * with_real_G.sum() / count
    among_G = among_GG.sum() - 2 * among_GG.sum(axis=0) + among_GG.diagonal()
    with np.errstate(divide="ignore", invalid="ignore"):
        without_G = among_G / (kept_G * (kept_G - 1)) + real
        without_G -= 2 * (with_real_G.sum() - with_real_G) / kept_G
    return float(value), np.where(kept_G > 1, without_G, np.nan)


def _kernel(one_nF: np.ndarray, other_mF: np.ndarray) -> np.ndarray:
    scaled_nm = one_nF @ other_mF.T / one_nF.shape[1] + 1
    return np.asarray(scaled_nm * scaled_nm * scaled_nm)


def _off_diagonal_mean(real_mF: np.ndarray) -> float:
    kernel_mm, count = _kernel(real_mF, real_mF), len(real_mF)
    return float((kernel_mm.sum() - np.trace(kernel_mm)) / (count * (count - 1)))
