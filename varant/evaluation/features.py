"""The small feature network that scores are computed on, and its packaged weights.

One network a data set. It is a classifier of reconstructions with noise: one trained on clean
images answers to the decoder's artefacts and can call damage an improvement.
"""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from varant.errors import UserError
from varant.files import sha256_file

FEATURES = 32
WEIGHTS = Path(__file__).parent / "weights"


class FeatureNetwork(nn.Module):
    """Images to `FEATURES` features, and class logits linear in them."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, stride=1, padding=1)
        self.conv2 = nn.Conv2d(24, 40, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(40, 64, 3, stride=2, padding=1)
        self.features = nn.Linear(64 * 9, FEATURES)
        self.classes = nn.Linear(FEATURES, num_classes)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """(B, 3, H, W) images in [0, 1] to (B, FEATURES)."""
        x = F.max_pool2d(F.silu(self.conv1(images_B3HW - 0.5)), 2)
        x = F.silu(self.conv3(F.silu(self.conv2(x))))
        return self.features(F.adaptive_avg_pool2d(x, 3).flatten(1))


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features of images.

    Attributes:
        features_NF: (N, F) float64.
        classes_N: (N,) int64, the class that the network gives each image.
    """

    features_NF: np.ndarray
    classes_N: np.ndarray

    def rows(self, chosen: slice) -> Features:
        return Features(features_NF=self.features_NF[chosen], classes_N=self.classes_N[chosen])


@dataclass(frozen=True, kw_only=True)
class Extractor:
    """A feature network with its identity; `name` is part of every metric computed with it."""

    name: str
    digest: str
    network: FeatureNetwork

    @torch.no_grad()
    def __call__(self, images_B3HW: Tensor, *, batch: int = 500) -> Features:
        """Features of images in [0, 1]."""
        features, classes = [], []
        for part in images_B3HW.split(batch):
            found = self.network(part)
            features.append(found.double().numpy())
            classes.append(self.network.classes(found).argmax(1).numpy())
        return Features(features_NF=np.concatenate(features), classes_N=np.concatenate(classes))


@functools.cache
def packaged_extractor(dataset: str) -> Extractor:
    """The extractor of an embedded data set, from the weights in the package.

    Raises:
        UserError: no weights are packaged for this data set.
    """
    path = WEIGHTS / f"{dataset}.safetensors"
    if not path.exists():
        raise UserError(f"--dataset {dataset}: no feature network is packaged for it")
    return load_extractor(path, name=dataset)


def load_extractor(path: Path, *, name: str) -> Extractor:
    """Read a feature network; its name ends in the first six digits of the file's digest."""
    with safe_open(path, framework="pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    network = FeatureNetwork(recipe["num_classes"])
    network.load_state_dict(state)
    digest = sha256_file(path)
    return Extractor(name=f"{name}-{digest[:6]}", digest=digest, network=network.eval())
