"""A data set of your own: class folders of image files, resized and cropped as VAR does.

    PATH/train/<class>/...  PATH/val/<class>/...     ImageNet's layout
    PATH/<class>/...                                 every class split ten ways: 8 train, 1, 1

Classes are the sorted folder names and files are found at any depth below them, as torchvision's
`ImageFolder` has it. The shorter side of an image is resized to 1.125 x the crop by Lanczos;
training images are cropped anywhere, held-out ones in the middle (VAR's data pipeline).
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from varant.data.datasets import Dataset, Split
from varant.data.decoding import BadImage, read_image
from varant.data.listing import Files, list_splits
from varant.errors import UserError
from varant.files import digest_of
from varant.randomness import stream

RESIZE = 1.125  # side of the resized image over the crop's
PREPROCESSING_VERSION = 3


class UnreadableImage(UserError):
    """A file that gives no image; `index` is its place in the split."""

    def __init__(self, path: Path, index: int, why: str) -> None:
        super().__init__(
            f"--data-path: {path}: {why}; mend or delete it, or give --skip-unreadable"
        )
        self.path, self.index = path, index


@dataclass(frozen=True, kw_only=True)
class FolderSplit:
    """Image files and their labels; decoded by a few threads when they are asked for.

    Attributes:
        side: of the square crop, in pixels.
        random_crop: crop anywhere, else in the middle.
    """

    paths: tuple[Path, ...]
    labels_N: np.ndarray
    side: int
    random_crop: bool

    @classmethod
    def of(cls, files: Files, *, side: int, random_crop: bool) -> FolderSplit:
        """Classes by turns: the first so many images, and any block of them, have all classes."""
        groups = files.values()
        turn_N = np.concatenate([np.arange(len(group)) for group in groups])
        order_N = turn_N.argsort(kind="stable")
        paths = [file.path for group in groups for file in group]
        labels_N = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        return cls(
            paths=tuple(paths[i] for i in order_N),
            labels_N=labels_N[order_N],
            side=side,
            random_crop=random_crop,
        )

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> np.ndarray:
        """As `Split.images`; `UnreadableImage` names the first file that cannot be decoded."""
        indices = np.arange(len(self))[chosen]
        own = (stream(0, "crop", int(index)).random(2) for index in indices)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found = list(pool.map(self._read, indices, own if places_N2 is None else places_N2))
        return np.stack(found) if found else np.zeros((0, 3, self.side, self.side), np.uint8)

    def _read(self, index: int, place: Sequence[float]) -> np.ndarray:
        path = self.paths[index]
        try:
            image = resized(read_image(path), round(RESIZE * self.side))
        except BadImage as bad:
            raise UnreadableImage(path, int(index), str(bad)) from None
        spare = np.array(image.size) - self.side
        if self.random_crop:
            left, top = np.minimum((np.asarray(place) * (spare + 1)).astype(int), spare)
        else:
            left, top = np.rint(spare / 2).astype(int)  # torchvision's rounding
        pixels = np.asarray(image)[top : top + self.side, left : left + self.side]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@dataclass(frozen=True, kw_only=True)
class ImagesRead:
    """Images, the indices of those that were read, and the paths of those that were left out; none
    where others stand in for them."""

    images_N3HW: np.ndarray
    indices: np.ndarray
    skipped: Sequence[str] = ()


class ReplacingSplit:
    """A split in which the next image that can be read stands for one that cannot.

    Attributes:
        skip_unreadable: False raises for the first one, as the split itself does.
        skipped: paths of the files that could not be read so far.
    """

    def __init__(self, split: Split, skip_unreadable: bool = False) -> None:
        self.split, self.labels_N = split, split.labels_N
        self.skip_unreadable = skip_unreadable
        self.skipped: dict[str, None] = {}

    def __len__(self) -> int:
        return len(self.split)

    def images(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> np.ndarray:
        return self.read(chosen, places_N2).images_N3HW

    def read(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> ImagesRead:
        """As `Split.images`, saying which they are; `UnreadableImage` if there is none to read."""
        indices = np.arange(len(self))[chosen]
        while True:
            try:
                images = self.split.images(indices, places_N2)
            except UnreadableImage as error:
                if not self.skip_unreadable or len(self.skipped) + 1 >= len(self):
                    raise
                self.skipped[str(error.path)] = None
                indices = np.where(indices == error.index, (indices + 1) % len(self), indices)
            else:
                return ImagesRead(images_N3HW=images, indices=indices)


def resized(image: Image.Image, shorter: int) -> Image.Image:
    """The image with its shorter side `shorter` pixels, its proportions kept."""
    width, height = (max(shorter, int(shorter * side / min(image.size))) for side in image.size)
    return image.resize((width, height), Image.Resampling.LANCZOS)


def folder_dataset(path: Path, *, side: int, skip_unreadable: bool = False) -> Dataset:
    """The data set in `path`, of square images of `side` pixels.

    The digest is over the files' names and sizes in bytes and the preprocessing: reading a
    million files to find one that was changed in place would cost more than tokenising them.

    Args:
        skip_unreadable: see `list_splits`.

    Raises:
        UserError: no such folder, no class folders, a class without images, or a split without.
    """
    if not path.is_dir():
        raise UserError(f"--data-path {path}: no such folder; give one of class folders")
    listed = list_splits(path, skip_unreadable=skip_unreadable)
    splits = {
        name: FolderSplit.of(files, side=side, random_crop=name == "train")
        for name, files in listed.items()
    }
    if bare := [name for name, files in listed["train"].items() if not files]:
        raise UserError(
            f"--data-path {path}: all training images of class {bare[0]} are held out as well; "
            "give it others"
        )
    for name, split in splits.items():
        if not len(split):
            raise UserError(
                f"--data-path {path}: too few images for a {name} split; give a train/ and a val/ "
                "folder, or at least 10 images a class, all different"
            )
    names = tuple(listed["train"])
    content = {
        "preprocessing": PREPROCESSING_VERSION,
        "side": side,
        "classes": names,
        "files": {
            name: [
                (file.path.relative_to(path).as_posix(), file.size)
                for file in itertools.chain.from_iterable(files.values())
            ]
            for name, files in listed.items()
        },
    }
    return Dataset(
        name="folder",
        image_side=side,
        class_names=names,
        digest=digest_of(content),
        sizes={name: len(split) for name, split in splits.items()},
        make_split=splits.__getitem__,
    )
