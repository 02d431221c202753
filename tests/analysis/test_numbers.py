"""Numbers as people read them."""

import math

import pytest

from analysis import numbers


@pytest.mark.parametrize(
    ("value", "low", "high", "text"),
    [
        (3.1234, 2.91, 3.34, "+3.12 [2.91, 3.34]"),
        (3.1234, 2.51, 3.74, "+3.1 [2.5, 3.7]"),
        (-13.1, -13.43, -12.77, "\u221213.1 [\u221213.4, \u221212.8]"),
        (-0.001, -0.4, 0.398, "0.0 [\u22120.4, 0.4]"),
        (-0.0123, -0.0145, -0.0101, "\u22120.0123 [\u22120.0145, \u22120.0101]"),
        (-0.5, -0.97, -0.03, "\u22120.50 [\u22120.97, \u22120.03]"),
        (-0.5, -1.01, -0.004, "\u22120.500 [\u22121.010, \u22120.004]"),
        (-0.2, -0.4, 1e-9, "\u22120.20 [\u22120.40, 0.00]"),
        (0.2, 0.0, 0.4, "+0.20 [0.00, 0.40]"),
        (12.0, math.nan, math.nan, "+12.0 (no interval)"),
        (math.nan, math.nan, math.nan, "\u2013"),
        (0.0, 0.0, 0.0, "0 [0, 0]"),
        (1234.0, 1000.0, 1468.0, "+1,234 [1,000, 1,468]"),
    ],
)
def test_estimates_in_words(value, low, high, text):
    assert numbers.estimate(value, low, high) == text


def test_p_values_in_words():
    assert numbers.p_value(1e-12) == "p < 0.001"
    assert numbers.p_value(0.0123) == "p = 0.012"
    assert numbers.p_value(0.0497) == "p = 0.0497"
    assert numbers.p_value(0.05049) == "p = 0.0505"
    assert numbers.p_value(1.0) == "p = 1.00"
    assert numbers.p_value(math.nan) == "\u2013"
