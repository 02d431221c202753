"""Scores of generated images from features: distances by clean-fid's functions, and accuracy."""

import functools
import importlib
import re
import sys
import warnings
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from scipy.linalg import LinAlgWarning

from varant.evaluation.features import Features
from varant.evaluation.reference import Gaussian, Reference

KID_SUBSETS = 20
_MISSING_OPERATOR = re.compile(r"operator torchvision::(\w+) does not exist")
_DECLARED: dict[str, torch.library.Library] = {}  # operators of torchvision


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of one set of samples.

    Attributes:
        frechet: Frechet distance of the two Gaussians (Dowson and Landau 1982); falls with the
            sample count, so compare equal counts only.
        class_kid: mean over classes of the kernel distance (cubic polynomial kernel, unbiased);
            None for a reference without features or labels.
        class_accuracy: share of samples that the feature network gives their label; None where it
            has no classes.
    """

    frechet: float
    class_kid: float | None
    class_accuracy: float | None


def score(samples: Features, labels_N: np.ndarray, reference: Reference) -> Scores:
    """Scores of samples with labels `labels_N`.

    Raises:
        ValueError: fewer than two samples, a reference of other features, or, where the reference
            has features and labels, a class with fewer than two in either set.
    """
    by_class = reference.features_NF is not None and reference.labels_N is not None
    classes_N = samples.classes_N
    return Scores(
        frechet=frechet_distance(Gaussian.of(samples.features_NF), reference.gaussian),
        class_kid=class_kid(samples.features_NF, labels_N, reference) if by_class else None,
        class_accuracy=None if classes_N is None else float((classes_N == labels_N).mean()),
    )


def frechet_distance(one: Gaussian, other: Gaussian) -> float:
    """Frechet distance between two Gaussians: 15 s on a core for 2048 features.

    `ValueError` where one has more features than the other.
    """
    if one.mean_F.shape != other.mean_F.shape:
        raise ValueError(
            f"samples with {len(one.mean_F)} features, a reference with {len(other.mean_F)}: one "
            "extractor must give both"
        )
    with warnings.catch_warnings():
        # With no more samples than features a covariance is singular, and the result still good
        # to seven digits; the other warning is about how clean-fid calls SciPy.
        warnings.simplefilter("ignore", LinAlgWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        distance = cleanfid_fid().frechet_distance(
            one.mean_F, one.covariance_FF, other.mean_F, other.covariance_FF
        )
    return float(distance)


def class_kid(features_NF: np.ndarray, labels_N: np.ndarray, reference: Reference) -> float:
    """Kernel distance within each class, averaged over the classes present.

    clean-fid draws its subsets with NumPy's global generator: it is seeded here, so that two
    plans are compared with the same subsets, and put back as it was.
    """
    assert reference.features_NF is not None
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


@functools.cache
def cleanfid_fid() -> ModuleType:
    """The module `cleanfid.fid`.

    clean-fid imports torchvision, whose registry wheel registers fake kernels for operators that
    only its compiled part defines; beside another build of torch that import fails. None of these
    operators is used here, so each one that is reported missing is declared, and the import is
    tried again.
    """
    while True:
        try:
            return importlib.import_module("cleanfid.fid")
        except RuntimeError as error:
            missing = _MISSING_OPERATOR.search(str(error))
            if missing is None or missing[1] in _DECLARED:
                raise
            # Kept for the life of the process: dropping the library drops its operators.
            _DECLARED[missing[1]] = torch.library.Library("torchvision", "FRAGMENT")
            _DECLARED[missing[1]].define(f"{missing[1]}() -> ()")
            for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
                del sys.modules[name]
