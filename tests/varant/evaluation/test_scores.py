"""Every score of samples: against closed forms and clean-fid, with its replicates, and in time."""

import time
from dataclasses import replace

import numpy as np
import pytest
from clean_fid import cleanfid_fid

from varant.evaluation.features import Features
from varant.evaluation.jackknife import GROUPS, blocks
from varant.evaluation.kernel import class_kid
from varant.evaluation.mind import mind
from varant.evaluation.reference import Gaussian, Reference
from varant.evaluation.scores import frechet, frechet_distance, scores

MANIFOLD = ["precision", "recall", "density", "coverage"]


def mixed(rng: np.random.Generator, count: int, features: int) -> np.ndarray:
    """Features with a spectrum over five orders of magnitude."""
    mixing = np.random.default_rng(0).normal(size=(features, features))
    return rng.normal(size=(count, features)) * np.logspace(0, -2.5, features) @ mixing + 3


def test_frechet_distance_of_gaussians_with_known_moments():
    """|m1 - m2|^2 + sum (s1 - s2)^2 for diagonal covariances, on features with exact moments."""
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((400, 3))
    raw = (raw - raw.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    one = Gaussian.of(raw * [1, 2, 3] + [0, 0, 1])
    other = Gaussian.of(raw * [2, 2, 1] + [1, 0, 1])
    assert frechet_distance(one, other) == pytest.approx(1 + 1 + 0 + 4, abs=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


@pytest.mark.filterwarnings("ignore:The `disp` argument:DeprecationWarning")
@pytest.mark.parametrize("features", [3, 60])
def test_frechet_distance_is_clean_fid_s(features):
    rng = np.random.default_rng(features)
    one = Gaussian.of(mixed(rng, 500, features) * 1.1)
    other = Gaussian.of(mixed(rng, 700, features))
    theirs = cleanfid_fid().frechet_distance(
        one.mean_F, one.covariance_FF, other.mean_F, other.covariance_FF
    )
    assert frechet_distance(one, other) == pytest.approx(theirs, rel=1e-6)


def test_frechet_replicates_leave_each_block_out():
    rng = np.random.default_rng(1)
    drawn, reference = mixed(rng, 130, 5), Gaussian.of(mixed(rng, 400, 5))
    found = frechet(drawn, reference)
    assert found.value == pytest.approx(frechet_distance(Gaussian.of(drawn), reference))
    without = [Gaussian.of(np.delete(drawn, block, axis=0)) for block in blocks(130)]
    expected = [frechet_distance(one, reference) for one in without]
    np.testing.assert_allclose(found.replicates_G, expected, rtol=1e-6)
    assert len(expected) == GROUPS


def test_a_shared_reference_s_blocks_are_left_out_too():
    rng = np.random.default_rng(4)
    samples, real = Features(features_NF=mixed(rng, 60, 5)), mixed(rng, 130, 5)
    labels, reference = np.zeros(60, dtype=int), Reference(features_NF=real)
    found = scores(samples, labels, reference, shared=True)["frechet"]
    drawn = Gaussian.of(samples.features_NF)
    without = [Gaussian.of(np.delete(real, block, axis=0)) for block in blocks(130)]
    expected = [frechet_distance(drawn, one) for one in without]
    np.testing.assert_allclose(found.common_R, expected, rtol=1e-6)
    assert len(scores(samples, labels, reference)["frechet"].common_R) == 0


def test_so_are_they_for_distances_without_gaussians():
    """Of a class that no sample has, the class distance knows nothing."""
    rng = np.random.default_rng(5)
    samples, real_MF = Features(features_NF=mixed(rng, 60, 5)), mixed(rng, 132, 5)
    labels_N, classes_M = np.arange(60) % 2, np.arange(132) % 3
    reference = Reference(features_NF=real_MF, labels_N=classes_M)
    found = scores(samples, labels_N, reference, shared=True)
    asked_M = classes_M < 2
    drawn_NF, asked_MF, asked_classes_M = samples.features_NF, real_MF[asked_M], classes_M[asked_M]
    expected = {"mind": [], "class_kid": []}
    for block in blocks(132):
        expected["mind"].append(mind(drawn_NF, np.delete(real_MF, block, axis=0)).value)
    for block in blocks(len(asked_MF)):
        left, left_classes = (np.delete(of, block, axis=0) for of in (asked_MF, asked_classes_M))
        without = Reference(features_NF=left, labels_N=left_classes)
        expected["class_kid"].append(class_kid(drawn_NF, labels_N, without).value)
    alone = scores(samples, labels_N, reference)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name].common_R, values, rtol=1e-6)
        assert found[name].value == alone[name].value and not len(alone[name].common_R)


def test_what_an_inception_network_adds():
    """sFID by the rule of the Frechet distance, and the Inception score; neither changes others."""
    rng = np.random.default_rng(4)
    plain = Features(features_NF=rng.normal(size=(60, 4)))
    spatial = mixed(rng, 60, 5).astype(np.float32)
    probabilities = rng.dirichlet(np.ones(7), 60).astype(np.float32)
    whole = replace(plain, spatial_NS=spatial, probabilities_NC=probabilities)
    statistics = Gaussian.of(rng.normal(size=(80, 4)))
    reference = Reference(statistics=statistics, spatial=Gaussian.of(mixed(rng, 90, 5)))
    found = scores(whole, np.zeros(60), reference)
    assert list(found) == ["frechet", "spatial_frechet", "inception_score"]
    assert found["frechet"].value == scores(plain, np.zeros(60), reference)["frechet"].value
    expected = frechet_distance(Gaussian.of(spatial), reference.spatial)
    assert found["spatial_frechet"].value == pytest.approx(expected, rel=1e-6)
    without = scores(whole, np.zeros(60), Reference(statistics=statistics))
    assert list(without) == ["frechet", "inception_score"]


def test_which_scores_there_are():
    rng = np.random.default_rng(2)
    labels = np.arange(60) % 3
    plain = Features(features_NF=rng.normal(size=(60, 4)))
    classed = Features(
        features_NF=plain.features_NF, classes_N=np.where(np.arange(60) < 6, 9, labels)
    )
    statistics = Reference(statistics=Gaussian.of(plain.features_NF))
    unlabelled = Reference(features_NF=rng.normal(size=(80, 4)))
    whole = Reference(features_NF=unlabelled.features_NF, labels_N=np.arange(80) % 3)
    assert list(scores(plain, labels, statistics)) == ["frechet"]
    assert list(scores(plain, labels, unlabelled)) == ["frechet", "mind", *MANIFOLD]
    found = scores(classed, labels, whole)
    assert list(found) == ["frechet", "class_accuracy", "mind", "class_kid", *MANIFOLD]
    assert all(len(found[name].replicates_G) == GROUPS for name in list(found)[:4])
    assert all(len(found[name].replicates_G) == 0 for name in MANIFOLD)
    assert found["class_accuracy"].value == 0.9
    np.testing.assert_allclose(found["class_accuracy"].replicates_G, [54 / 57] * 2 + [51 / 57] * 18)


def test_too_few_samples_and_other_features():
    one = Features(features_NF=np.zeros((1, 4)), classes_N=np.zeros(1, dtype=int))
    with pytest.raises(ValueError, match="1 samples: a distance needs at least two"):
        scores(one, np.zeros(1), Reference(features_NF=np.zeros((9, 4)), labels_N=np.zeros(9)))
    with pytest.raises(ValueError, match="4 features, a reference with 3"):
        nine = Features(features_NF=np.zeros((9, 4)))
        scores(nine, np.zeros(9), Reference(features_NF=np.zeros((9, 3))))
    two = Features(features_NF=np.eye(2), classes_N=np.zeros(2, dtype=int))
    reference = Reference(features_NF=np.eye(2), labels_N=np.zeros(2))
    found = scores(two, np.zeros(2), reference)
    assert list(found) == ["frechet", "class_accuracy", "mind", "class_kid"], "no five neighbours"
    assert found["frechet"].value == pytest.approx(0)


def test_features_of_10_000_samples_are_scored_in_seconds():
    """Half of the 15 CPU-seconds that both spaces' features and scores may take, in one of them."""
    rng = np.random.default_rng(3)
    labels = np.arange(10_000) % 10
    samples = Features(features_NF=rng.normal(size=(10_000, 128)), classes_N=labels)
    reference = Reference(features_NF=rng.normal(size=(5_000, 128)), labels_N=labels[:5_000])
    started = time.process_time()
    scores(samples, labels, reference)
    assert time.process_time() - started < 7.5
