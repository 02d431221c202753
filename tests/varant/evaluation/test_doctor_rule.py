"""How often the doctor calls different what is alike: three standard errors and 5 %, simulated.

Images are noise whose channels are alike, so that swapping them changes nothing but chance; samples
are of the reference's distribution, or brighter by `shift` levels, and the reference's statistics
are read from a file.
"""

from dataclasses import dataclass

import numpy as np
import pytest
from torch import Tensor

from varant.evaluation.doctor import check_channels, read_case
from varant.evaluation.features import Extractor, Features
from varant.evaluation.reference import Gaussian

SIDE, FEATURES = 4, 16
MIXING = np.random.default_rng(99).normal(size=(3 * SIDE * SIDE, FEATURES))


@dataclass(frozen=True, kw_only=True)
class Linear(Extractor):
    """Random sums of an image's numbers."""

    kind = "fd"
    batch = 100_000
    features = FEATURES

    def of(self, images_B3HW: Tensor) -> Features:
        return Features(features_NF=images_B3HW.flatten(1).double().numpy() @ MIXING)


def noise(rng: np.random.Generator, count: int, shift: float) -> np.ndarray:
    levels = rng.normal(128 + shift, 40, size=(count, SIDE, SIDE, 3))
    return levels.round().clip(0, 255).astype(np.uint8)


@pytest.mark.long
@pytest.mark.parametrize("aimed", [False, True], ids=["lower", "expected"])
@pytest.mark.parametrize("shift", [0, 12])
def test_equal_things_are_seldom_called_different(tmp_path, shift, aimed):
    extractor = Linear(name="linear-000000", digest="0" * 64)
    real = Gaussian.of(
        noise(np.random.default_rng(0), 20_000, 0).transpose(0, 3, 1, 2).reshape(20_000, -1)
        / 255
        @ MIXING
    )
    reference, samples = tmp_path / "reference.npz", tmp_path / "samples.npz"
    np.savez(reference, mu=real.mean_F, sigma=real.covariance_FF)

    def case_of(number: int, expected: float | None = None):
        np.savez(samples, arr_0=noise(np.random.default_rng([shift, number]), 300, shift))
        return read_case(samples, reference, extractor, expected)

    expected = float(np.mean([case_of(i).distance.value for i in range(1_000, 1_040)]))
    found = [
        check_channels(case_of(i, expected if aimed else None)).status == "cause"
        for i in range(200)
    ]
    assert sum(found) <= 4  # 2 %
