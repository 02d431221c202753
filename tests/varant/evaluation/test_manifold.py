"""Precision, recall, density and coverage by their definitions, one ball at a time."""

import numpy as np
import pytest
import torch

from varant.evaluation import manifold as module
from varant.evaluation.manifold import Training, manifold, nearest, radii


def brute_force(samples: np.ndarray, real: np.ndarray, k: int) -> tuple[float, ...]:
    def radius(features: np.ndarray, i: int) -> float:
        return sorted(np.linalg.norm(np.delete(features, i, 0) - features[i], axis=1))[k - 1]

    def within(point: np.ndarray, features: np.ndarray) -> list[int]:
        return [
            i
            for i in range(len(features))
            if np.linalg.norm(point - features[i]) <= radius(features, i)
        ]

    balls = [within(sample, real) for sample in samples]
    return (
        np.mean([bool(found) for found in balls]),
        np.mean([bool(within(image, samples)) for image in real]),
        np.mean([len(found) for found in balls]) / k,
        len({i for found in balls for i in found}) / len(real),
    )


@pytest.mark.parametrize("neighbours", [1, 3])
def test_against_brute_force(neighbours, monkeypatch):
    monkeypatch.setattr(module, "ROWS", 7)
    monkeypatch.setattr(module, "NEIGHBOURS", neighbours)
    rng = np.random.default_rng(neighbours)
    samples, real = rng.normal(0.4, 1.0, (25, 3)), rng.normal(0.0, 1.3, (31, 3))
    found = manifold(samples, real)
    expected = brute_force(samples, real, neighbours)
    assert (found.precision, found.recall, found.density, found.coverage) == pytest.approx(expected)
    assert 0 < found.precision < 1


def test_of_one_distribution_density_is_about_one():
    rng = np.random.default_rng(0)
    found = manifold(rng.normal(size=(1_000, 4)), rng.normal(size=(1_000, 4)))
    assert found.density == pytest.approx(1.0, abs=0.1)
    assert found.coverage == pytest.approx(1 - 0.5**5, abs=0.03)  # Naeem et al., section 4.2


def test_one_class_of_two():
    rng = np.random.default_rng(1)
    real = np.concatenate([rng.normal(0, 1, (200, 3)), rng.normal(50, 1, (200, 3))])
    found = manifold(rng.normal(0, 1, (400, 3)), real)
    assert found.precision > 0.9
    assert found.recall < 0.51 and found.coverage < 0.51


def test_nearest(monkeypatch):
    monkeypatch.setattr(module, "ROWS", 2)
    others = np.array([[0.0, 0.0], [3.0, 4.0]])
    points = np.array([[0.0, 1.0], [3.0, 4.0], [6.0, 8.0]])
    np.testing.assert_allclose(nearest(points, others), [1.0, 0.0, 5.0], atol=1e-6)


def test_distances_are_those_of_torch_to_the_bit():
    rng = np.random.default_rng(3)
    one, other = (rng.normal(size=(n, 40)).astype(np.float32) for n in (30, 50))
    distances = torch.cdist(torch.from_numpy(one), torch.from_numpy(other)).numpy()
    np.testing.assert_array_equal(nearest(one, other), distances.min(axis=1))
    assert manifold(one, other, radii(other)) == manifold(one, other)


def test_memorised_samples_are_nearer_to_training_images_than_held_out_ones():
    rng = np.random.default_rng(2)
    training, held_out, samples = (rng.normal(size=(n, 4)) for n in (3_000, 2_000, 2_000))
    memorised = Training.of(training, held_out).memorised
    assert memorised(samples) == pytest.approx(0.05, abs=0.02)
    copies = training[:2_000] + rng.normal(0, 1e-4, (2_000, 4))
    assert memorised(copies) > 0.98
    half = np.concatenate([copies[:1_000], samples[:1_000]])
    assert memorised(half) == pytest.approx(0.525, abs=0.02)
    assert memorised(samples + 9) == 0.0


def test_too_few():
    with pytest.raises(ValueError, match="5 features: 5 neighbours need"):
        manifold(np.zeros((5, 2)), np.zeros((9, 2)))
