"""The Inception score of T. Salimans et al., NeurIPS 2016 (arXiv 1606.03498), higher being better.

exp of the mean, over images, of the divergence of an image's class probabilities from the mean of
all, averaged over splits; splits of 5,000 images as in ADM's evaluator.
"""

import numpy as np

from varant.evaluation.jackknife import Jackknifed, block_of

SPLIT = 5_000  # images


def dealt(count: int) -> np.ndarray:
    """(N,) which split each image is in, dealt in turn.

    ADM's evaluator takes splits of consecutive images. Where images come class by class, each split
    would hold few classes, and the score would be lower; dealt, each holds all of them, as if the
    images had been shuffled before.
    """
    return np.arange(count) % -(-count // SPLIT)


def inception_score(probabilities_NC: np.ndarray, split_N: np.ndarray) -> Jackknifed:
    """The score of images with these class probabilities, `split_N` being the split of each."""
    entropy_N = _plogp(probabilities_NC).sum(axis=1)

    def score(kept_N: np.ndarray) -> float:
        found = []
        for split in np.unique(split_N[kept_N]):
            chosen_N = kept_N & (split_N == split)
            mean_C = probabilities_NC[chosen_N].mean(axis=0, dtype=np.float64)
            found.append(np.exp(entropy_N[chosen_N].mean() - _plogp(mean_C).sum()))
        return float(np.mean(found))

    block_N = block_of(len(split_N))
    without = [score(block_N != block) for block in np.unique(block_N)]
    return Jackknifed(value=score(block_N >= 0), replicates_G=np.array(without))


def _plogp(p: np.ndarray) -> np.ndarray:
    """p log p, in double; 0 where p is."""
    p = p.astype(np.float64)
    return p * np.log(np.where(p > 0, p, 1))
