"""Data sets that come with the package: rendered or read locally, never downloaded."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from varant import shapes
from varant.errors import UserError
from varant.files import digest_of

LEAST_HELD_OUT = 500  # select and test images that a limited data set keeps


@dataclass(frozen=True, kw_only=True)
class Split:
    """Images of one split.

    Attributes:
        images_N3HW: (N, 3, H, W) uint8.
        labels_N: (N,) int64.
    """

    images_N3HW: np.ndarray
    labels_N: np.ndarray

    def __len__(self) -> int:
        return len(self.labels_N)


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A data set with its splits.

    What chooses something looks at `select`; what is reported comes from `test`.

    Attributes:
        digest: SHA-256 of all that fixes the pixels: name, renderer version, seed, sizes.
    """

    name: str
    image_side: int
    class_names: tuple[str, ...]
    digest: str
    train: Split
    select: Split
    test: Split

    @property
    def num_classes(self) -> int:
        return len(self.class_names)


def load_dataset(name: str, *, limit: int | None = None) -> Dataset:
    """An embedded data set.

    Args:
        limit: training images to keep, with held-out splits in proportion but of at least 500
            where there are as many; None keeps all.

    Raises:
        UserError: an unknown name, or digits without scikit-learn.
    """
    check_dataset(name)
    return DATASETS[name](limit)


def check_dataset(name: str) -> None:
    """Raise `UserError` unless `name` is an embedded data set."""
    if name not in DATASETS:
        raise UserError(f"--dataset {name}: use one of {', '.join(sorted(DATASETS))}")


def _sizes(train: int, select: int, test: int, limit: int | None) -> tuple[int, int, int]:
    if limit is None or limit >= train:
        return train, select, test

    def shrink(size: int) -> int:
        return min(size, max(LEAST_HELD_OUT, size * limit // train))

    return limit, shrink(select), shrink(test)


def split_sizes(name: str, *, limit: int | None = None) -> tuple[int, int, int]:
    """Train, select and test images of an embedded data set, without making them."""
    check_dataset(name)
    return _sizes(*_FULL_SIZES[name], limit)


_FULL_SIZES = {"shapes": (25_000, 2_500, 5_000), "digits": (1_197, 200, 400)}


def _shapes(limit: int | None, seed: int = 0) -> Dataset:
    sizes = split_sizes("shapes", limit=limit)
    spec = {
        "name": "shapes", "renderer": shapes.RENDERER_VERSION, "seed": seed,
        "side": shapes.SIDE, "sizes": sizes,
    }  # fmt: skip
    splits = [
        Split(
            images_N3HW=_render_in_parts(seed, stream, size),
            labels_N=shapes.labels_of(0, size),
        )
        for stream, size in enumerate(sizes)
    ]
    return Dataset(
        name="shapes",
        image_side=shapes.SIDE,
        class_names=shapes.CLASSES,
        digest=digest_of(spec),
        train=splits[0],
        select=splits[1],
        test=splits[2],
    )


def _render_in_parts(seed: int, stream: int, count: int, part: int = 500) -> np.ndarray:
    """Rendered a few hundred at a time: their float arrays stay in the processor's cache."""
    starts = range(0, count, part)
    return np.concatenate(
        [shapes.render(seed, stream, first, min(part, count - first)) for first in starts]
    )


def _digits(limit: int | None) -> Dataset:
    """scikit-learn's 8 x 8 digits, 1,797 images, enlarged to 24 x 24 RGB."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise UserError(
            "--dataset digits: needs scikit-learn; pip install 'varant[digits]'"
        ) from None
    digits = load_digits()
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(digits.target))
    grey = np.rint(np.kron(digits.images[order], np.ones((3, 3))) * (255 / 16)).astype(np.uint8)
    images = np.repeat(grey[:, None], 3, axis=1)
    labels = digits.target[order].astype(np.int64)
    sizes = split_sizes("digits", limit=limit)
    starts = [0, *itertools.accumulate(_FULL_SIZES["digits"][:2])]
    splits = [
        Split(images_N3HW=images[start : start + size], labels_N=labels[start : start + size])
        for start, size in zip(starts, sizes, strict=True)
    ]
    return Dataset(
        name="digits",
        image_side=images.shape[-1],
        class_names=tuple(str(i) for i in range(10)),
        digest=digest_of({"name": "digits", "version": 1, "sizes": sizes}),
        train=splits[0],
        select=splits[1],
        test=splits[2],
    )


DATASETS: dict[str, Callable[[int | None], Dataset]] = {"shapes": _shapes, "digits": _digits}
