"""Features, distances and accuracy; the packaged feature networks."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from varant import UserError
from varant.data import shapes
from varant.evaluation.features import Features, packaged_extractor
from varant.evaluation.reference import Gaussian, Reference
from varant.evaluation.scores import class_kid, frechet_distance, score

ROOT = Path(__file__).parents[3]


def test_frechet_distance_of_gaussians_with_known_moments():
    """|m1 - m2|^2 + sum (s1 - s2)^2 for diagonal covariances, on features with exact moments."""
    rng = np.random.default_rng(0)
    raw = rng.standard_normal((400, 3))
    raw = (raw - raw.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(raw, rowvar=False))).T
    one = Gaussian.of(raw * [1, 2, 3] + [0, 0, 1])
    other = Gaussian.of(raw * [2, 2, 1] + [1, 0, 1])
    assert frechet_distance(one, other) == pytest.approx(1 + 1 + 0 + 4, abs=1e-6)
    assert frechet_distance(one, one) == pytest.approx(0, abs=1e-6)


def test_class_kid_is_unbiased_within_classes_and_leaves_numpy_s_generator():
    rng = np.random.default_rng(1)
    labels = np.arange(1_000) % 2
    reference = Reference(features_NF=rng.standard_normal((1_000, 4)), labels_N=labels)
    same = rng.standard_normal((1_000, 4))
    np.random.seed(5)
    state = np.random.get_state()[1].copy()
    assert abs(class_kid(same, labels, reference)) < 0.02
    assert np.array_equal(np.random.get_state()[1], state)
    # Swapped classes have the same features overall, but not within each class.
    apart = reference.features_NF + labels[:, None] * 4
    swapped = Reference(features_NF=apart[::-1], labels_N=labels)
    assert class_kid(apart, labels, swapped) > 1
    with pytest.raises(ValueError, match="class 7: 1 samples"):
        class_kid(same[:1], np.array([7]), reference)


@pytest.mark.parametrize("name", ["shapes", "digits"])
def test_packaged_extractor(name):
    extractor = packaged_extractor(name)
    assert extractor.name == f"{name}-{extractor.digest[:6]}"
    assert extractor.kind == "fd"
    assert extractor.features == extractor.network.features.out_features <= 32


def test_features_are_of_unit_scale_and_tell_the_classes_apart():
    extractor = packaged_extractor("shapes")
    images = torch.from_numpy(shapes.render(0, 2, range(400), side=24)).float() / 255
    found = extractor(images)
    labels = shapes.labels_of(range(400))
    assert (found.classes_N == labels).mean() > 0.95
    assert 0.5 < found.features_NF.std() < 2
    again = extractor(images, batch=37)
    np.testing.assert_allclose(found.features_NF, again.features_NF, atol=1e-4)


def test_damage_raises_the_distances():
    """Noise on images must count as damage, under every score."""
    extractor = packaged_extractor("shapes")
    images = torch.from_numpy(shapes.render(0, 2, range(800), side=24)).float() / 255
    labels = shapes.labels_of(range(400))
    held_out = extractor(images[400:])
    reference = Reference(features_NF=held_out.features_NF, labels_N=labels)
    clean = score(extractor(images[:400]), labels, reference)
    noise = torch.randn(400, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    damaged = score(extractor((images[:400] + 0.5 * noise).clamp(0, 1)), labels, reference)
    assert damaged.frechet > clean.frechet + 1
    assert damaged.class_kid > clean.class_kid
    assert damaged.class_accuracy < clean.class_accuracy
    assert clean.class_accuracy > 0.95


def test_scores_of_too_few_samples_and_unknown_extractors():
    features = Features(features_NF=np.zeros((1, 4)), classes_N=np.zeros(1, dtype=int))
    with pytest.raises(ValueError, match="1 samples"):
        score(features, np.zeros(1), Reference(features_NF=np.zeros((9, 4)), labels_N=np.zeros(9)))
    features = Features(features_NF=np.zeros((9, 4)))
    with pytest.raises(ValueError, match="4 features, a reference with 3"):
        score(features, np.zeros(9), Reference(features_NF=np.zeros((9, 3))))
    with pytest.raises(UserError, match="no feature network is packaged"):
        packaged_extractor("imagenet")


def test_the_command_remakes_a_feature_network(tmp_path):
    out = tmp_path / "features.safetensors"
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "varant.train_features",
            "--dataset",
            "digits",
            "--steps",
            "60",
            "--tokenizer-steps",
            "30",
            "--out",
            str(out),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size < 500_000
    assert float(done.stdout.rsplit(":", 1)[1]) > 0.5
