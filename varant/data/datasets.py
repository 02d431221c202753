"""Data sets: what a split is, and those that come with the package. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from varant.data import shapes
from varant.errors import UserError
from varant.files import digest_of

SPLITS = ("train", "select", "test")
LEAST_HELD_OUT = 500  # select and test images that a limited data set keeps


class Split(Protocol):
    """Images of one split, read when they are asked for."""

    @property
    def labels_N(self) -> np.ndarray:
        """(N,) int64."""
        ...

    def __len__(self) -> int: ...

    def images(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> np.ndarray:
        """(n, 3, H, W) uint8 images `chosen`.

        Args:
            places_N2: for splits with random crops, where each crop lies between the edges
                (left to right, top to bottom, in [0, 1)); None gives every image a place that is
                always its own.
        """
        ...


def images_to_float(images_N3HW: np.ndarray) -> Tensor:
    """uint8 images to float32 in [-1, 1]."""
    return torch.from_numpy(images_N3HW).float().div_(127.5).sub_(1)


@dataclass(frozen=True, kw_only=True)
class ArraySplit:
    """A split held in memory: (N, 3, H, W) uint8 images and their labels."""

    images_N3HW: np.ndarray
    labels_N: np.ndarray

    def __len__(self) -> int:
        return len(self.labels_N)

    def images(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> np.ndarray:
        return self.images_N3HW[chosen]


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set whose splits are made when they are first asked for.

    What chooses something looks at `select`; what is reported comes from `test`.

    Attributes:
        digest: SHA-256 of all that fixes the pixels: name, renderer version, seed, sizes.
        sizes: images of each split.
        make_split: split name to its images.
    """

    name: str
    image_side: int
    class_names: tuple[str, ...]
    digest: str
    sizes: dict[str, int]
    make_split: Callable[[str], Split]

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @cached_property
    def train(self) -> Split:
        return self.make_split("train")

    @cached_property
    def select(self) -> Split:
        return self.make_split("select")

    @cached_property
    def test(self) -> Split:
        return self.make_split("test")


def load_dataset(name: str, *, limit: int | None = None) -> Dataset:
    """An embedded data set.

    Args:
        limit: training images to keep, with held-out splits in proportion but of at least 500
            where there are as many; None keeps all.

    Raises:
        UserError: an unknown name, or digits without scikit-learn.
    """
    if name not in DATASETS:
        raise UserError(f"--dataset {name}: use one of {', '.join(sorted(DATASETS))}")
    full = _FULL_SIZES[name]
    kept = full["train"] if limit is None else min(limit, full["train"])
    least = {"train": 0, "select": LEAST_HELD_OUT, "test": LEAST_HELD_OUT}
    return DATASETS[name](
        {
            split: min(count, max(least[split], count * kept // full["train"]))
            for split, count in full.items()
        }
    )


_FULL_SIZES = {
    "shapes": {"train": 25_000, "select": 2_500, "test": 5_000},
    "digits": {"train": 1_197, "select": 200, "test": 400},
}


def _shapes(sizes: dict[str, int]) -> Dataset:
    seed = 0

    def make_split(split: str, part: int = 500) -> Split:
        """Rendered a few hundred at a time: their float arrays stay in the processor's cache."""
        stream, count = SPLITS.index(split), sizes[split]
        images = [
            shapes.render(seed, stream, first, min(part, count - first))
            for first in range(0, count, part)
        ]
        return ArraySplit(images_N3HW=np.concatenate(images), labels_N=shapes.labels_of(0, count))

    spec = {
        "name": "shapes",
        "renderer": shapes.RENDERER_VERSION,
        "seed": seed,
        "side": shapes.SIDE,
        "sizes": sizes,
    }
    return Dataset(
        name="shapes",
        image_side=shapes.SIDE,
        class_names=shapes.CLASSES,
        digest=digest_of(spec),
        sizes=sizes,
        make_split=make_split,
    )


def _digits(sizes: dict[str, int]) -> Dataset:
    """scikit-learn's 8 x 8 digits, 1,797 images, enlarged to 24 x 24 RGB."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "--dataset digits: needs scikit-learn; pip install 'varant[digits]'"
        ) from None

    def make_split(split: str) -> Split:
        digits = load_digits()
        order = np.random.Generator(np.random.Philox(key=0)).permutation(len(digits.target))
        start = sum(_FULL_SIZES["digits"][s] for s in SPLITS[: SPLITS.index(split)])
        chosen = order[start : start + sizes[split]]
        large = np.kron(digits.images[chosen], np.ones((3, 3)))
        grey = np.rint(large * (255 / 16)).astype(np.uint8)
        return ArraySplit(
            images_N3HW=np.repeat(grey[:, None], 3, axis=1),
            labels_N=digits.target[chosen].astype(np.int64),
        )

    return Dataset(
        name="digits",
        image_side=24,
        class_names=tuple(str(i) for i in range(10)),
        digest=digest_of({"name": "digits", "version": 1, "sizes": sizes}),
        sizes=sizes,
        make_split=make_split,
    )


DATASETS: dict[str, Callable[[dict[str, int]], Dataset]] = {"shapes": _shapes, "digits": _digits}
