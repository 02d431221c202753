"""What an extractor of features is, and the small networks packaged for the embedded data sets.

One packaged network a data set and image side. It is a classifier of reconstructions with noise:
one trained on clean images answers to the decoder's artefacts and can call damage an improvement.
"""

from __future__ import annotations

import abc
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from varant.errors import UserError
from varant.files import replacing, sha256_file

CHANNELS, CELLS = 32, 2
FEATURES = CHANNELS * CELLS**2
WEIGHTS = Path(__file__).parent / "weights"
DIGESTS = {
    "digits-24": "43c0c585b07ac0bb622a7a498be485a2d04b746a6b9a3b98495a64e3ffed6543",
    "shapes-24": "3104bff9982574ec9db758183364244ed0d8cd11f3f1ba0deb091b9fb171ea27",
    "shapes-32": "d6986522f164a34ce0e340445e1ab2386482d83e2995f76f8b2ead8b6b009d86",
    "shapes-40": "55ede8a4f15b97bc36dd22c25da6cc8ff9466c2a9a0c68198ae6099d2710d95d",
}  # of the packaged networks, frozen before any depth plan was scored with them


class FeatureNetwork(nn.Module):
    """Images to the means of `CHANNELS` maps in the image's quarters, and class logits in them.

    The features are these means turned so that each direction's variance over the training images
    is the root of what it was: in the means themselves few directions, those that tell the classes
    apart, hold nearly all variance, and damage that keeps the class goes unseen (docs/features.md).
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, padding=1)
        self.conv2 = nn.Conv2d(24, 40, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(40, CHANNELS, 3, padding=1)
        self.classes = nn.Linear(FEATURES, num_classes)
        self.features = nn.Linear(FEATURES, FEATURES)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """(B, 3, H, W) images in [0, 1] to means (B, FEATURES), which both layers read."""
        x = F.max_pool2d(F.silu(self.conv1(images_B3HW - 0.5)), 2)
        x = F.silu(self.conv3(F.silu(self.conv2(x))))
        return F.adaptive_avg_pool2d(x, CELLS).flatten(1)


@dataclass(frozen=True, kw_only=True)
class Features:
    """Features of images.

    Attributes:
        features_NF: (N, F) float64.
        classes_N: (N,) int64, the class that the network gives each image; None where it has no
            classes of the data's.
        spatial_NS: (N, S) float32, features that know where in the image they are; None where the
            network has none.
        probabilities_NC: (N, C) float32, of classes that need not be the data's; None likewise.
    """

    features_NF: np.ndarray
    classes_N: np.ndarray | None = None
    spatial_NS: np.ndarray | None = None
    probabilities_NC: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features_NF)

    def rows(self, chosen: slice) -> Features:
        kept: dict[str, Any] = {k: None if v is None else v[chosen] for k, v in vars(self).items()}
        return Features(**kept)

    def rounded(self) -> Features:
        """As they are stored: features in half precision, float64 again."""
        stored_NF = self.features_NF.astype(np.float16)
        return replace(self, features_NF=stored_NF.astype(np.float64))

    def save(self, path: Path) -> None:
        """Write the features as float16 `.npy`, without classes; labels say what they are of."""
        with replacing(path) as aside, aside.open("wb") as file:
            np.save(file, self.features_NF.astype(np.float16))

    @classmethod
    def load(cls, path: Path) -> Features:
        """What `save` wrote: as `rounded`, without classes; `OSError` or `ValueError` if none."""
        return cls(features_NF=np.load(path, allow_pickle=False).astype(np.float64))

    @classmethod
    def joined(cls, parts: Sequence[Features]) -> Features:
        """One after the other, at least one; of the same extractor."""
        columns = {one.name: [getattr(part, one.name) for part in parts] for one in fields(cls)}
        joined: dict[str, Any] = {
            k: None if v[0] is None else np.concatenate(v) for k, v in columns.items()
        }
        return cls(**joined)


@dataclass(frozen=True, kw_only=True)
class Extractor(abc.ABC):
    """Images to features, with an identity.

    Attributes:
        kind: of the Frechet distance that it gives, as metric names begin: `fid` for Inception
            features alone, else `fd`.
        batch: images that the network takes at once, if the caller does not say.
        name: the part of metric names after the kind; ends in six digits of the digest.
        digest: SHA-256 of the file of weights.
    """

    kind: ClassVar[str]
    batch: ClassVar[int]
    name: str
    digest: str

    @property
    @abc.abstractmethod
    def features(self) -> int:
        """F, of one image."""

    @property
    def facts(self) -> dict[str, str]:
        """What its features depend on beside the images, as files of them say."""
        return {"extractor": self.digest}

    @property
    def spatial_features(self) -> int:
        """S, of one image; 0 where the network has none."""
        return 0

    @torch.no_grad()
    def __call__(self, images_B3HW: Tensor, *, batch: int | None = None) -> Features:
        """Features of images in [0, 1], on any device; `batch` of them at once."""
        return Features.joined([self.of(part) for part in images_B3HW.split(batch or self.batch)])

    @abc.abstractmethod
    def of(self, images_B3HW: Tensor) -> Features:
        """Features of so many images as the network takes at once."""


@dataclass(frozen=True, kw_only=True)
class PackagedExtractor(Extractor):
    """The small feature network as an `Extractor`; it stays on the CPU, where it is fast enough."""

    kind = "fd"
    batch = 500
    network: FeatureNetwork

    @property
    def features(self) -> int:
        return FEATURES

    def of(self, images_B3HW: Tensor) -> Features:
        means = self.network(images_B3HW.cpu())
        features_NF = self.network.features(means).double().numpy()
        return Features(
            features_NF=features_NF, classes_N=self.network.classes(means).argmax(1).numpy()
        )


@functools.cache
def packaged_extractor(network: str) -> PackagedExtractor:
    """The extractor of packaged weights, such as `shapes-24`.

    Raises:
        UserError: no such network is packaged, or its file is not the frozen one.
    """
    if network not in DIGESTS:
        raise UserError(
            f"--dataset: no feature network {network} is packaged, but {', '.join(DIGESTS)}; give "
            "one by --extractor"
        )
    extractor = load_extractor(WEIGHTS / f"{network}.safetensors", name=network)
    if extractor.digest != DIGESTS[network]:
        raise UserError(
            f"--dataset: the packaged feature network {network} is {extractor.digest[:6]}, not "
            f"{DIGESTS[network][:6]}; install varant again"
        )
    return extractor


def load_extractor(path: Path, *, name: str) -> PackagedExtractor:
    """Read a feature network; its name ends in the first six digits of the file's digest."""
    with safe_open(path, framework="pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    network = FeatureNetwork(recipe["num_classes"])
    network.load_state_dict(state)
    digest = sha256_file(path)
    return PackagedExtractor(name=f"{name}-{digest[:6]}", digest=digest, network=network.eval())
