"""The kernel distance within classes by its definition, pair by pair, and by clean-fid."""

import itertools

import numpy as np
import pytest
from clean_fid import cleanfid_fid

from varant.evaluation.jackknife import GROUPS, blocks
from varant.evaluation.kernel import class_kid
from varant.evaluation.reference import Reference


def brute_force(samples: np.ndarray, real: np.ndarray) -> float:
    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return (x @ y / len(x) + 1) ** 3

    def pairs(features: np.ndarray) -> float:
        return np.mean([kernel(x, y) for x, y in itertools.permutations(features, 2)])

    cross = np.mean([kernel(x, y) for x, y in itertools.product(samples, real)])
    return pairs(samples) + pairs(real) - 2 * cross


def by_class(samples, labels, real, real_labels):
    kept = [label for label in np.unique(labels) if (labels == label).sum() > 1]
    return np.mean([brute_force(samples[labels == c], real[real_labels == c]) for c in kept])


@pytest.mark.parametrize("count", [3, 7, 50])
def test_against_brute_force_with_every_replicate(count):
    rng = np.random.default_rng(count)
    samples, real = rng.normal(0.5, 1, (count, 3)), rng.normal(0, 1, (41, 3))
    labels, real_labels = np.arange(count) % 2 * (count > 3), np.arange(41) % 2
    reference = Reference(features_NF=real, labels_N=real_labels)
    found = class_kid(samples, labels, reference)
    assert found.value == pytest.approx(by_class(samples, labels, real, real_labels))
    kept = [np.delete(np.arange(count), block) for block in blocks(count)]
    expected = [by_class(samples[k], labels[k], real, real_labels) for k in kept]
    np.testing.assert_allclose(found.replicates_G, expected)
    assert len(expected) == min(count, GROUPS)


def test_clean_fid_s_formula_on_one_subset_of_all():
    rng = np.random.default_rng(1)
    samples, real = rng.normal(0.3, 1, (2_000, 16)), rng.normal(0, 1, (2_000, 16))
    reference = Reference(features_NF=real, labels_N=np.zeros(2_000))
    state = np.random.get_state()
    try:
        theirs = cleanfid_fid().kernel_distance(real, samples, num_subsets=1, max_subset_size=2_000)
    finally:
        np.random.set_state(state)
    assert class_kid(samples, np.zeros(2_000), reference).value == pytest.approx(theirs, abs=1e-6)


def test_it_is_unbiased_and_its_jackknife_error_is_its_spread():
    rng = np.random.default_rng(2)
    labels = np.arange(400) % 2
    reference = Reference(features_NF=rng.normal(size=(4_000, 4)), labels_N=np.arange(4_000) % 2)
    same = [class_kid(rng.normal(size=(400, 4)), labels, reference).value for _ in range(49)]
    assert abs(np.mean(same)) < 4 * np.std(same) / 7
    moved = [class_kid(rng.normal(0.5, 1, (400, 4)), labels, reference) for _ in range(40)]
    spread = np.std([one.value for one in moved], ddof=1)
    assert np.mean([one.standard_error for one in moved]) == pytest.approx(spread, rel=0.25)


def test_swapped_classes_have_the_same_features_overall_but_not_within_each():
    rng = np.random.default_rng(3)
    labels = np.arange(1_000) % 2
    apart = rng.normal(size=(1_000, 4)) + labels[:, None] * 4
    swapped = Reference(features_NF=apart[::-1], labels_N=labels)
    assert class_kid(apart, labels, swapped).value > 1


def test_classes_that_are_too_small():
    reference = Reference(features_NF=np.eye(4), labels_N=np.array([0, 0, 7, 7]))
    with pytest.raises(ValueError, match="class 7: 1 samples and 2 reference images"):
        class_kid(np.eye(4)[:3], np.array([0, 0, 7]), reference)
    pair = class_kid(np.eye(4)[:2], np.array([0, 0]), reference)
    assert len(pair.replicates_G) == 0, "one sample is left"
    found = class_kid(np.eye(4), np.array([0, 0, 7, 7]), reference)
    assert np.isfinite(found.replicates_G).all(), "the other class is left"
