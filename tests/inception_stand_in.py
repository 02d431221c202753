"""A small TorchScript network that is called as Inception is."""

import torch
from torch import Tensor, nn

from varant.evaluation.inception import INCEPTION_FEATURES


def images_of(count: int) -> Tensor:
    return torch.rand(count, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class StandIn(nn.Module):
    """Takes what Inception takes; the first three features are the mean of each channel."""

    def __init__(self, features: int = INCEPTION_FEATURES):
        super().__init__()
        self.conv = nn.Conv2d(3, features, 1)
        with torch.no_grad():
            self.conv.weight[:3, :, 0, 0] = torch.eye(3)
            self.conv.bias[:3] = 0

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        features = self.conv(x.mean([2, 3], keepdim=True)).flatten(1)
        if return_features:
            return features
        return features[:, :10]


def saved(network: nn.Module, path):
    torch.jit.save(torch.jit.script(network), str(path))
    return path


class Block(nn.Module):
    """A block whose first convolution gives spatial features, as `mixed_6` of Inception has one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Sequential(nn.Conv2d(3, 9, 1), nn.ReLU())
        self.other = nn.Conv2d(3, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.conv(x), self.other(x)], 1)


class InLayers(nn.Module):
    """Made and called as StyleGAN's file is: `layers` one after the other, and `output`.

    It resizes by NumPy's rule for TensorFlow 1: row i of 299 is row i H / 299 of H.
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        self.layers.add_module("conv", nn.AvgPool2d(19, 17))
        self.layers.add_module("mixed_6", Block())
        self.layers.add_module("mixed_7", nn.Conv2d(13, INCEPTION_FEATURES, 1))
        self.layers.add_module("pool2", nn.AvgPool2d(17))
        self.output = nn.Linear(INCEPTION_FEATURES, 11)

    def forward(
        self, img: Tensor, return_features: bool = False, no_output_bias: bool = False
    ) -> Tensor:
        x = (resized(resized(img, 2), 3) - 128) / 128
        features = self.layers(x).flatten(1)
        if return_features:
            return features
        logits = self.output(features)
        if no_output_bias:
            logits = logits - self.output.bias
        return logits.softmax(1)


def resized(x: Tensor, dim: int) -> Tensor:
    """Along one side to 299 pixels, between two neighbours linearly."""
    side = x.shape[dim]
    places = torch.arange(299, dtype=torch.float32) * side / 299
    low = places.long()
    high = (low + 1).clamp(max=side - 1)
    shape = [1, 1, 1, 1]
    shape[dim] = 299
    weight = (places - low).view(shape)
    return x.index_select(dim, low) * (1 - weight) + x.index_select(dim, high) * weight
