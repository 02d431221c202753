"""Spatial features and probabilities of a file whose layers can be called one by one."""

import numpy as np
import pytest
import torch
from inception_stand_in import InLayers, images_of, saved
from torch import Tensor

from varant.evaluation.inception import _resized_clean, inception_extractor

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture(scope="module")
def in_layers(tmp_path_factory):
    torch.manual_seed(1)
    return saved(InLayers(), tmp_path_factory.mktemp("in_layers") / "inception-2015-12-05.pt")


@pytest.mark.parametrize("resize", ["legacy", "clean"])
def test_one_pass_through_layers_gives_features_spatial_ones_and_probabilities(in_layers, resize):
    """What the file says when it is called as a whole, and what its `mixed_6.conv` says."""
    extractor = inception_extractor(in_layers, resize=resize)
    assert (
        extractor.name
        == {"legacy": "inception-", "clean": "inception-clean-"}[resize] + (extractor.digest[:6])
    )
    assert (extractor.stepwise, extractor.spatial_features) == (True, 2023)
    images = images_of(5)
    pixels = images.mul(255).round()
    if resize == "clean":
        pixels = _resized_clean(pixels)
    whole, found = torch.jit.load(str(in_layers)), extractor(images, batch=2)
    features = whole(pixels, return_features=True)
    np.testing.assert_allclose(found.features_NF, features.detach(), atol=1e-5)
    probabilities = whole(pixels, no_output_bias=True).detach()
    np.testing.assert_allclose(found.probabilities_NC, probabilities, rtol=1e-4)
    seen = []
    layers = InLayers()
    layers.load_state_dict(whole.state_dict())
    layers.layers.mixed_6.conv.register_forward_hook(lambda _, __, x: seen.append(x[:, :7]))
    layers(pixels)
    np.testing.assert_allclose(found.spatial_NS, seen[0].detach().flatten(1), atol=1e-5)


def test_other_layers_than_inceptions_are_called_as_a_whole(tmp_path):
    class Apart(InLayers):
        def forward(
            self, img: Tensor, return_features: bool = False, no_output_bias: bool = False
        ) -> Tensor:
            return self.layers(img.new_zeros(len(img), 3, 299, 299)).flatten(1)

    extractor = inception_extractor(saved(Apart(), tmp_path / "apart.pt"))
    assert (extractor.stepwise, extractor.spatial_features) == (False, 0)
    found = extractor(images_of(2))
    assert (found.spatial_NS, found.probabilities_NC) == (None, None)
