"""The packaged feature networks, how features are kept, and the command that remakes them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from varant import UserError
from varant.data import shapes
from varant.evaluation.extractors import extractor_specs
from varant.evaluation.features import DIGESTS, WEIGHTS, Features, packaged_extractor
from varant.evaluation.reference import Reference
from varant.evaluation.scores import scores
from varant.files import sha256_file

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", DIGESTS)
def test_packaged_extractors_are_frozen(name):
    first, second = (spec.load() for spec in extractor_specs(name))
    assert first.digest == DIGESTS[name] == sha256_file(WEIGHTS / f"{name}.safetensors")
    assert first.name == f"{name}-{first.digest[:6]}"
    assert second.name == f"patches-{second.digest[:6]}"
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 300_000
    for extractor in (first, second):
        found = extractor(torch.rand(3, 3, 24, 24))
        assert extractor.kind == "fd"
        assert found.features_NF.shape == (3, extractor.features)
        assert (found.classes_N is None) == (extractor is second)


def test_nothing_but_the_frozen_networks_is_packaged(monkeypatch):
    assert {file.stem for file in WEIGHTS.iterdir()} == set(DIGESTS)
    monkeypatch.setitem(DIGESTS, "digits-24", "0" * 64)
    packaged_extractor.cache_clear()
    with pytest.raises(UserError, match=r"digits-24 is [0-9a-f]{6}, not 000000; install"):
        packaged_extractor("digits-24")


def test_no_network_is_packaged():
    with pytest.raises(UserError, match=r"--dataset: no feature network folder-64 .*shapes-24"):
        extractor_specs("folder-64")


def test_no_few_directions_hold_the_variance():
    """Half whitening: of the means' variance seven directions of 128 hold nine tenths."""
    images = torch.from_numpy(shapes.render(0, 2, range(2_000), side=24)).float() / 255
    found = packaged_extractor("shapes-24")(images).features_NF
    variances = np.linalg.eigvalsh(np.cov(found, rowvar=False))[::-1]
    held = np.cumsum(variances) / variances.sum()
    assert held[29] < 0.9


def test_features_are_of_unit_scale_and_tell_the_classes_apart():
    extractor = packaged_extractor("shapes-24")
    images = torch.from_numpy(shapes.render(0, 2, range(400), side=24)).float() / 255
    found = extractor(images)
    labels = shapes.labels_of(range(400))
    assert (found.classes_N == labels).mean() > 0.95
    assert 0.5 < found.features_NF.std() < 2
    again = extractor(images, batch=37)
    np.testing.assert_allclose(found.features_NF, again.features_NF, atol=1e-4)


def test_noise_on_images_is_damage_under_every_score():
    extractor = packaged_extractor("shapes-24")
    images = torch.from_numpy(shapes.render(0, 2, range(800), side=24)).float() / 255
    labels = shapes.labels_of(range(400))
    held_out = extractor(images[400:])
    reference = Reference(features_NF=held_out.features_NF, labels_N=labels)
    clean = scores(extractor(images[:400]), labels, reference)
    noise = torch.randn(400, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    damaged = scores(extractor((images[:400] + 0.5 * noise).clamp(0, 1)), labels, reference)
    assert damaged["frechet"].value > clean["frechet"].value + 1
    assert damaged["class_kid"].value > clean["class_kid"].value
    for name in ("class_accuracy", "precision", "recall", "density", "coverage"):
        assert damaged[name].value < clean[name].value
    assert clean["class_accuracy"].value > 0.95


def test_stored_features_are_the_rounded_ones_and_their_distance_the_same(tmp_path):
    extractor = packaged_extractor("shapes-24")
    images = torch.from_numpy(shapes.render(0, 1, range(2_000), side=24)).float() / 255
    labels, found = shapes.labels_of(range(1_000)), extractor(images[:1_000])
    found.rounded().save(tmp_path / "features.npy")
    assert np.load(tmp_path / "features.npy").dtype == np.float16
    stored = Features.load(tmp_path / "features.npy")
    np.testing.assert_array_equal(stored.features_NF, found.rounded().features_NF)
    np.testing.assert_array_equal(found.rounded().classes_N, found.classes_N)
    reference = Reference(features_NF=extractor(images[1_000:]).features_NF, labels_N=labels)
    exact, rounded = (scores(one, labels, reference) for one in (found, stored))
    assert exact["frechet"].value != rounded["frechet"].value
    assert exact["frechet"].value == pytest.approx(rounded["frechet"].value, rel=0.01)
    kid_error = exact["class_kid"].standard_error
    assert exact["class_kid"].value == pytest.approx(
        rounded["class_kid"].value, abs=kid_error / 100
    )


def test_the_command_remakes_a_feature_network(tmp_path):
    out = tmp_path / "features.safetensors"
    flags = ["--dataset", "digits", "--preset", "tiny", "--steps", "60"]
    flags += ["--tokenizer-steps", "30", "--out", str(out)]
    done = subprocess.run(
        [sys.executable, "-m", "varant.train_features", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert out.stat().st_size < 500_000
    assert float(done.stdout.rsplit(":", 1)[1]) > 0.5
