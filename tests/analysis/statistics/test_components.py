"""Variance components: closed forms, and the coverage of their intervals by simulation."""

import numpy as np
import pytest

from analysis.statistics.components import variance_components

TRUE = {"base": 4.0, "training": 2.0, "evaluation": 1.0}


def drawn(rng: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    bases, seeds, _ = shape
    return (
        rng.normal(0, TRUE["base"] ** 0.5, (bases, 1, 1))
        + rng.normal(0, TRUE["training"] ** 0.5, (bases, seeds, 1))
        + rng.normal(0, TRUE["evaluation"] ** 0.5, shape)
    )


def test_a_closed_form():
    """Two bases, two seeds, two evaluations; sums of squares by hand."""
    values = np.array([[[1.0, 3.0], [5.0, 7.0]], [[11.0, 13.0], [19.0, 21.0]]])
    found = variance_components(values)
    # Evaluations: each pair has variance 2. Seeds: means (2, 6) and (12, 20), mean squares
    # 2 * (8 + 32) / 2 = 40. Bases: means 4 and 16, mean square 4 * 72 = 288.
    assert found["evaluation"].estimate == pytest.approx(2.0)
    assert found["training"].estimate == pytest.approx((40 - 2) / 2)
    assert found["base"].estimate == pytest.approx((288 - 40) / 4)
    freedom = [found[name].degrees_of_freedom for name in ("base", "training", "evaluation")]
    assert freedom == [1, 2, 4]


def test_large_designs_find_the_components():
    found = variance_components(drawn(np.random.default_rng(0), (400, 20, 20)))
    for name, true in TRUE.items():
        assert found[name].estimate == pytest.approx(true, rel=0.2)
        assert found[name].low < true < found[name].high


def test_a_level_that_was_not_repeated_is_part_of_the_one_above():
    rng = np.random.default_rng(1)
    found = variance_components(drawn(rng, (2_000, 1, 1)))
    assert found["base"].estimate == pytest.approx(sum(TRUE.values()), rel=0.1)
    assert np.isnan(found["training"].estimate) and np.isnan(found["evaluation"].low)


def test_no_negative_variance():
    found = variance_components(np.array([[[0.0, 10.0]], [[10.0, 0.0]], [[0.0, 10.0]]]))
    assert found["base"].estimate == 0.0
    assert found["base"].low == 0.0


def test_bad_input():
    for values in (np.zeros((2, 2)), np.zeros((1, 1, 1)), np.full((2, 2, 2), np.nan)):
        with pytest.raises(ValueError, match="give finite"):
            variance_components(values)


@pytest.mark.parametrize("shape", [(5, 3, 4), (8, 2, 2)])
def test_coverage(shape):
    """Generalised intervals are a little wide where a component is small beside the one below."""
    rng = np.random.default_rng(2)
    studies = 600
    covered = dict.fromkeys(TRUE, 0)
    for _ in range(studies):
        for name, found in variance_components(drawn(rng, shape)).items():
            covered[name] += found.low <= TRUE[name] <= found.high
    for name, count in covered.items():
        assert 0.93 <= count / studies <= 0.99, name
