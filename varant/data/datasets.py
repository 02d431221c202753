"""Data sets: what a split is, and those that come with the package. Nothing is downloaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from varant.data import shapes
from varant.errors import UserError
from varant.files import digest_of
from varant.presets import preset_at, presets

SPLITS = ("train", "select", "test")
UNIT_SPLITS = ("test", "real")
LEAST_HELD_OUT = 500  # select and test images that a limited data set keeps

DIGITS_SIZES = {"train": 1_197, "select": 200, "test": 400}
DIGITS_SIDE = 24

Part = TypeVar("Part")
Read = TypeVar("Read")


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


def read_ahead(read: Callable[[Part], Read], parts: Iterable[Part]) -> Iterator[Read]:
    """`read` of each part in turn; a thread reads the next one while this one is worked on."""
    with ThreadPoolExecutor(1) as reader:
        coming = None
        for part in parts:
            following = reader.submit(read, part)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()


@dataclass(frozen=True, kw_only=True)
class ArraySplit:
    """A split held in memory: (N, 3, H, W) uint8 images and their labels."""

    images_N3HW: np.ndarray
    labels_N: np.ndarray

    def __len__(self) -> int:
        return len(self.labels_N)

    def images(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> np.ndarray:
        return self.images_N3HW[chosen]


def _made_once(name: str) -> cached_property[Split]:
    return cached_property(lambda dataset: dataset.make_split(name))


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

    train = _made_once("train")
    select = _made_once("select")
    test = _made_once("test")
    real = _made_once("real")

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def key(self) -> str:
        """What its packaged feature networks are called by: `shapes-32`."""
        return f"{self.name}-{self.image_side}"

    def of_unit(self, unit: int) -> Dataset:
        """The held-out images of a unit: `test`, and `real` ones to be scored as samples are.

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


@dataclass(frozen=True, kw_only=True)
class RenderedSplit:
    """`shapes`, rendered whenever they are asked for: 100,000 of 32 x 32 would be 307 MB.

    Attributes:
        stream: of the renderer's random numbers.
        side: pixels.
    """

    stream: int
    side: int
    labels_N: np.ndarray

    def __len__(self) -> int:
        return len(self.labels_N)

    def images(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> np.ndarray:
        return shapes.render(0, self.stream, np.arange(len(self))[chosen], side=self.side)


def _shapes(split: str, count: int, side: int, unit: int | None = None) -> RenderedSplit:
    if unit is None:
        stream = SPLITS.index(split)
    else:  # streams of its own, after those of the splits
        stream = len(SPLITS) + len(UNIT_SPLITS) * unit + UNIT_SPLITS.index(split)
    return RenderedSplit(stream=stream, side=side, labels_N=shapes.labels_of(range(count)))


def _digits(split: str, count: int, side: int) -> ArraySplit:
    """scikit-learn's 8 x 8 digits, 1,797 images, enlarged, as RGB."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(digits.target))
    start = sum(DIGITS_SIZES[s] for s in SPLITS[: SPLITS.index(split)])
    chosen = order[start : start + count]
    large = np.kron(digits.images[chosen], np.ones((side // 8, side // 8)))
    grey = np.rint(large * (255 / 16)).astype(np.uint8)
    labels_N = digits.target[chosen].astype(np.int64)
    return ArraySplit(images_N3HW=np.repeat(grey[:, None], 3, axis=1), labels_N=labels_N)


def load_dataset(name: str, *, side: int = DIGITS_SIDE, limit: int | None = None) -> Dataset:
    """An embedded data set.

    Args:
        side: of its images in pixels. There are as many `shapes` as the preset of this side has.
        limit: training images to keep, with held-out splits in proportion but of at least 500
            where there are as many; None keeps all.

    Raises:
        UserError: an unknown name, digits of another side, or without scikit-learn.
    """
    make: Callable[[str, int, int], Split]
    class_names: tuple[str, ...]
    if name == "shapes":
        make, full, class_names = _shapes, preset_at(side).images, shapes.CLASSES
        recipe = {"renderer": shapes.RENDERER_VERSION, "seed": 0, "side": side}
    elif name == "digits":
        _check_digits(side)
        make, full, class_names, recipe = _digits, DIGITS_SIZES, tuple("0123456789"), {"version": 1}
    else:
        raise UserError(f"--dataset {name}: use one of digits, shapes")
    kept = full["train"] if limit is None else min(limit, full["train"])
    least = {"train": 0, "select": LEAST_HELD_OUT, "test": LEAST_HELD_OUT}
    sizes = {
        split: min(count, max(least[split], count * kept // full["train"]))
        for split, count in full.items()
    }
    dataset = Dataset(
        name=name,
        image_side=side,
        class_names=class_names,
        digest=digest_of({"name": name, "sizes": sizes} | recipe),
        sizes=sizes,
        make_split=lambda split: make(split, sizes[split], side),
    )
    if name == "digits":
        return dataset

    def of_unit(unit: int) -> Dataset:
        counts = {"test": sizes["test"], "real": 2 * sizes["test"]}
        return replace(
            dataset,
            digest=digest_of({"unit": unit, "of": dataset.digest}),
            sizes=counts,
            make_split=lambda split: _shapes(split, counts[split], side, unit),
        )

    return replace(dataset, make_unit=of_unit)


def _check_digits(side: int) -> None:
    if importlib.util.find_spec("sklearn") is None:
        raise UserError("--dataset digits: needs scikit-learn; pip install 'varant[digits]'")
    if side != DIGITS_SIDE:
        of_side = next(n for n, preset in presets().items() if preset.image_side == DIGITS_SIDE)
        raise UserError(
            f"--dataset digits: has {DIGITS_SIDE} px images; the tokenizer takes {side} px; give "
            f"--preset {of_side}"
        )
