"""The asymmetry of windows, whose figures compare metrics of different units."""

import numpy as np
import pytest

from analysis.metrics import NLL
from analysis.statistics.asymmetry import PRIMARY, Asymmetry
from analysis.statistics.units import Observations


def asymmetry(early: dict[int, float], late: dict[int, float]) -> Asymmetry:
    one, other = Observations.alone(early), Observations.alone(late)
    return Asymmetry(
        metric=NLL,
        normalisation=PRIMARY,
        early_divisor=1.0,
        late_divisor=1.0,
        early=one.interval(),
        late=other.interval(),
        observed=one.minus(other),
    )


def test_a_share_of_both_terms_has_no_unit() -> None:
    found = asymmetry({0: 3.0, 1: 5.0}, {0: -1.0, 1: -1.0})
    assert found.difference.estimate == 5.0
    assert found.share == pytest.approx([end / 5.0 for end in found.difference.ends])
    thousand = asymmetry({0: 3000.0, 1: 5000.0}, {0: -1000.0, 1: -1000.0})
    assert thousand.share == pytest.approx(found.share)


def test_of_no_damage_there_is_no_share() -> None:
    assert np.isnan(asymmetry({0: 0.0, 1: 0.0}, {0: 0.0, 1: 0.0}).share).all()
