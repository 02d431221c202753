"""The Inception score against the formula of ADM's evaluator, and splits of ordered images."""

import numpy as np
import pytest

from varant.evaluation import inception_score as module
from varant.evaluation.inception_score import dealt, inception_score
from varant.evaluation.jackknife import blocks


def of_adm(probabilities: np.ndarray, split: int) -> float:
    """Mean over splits of exp of the mean divergence from the split's mean."""
    scores = []
    for start in range(0, len(probabilities), split):
        part = probabilities[start : start + split].astype(np.float64)
        divergence = part * (np.log(part) - np.log(part.mean(axis=0, keepdims=True)))
        scores.append(np.exp(divergence.sum(axis=1).mean()))
    return float(np.mean(scores))


def softmax(logits: np.ndarray) -> np.ndarray:
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return shifted / shifted.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("split", [50, 30, 1_000])
def test_it_is_adms_on_consecutive_splits(split):
    rng = np.random.default_rng(0)
    probabilities = softmax(rng.normal(size=(100, 12)) * 3).astype(np.float32)
    found = inception_score(probabilities, np.arange(100) // split)
    assert found.value == pytest.approx(of_adm(probabilities, split), rel=1e-6)


def test_replicates_leave_each_block_out():
    rng = np.random.default_rng(1)
    probabilities = softmax(rng.normal(size=(90, 5)))
    found = inception_score(probabilities, np.zeros(90, int))
    without = [of_adm(np.delete(probabilities, b, axis=0), 90) for b in blocks(90)]
    np.testing.assert_allclose(found.replicates_G, without, rtol=1e-9)


def test_classes_without_any_chance_do_not_count():
    sure = np.eye(4)[np.arange(40) % 4]
    assert inception_score(sure, np.zeros(40, int)).value == pytest.approx(4)


def test_images_in_class_order_have_every_class_in_every_split(monkeypatch):
    monkeypatch.setattr(module, "SPLIT", 50)
    sure = np.eye(10)[np.repeat(np.arange(10), 20)] * 0.9 + 0.01
    assert len(np.unique(dealt(200))) == 4
    assert len(np.unique(dealt(201))) == 5
    dealt_out = inception_score(sure, dealt(200)).value
    assert dealt_out == pytest.approx(of_adm(sure, 200))
    assert of_adm(sure, 50) < 0.5 * dealt_out
