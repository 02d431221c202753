"""MIND, the sliced Wasserstein distance of features (Q. Berthet et al. 2026, arXiv 2605.06797).

3 F times the mean, over random unit directions, of the squared 2-Wasserstein distance between the
projections of samples and of real images, which sorting gives: no covariance is estimated, and
nothing is taken to be Gaussian.

What ours computes where others choose otherwise. *Directions*: fixed for each number of features,
and in orthonormal sets: each is uniform on the sphere, and a whole set of F measures a shift of the
mean without error. *Counts*: the distance between empirical distributions of N and M images is
exact for any two counts; public implementations throw away images of the larger set.
For N = M both are the same sum.

The distance is biased upwards, by what samples of one distribution differ by; as of the Frechet
distance, the bias falls as 1 / N and depends on the samples, so compare equal counts only.
docs/features.md says how large it is.
"""

import functools

import numpy as np

from varant.evaluation.jackknife import Jackknifed, block_of
from varant.randomness import stream

DIRECTIONS = 256  # at least, in sets of F
SET = 1_000  # directions of a set, at most
AT_ONCE = 64  # directions


def mind(samples_NF: np.ndarray, real_MF: np.ndarray) -> Jackknifed:
    """MIND of samples, and without each block of them; none where a block is all of them."""
    count, centre_F = len(samples_NF), real_MF.mean(axis=0)
    owner_N = block_of(count)
    groups = int(owner_N[-1]) + 1 if count > 1 else 0
    total_G = np.zeros(1 + groups)
    directions_FL = directions(samples_NF.shape[1])
    for some_Fl in np.array_split(directions_FL, -(-directions_FL.shape[1] // AT_ONCE), axis=1):
        drawn_lN = np.ascontiguousarray(((samples_NF - centre_F) @ some_Fl).T)
        order_lN = drawn_lN.argsort(axis=1)
        drawn_lN = np.take_along_axis(drawn_lN, order_lN, axis=1)
        real = _Real(np.sort(((real_MF - centre_F) @ some_Fl).T, axis=1))
        owner_lN = owner_N[order_lN]
        total_G[0] += real.distances(drawn_lN).sum()
        for number in range(groups):
            left_ln = drawn_lN[owner_lN != number].reshape(len(drawn_lN), -1)
            total_G[1 + number] += real.distances(left_ln).sum()
    found_G = total_G * 3 * len(directions_FL) / directions_FL.shape[1]
    return Jackknifed(value=float(found_G[0]), replicates_G=found_G[1:])


@functools.lru_cache(maxsize=4)
def directions(features: int) -> np.ndarray:
    """(F, L) unit directions, orthonormal in sets."""
    shape = features, min(features, SET)
    normals = [
        stream(0, "directions of MIND", number).standard_normal(shape)
        for number in range(-(-DIRECTIONS // features))
    ]
    return np.concatenate([np.linalg.qr(normal).Q for normal in normals], axis=1)


class _Real:
    """Sorted projections (l, M) of real images, and for each number of samples the part of them
    that each sample is moved to."""

    def __init__(self, sorted_lM: np.ndarray) -> None:
        self._sorted_lM = sorted_lM
        self._square_l = np.einsum("lm,lm->l", sorted_lM, sorted_lM) / sorted_lM.shape[1]
        below_lM = np.cumsum(sorted_lM, axis=1)
        self._below_lM = np.pad(below_lM, ((0, 0), (1, 0)))
        self._parts: dict[int, np.ndarray] = {}

    def distances(self, sorted_lN: np.ndarray) -> np.ndarray:
        """(l,) squared Wasserstein distances: mean squares of both less twice the mean product of
        what is moved with where it goes."""
        count = sorted_lN.shape[1]
        if count not in self._parts:
            self._parts[count] = self._means(count)
        product_l = np.einsum("ln,ln->l", sorted_lN, sorted_lN - 2 * self._parts[count])
        return np.asarray(product_l / count + self._square_l)

    def _means(self, count: int) -> np.ndarray:
        """(l, N) mean of each of `count` equal parts of the projections, in order."""
        size = self._sorted_lM.shape[1]
        edges_N = np.arange(count + 1) * size
        whole_N, rest_N = edges_N // count, edges_N % count / count
        last_N = np.minimum(whole_N, size - 1)
        until_lN = self._below_lM[:, whole_N] + rest_N * self._sorted_lM[:, last_N]
        return np.asarray(np.diff(until_lN, axis=1) * (count / size))
