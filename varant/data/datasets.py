"""Data sets: what a split is, and those that come with the package. Nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from varant.data import shapes
from varant.errors import UserError
from varant.files import digest_of

SPLITS = ("train", "select", "test")
UNIT_SPLITS = ("test", "real")
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

    What chooses something looks at `select`; what is reported comes from the `test` images of a
    unit, see `of_unit`.

    Attributes:
        digest: SHA-256 of all that fixes the pixels: name, renderer version, seed, sizes.
        sizes: images of each split.
        make_split: split name to its images.
        make_unit: a unit's number to its held-out images; None where they are finite.
    """

    name: str
    image_side: int
    class_names: tuple[str, ...]
    digest: str
    sizes: dict[str, int]
    make_split: Callable[[str], Split]
    make_unit: Callable[[int], Dataset] | None = None

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

    @cached_property
    def real(self) -> Split:
        return self.make_split("real")

    def of_unit(self, unit: int) -> Dataset:
        """A unit's held-out images: `test`, and `real` ones that are scored as samples are.

        Rendered images are the unit's own. Of a finite data set all units have the same: the test
        images, and the select images as `real`.
        """
        if self.make_unit is not None:
            return self.make_unit(unit)
        held_out = {"test": "test", "real": "select"}
        return replace(
            self,
            digest=digest_of({"held out of": self.digest}),
            sizes={name: self.sizes[split] for name, split in held_out.items()},
            make_split=lambda name: self.make_split(held_out[name]),
        )


def _shapes(split: str, count: int, unit: int | None = None, part: int = 500) -> ArraySplit:
    """Rendered a few hundred at a time: their float arrays stay in the processor's cache."""
    firsts = range(0, count, part)
    if unit is None:
        stream = SPLITS.index(split)
    else:  # streams of its own, after those of the splits
        stream = len(SPLITS) + len(UNIT_SPLITS) * unit + UNIT_SPLITS.index(split)
    images = [shapes.render(0, stream, first, min(part, count - first)) for first in firsts]
    return ArraySplit(images_N3HW=np.concatenate(images), labels_N=shapes.labels_of(0, count))


def _digits(split: str, count: int) -> ArraySplit:
    """scikit-learn's 8 x 8 digits, 1,797 images, enlarged to 24 x 24 RGB."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(digits.target))
    start = sum(DATASETS["digits"].sizes[s] for s in SPLITS[: SPLITS.index(split)])
    chosen = order[start : start + count]
    large = np.kron(digits.images[chosen], np.ones((3, 3)))
    grey = np.rint(large * (255 / 16)).astype(np.uint8)
    labels_N = digits.target[chosen].astype(np.int64)
    return ArraySplit(images_N3HW=np.repeat(grey[:, None], 3, axis=1), labels_N=labels_N)


class Embedded(NamedTuple):
    """A data set of the package: how a split is made, and what fixes the pixels besides sizes."""

    make: Callable[[str, int], Split]
    sizes: dict[str, int]
    class_names: tuple[str, ...]
    recipe: dict[str, int]


DATASETS = {
    "shapes": Embedded(
        make=_shapes,
        sizes={"train": 25_000, "select": 2_500, "test": 5_000},
        class_names=shapes.CLASSES,
        recipe={"renderer": shapes.RENDERER_VERSION, "seed": 0, "side": shapes.SIDE},
    ),
    "digits": Embedded(
        make=_digits,
        sizes={"train": 1_197, "select": 200, "test": 400},
        class_names=tuple("0123456789"),
        recipe={"version": 1},
    ),
}


def load_dataset(name: str, *, limit: int | None = None) -> Dataset:
    """An embedded data set; `UserError` for an unknown name, or digits without scikit-learn.

    Args:
        limit: training images to keep, with held-out splits in proportion but of at least 500
            where there are as many; None keeps all.
    """
    if name not in DATASETS:
        raise UserError(f"--dataset {name}: use one of {', '.join(sorted(DATASETS))}")
    if name == "digits" and importlib.util.find_spec("sklearn") is None:
        raise UserError("--dataset digits: needs scikit-learn; pip install 'varant[digits]'")
    make, full, class_names, recipe = DATASETS[name]
    kept = full["train"] if limit is None else min(limit, full["train"])
    least = {"train": 0, "select": LEAST_HELD_OUT, "test": LEAST_HELD_OUT}
    sizes = {
        split: min(count, max(least[split], count * kept // full["train"]))
        for split, count in full.items()
    }
    dataset = Dataset(
        name=name,
        image_side=shapes.SIDE,
        class_names=class_names,
        digest=digest_of({"name": name, "sizes": sizes} | recipe),
        sizes=sizes,
        make_split=lambda split: make(split, sizes[split]),
    )
    if make is not _shapes:
        return dataset

    def of_unit(unit: int) -> Dataset:
        counts = {"test": sizes["test"], "real": 2 * sizes["test"]}
        return replace(
            dataset,
            digest=digest_of({"unit": unit, "of": dataset.digest}),
            sizes=counts,
            make_split=lambda split: _shapes(split, counts[split], unit),
        )

    return replace(dataset, make_unit=of_unit)
