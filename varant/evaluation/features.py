"""What an extractor of features is, and the small networks packaged for the embedded data sets.

One packaged network a data set. It is a classifier of reconstructions with noise: one trained on
clean images answers to the decoder's artefacts and can call damage an improvement.
"""

from __future__ import annotations

import abc
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from varant.errors import UserError
from varant.files import replacing, sha256_file

FEATURES = 32
WEIGHTS = Path(__file__).parent / "weights"


class FeatureNetwork(nn.Module):
    """Images to `FEATURES` features, and class logits linear in them, where it knows classes."""

    def __init__(self, num_classes: int | None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, stride=1, padding=1)
        self.conv2 = nn.Conv2d(24, 40, 3, stride=2, padding=1)
        self.conv3 = nn.Conv2d(40, 64, 3, stride=2, padding=1)
        self.features = nn.Linear(64 * 9, FEATURES)
        self.classes = None if num_classes is None else nn.Linear(FEATURES, num_classes)

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
        classes_N: (N,) int64, the class that the network gives each image; None where it has no
            classes of the data's.
    """

    features_NF: np.ndarray
    classes_N: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.features_NF)

    def rows(self, chosen: slice) -> Features:
        classes_N = None if self.classes_N is None else self.classes_N[chosen]
        return Features(features_NF=self.features_NF[chosen], classes_N=classes_N)

    def rounded(self) -> Features:
        """As they are stored: features in half precision, float64 again."""
        stored_NF = self.features_NF.astype(np.float16)
        return Features(features_NF=stored_NF.astype(np.float64), classes_N=self.classes_N)

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
        classes = [part.classes_N for part in parts if part.classes_N is not None]
        return cls(
            features_NF=np.concatenate([part.features_NF for part in parts]),
            classes_N=np.concatenate(classes) if classes else None,
        )


@dataclass(frozen=True, kw_only=True)
class Extractor(abc.ABC):
    """Images to features, with an identity.

    Attributes:
        kind: of the Frechet distance that it gives, as metric names begin: `fid` for Inception
            features alone, else `fd`.
        features: F, of one image.
        batch: images that the network takes at once, if the caller does not say.
        name: the part of metric names after the kind; ends in six digits of the digest.
        digest: SHA-256 of the file of weights.
    """

    kind: ClassVar[str]
    features: ClassVar[int]
    batch: ClassVar[int]
    name: str
    digest: str

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
    features = FEATURES
    batch = 500
    network: FeatureNetwork

    def of(self, images_B3HW: Tensor) -> Features:
        found = self.network(images_B3HW.cpu())
        layer = self.network.classes
        classes_N = None if layer is None else layer(found).argmax(1).numpy()
        return Features(features_NF=found.double().numpy(), classes_N=classes_N)


@functools.cache
def packaged_extractor(network: str) -> PackagedExtractor:
    """The extractor of packaged weights, such as `shapes-24`; `UserError` where there are none."""
    path = WEIGHTS / f"{network}.safetensors"
    if not path.exists():
        there = ", ".join(sorted(file.stem for file in WEIGHTS.glob("*-[0-9]*.safetensors")))
        raise UserError(f"--dataset: no feature network {network} is packaged, but {there}")
    return load_extractor(path, name=network)


def load_extractor(path: Path, *, name: str) -> PackagedExtractor:
    """Read a feature network; its name ends in the first six digits of the file's digest."""
    with safe_open(path, framework="pt") as file:
        recipe = json.loads(file.metadata()["recipe"])
        state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    network = FeatureNetwork(recipe["num_classes"])
    network.load_state_dict(state)
    digest = sha256_file(path)
    return PackagedExtractor(name=f"{name}-{digest[:6]}", digest=digest, network=network.eval())
