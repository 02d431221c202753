"""The statistics that know no classes: by their definition, for images of any side, and frozen."""

import numpy as np
import pytest
import torch

from varant.evaluation.patches import PatchExtractor


def picture(side: int) -> torch.Tensor:
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    return torch.stack([x / side, (x * y % 7) / 7, (y % 3) / 3])[None].float()


def test_colour_differences_and_detail_of_a_quarter():
    """Of a square at the upper left, half as wide as its quarter; by hand."""
    images = torch.zeros(1, 3, 8, 8)
    images[0, 1, 1:3, 1:3] = 1
    found = PatchExtractor()(images).features_NF.reshape(4, 3, 2, 2)
    colour, right, down, detail = found[:, 1]
    assert colour[0, 0] == pytest.approx(10 * 4 / 16)
    assert right[0, 0] == pytest.approx(50 * 4 / 16), (
        "7 columns of pairs: quarters share the middle"
    )
    assert down[0, 0] == pytest.approx(50 * 4 / 16)
    # Of 3 x 3 means: 4/9 at the square's pixels; 2/9 beside it, eight times; 1/9 at its corners.
    assert detail[0, 0] == pytest.approx(100 * (4 * 5 / 9 + 8 * 2 / 9 + 4 / 9) / 16)
    assert np.count_nonzero(found[:, 1]) == 4
    assert np.count_nonzero(found) == 4


@pytest.mark.parametrize("side", [24, 32, 40, 65])
def test_any_side(side):
    found = PatchExtractor()(picture(side))
    assert found.features_NF.shape == (1, PatchExtractor().features) == (1, 48)
    assert found.classes_N is None


def test_frozen():
    """What the digest stands for: change a feature, and `VERSION` with it."""
    extractor = PatchExtractor()
    assert extractor.name == "patches-655572"
    found = extractor(picture(24)).features_NF[0]
    np.testing.assert_allclose(
        found[[0, 5, 13, 26, 38, 47]],
        [2.291667, 3.472222, 2.083333, 0.0, 0.1157408, 20.37036],
        rtol=1e-5,
    )
