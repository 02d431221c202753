"""A data set of your own: class folders of image files, resized and cropped as VAR does.

    PATH/train/<class>/...  PATH/val/<class>/...     ImageNet's layout
    PATH/<class>/...                                 every class split ten ways: 8 train, 1, 1

Classes are the sorted folder names and files are found at any depth below them, as torchvision's
`ImageFolder` has it. The shorter side is resized to 1.125 x the crop by Lanczos; training images
are cropped anywhere, held-out ones in the middle (VAR's data pipeline).
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

from varant.data.datasets import SPLITS, Dataset, Split
from varant.errors import UserError
from varant.files import digest_of
from varant.randomness import stream

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
RESIZE = 1.125  # side of the resized image over the crop's
PREPROCESSING_VERSION = 1

Files = dict[str, list[Path]]  # image files of one split by class


class UnreadableImage(UserError):
    """An image file that cannot be decoded; `index` is its place in the split."""

    def __init__(self, path: Path, index: int, why: str) -> None:
        super().__init__(
            f"--data-path: {path}: cannot be read as an image ({why}); mend or delete it, or give "
            "--skip-unreadable"
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
        """Of image files by class."""
        paths = tuple(itertools.chain.from_iterable(files.values()))
        labels_N = np.repeat(np.arange(len(files)), [len(group) for group in files.values()])
        return cls(paths=paths, labels_N=labels_N, side=side, random_crop=random_crop)

    def __len__(self) -> int:
        return len(self.paths)

    def images(self, chosen: np.ndarray | slice, places_N2: np.ndarray | None = None) -> np.ndarray:
        """As `Split.images`; `UnreadableImage` names the first file that cannot be decoded."""
        indices = np.arange(len(self))[chosen]
        places = map(self._own_place, indices) if places_N2 is None else places_N2
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found = list(pool.map(self._read, indices, places))
        return np.stack(found) if found else np.zeros((0, 3, self.side, self.side), np.uint8)

    def _own_place(self, index: int) -> np.ndarray:
        return stream(0, "crop", int(index)).random(2)

    def _read(self, index: int, place: Sequence[float]) -> np.ndarray:
        path = self.paths[index]
        try:
            with Image.open(path) as file:
                image = resized(file.convert("RGB"), round(RESIZE * self.side))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            bomb = isinstance(error, Image.DecompressionBombError)
            why = "too many pixels" if bomb else type(error).__name__
            raise UnreadableImage(path, int(index), why) from None
        spare = np.array(image.size) - self.side
        if self.random_crop:
            left, top = np.minimum((np.asarray(place) * (spare + 1)).astype(int), spare)
        else:
            left, top = np.rint(spare / 2).astype(int)  # torchvision's rounding
        pixels = np.asarray(image)[top : top + self.side, left : left + self.side]
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


@dataclass(frozen=True, kw_only=True)
class ImagesRead:
    """Images, and the indices of those that were read."""

    images_N3HW: np.ndarray
    indices: np.ndarray


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


def folder_dataset(path: Path, *, side: int) -> Dataset:
    """The data set in `path`, of square images of `side` pixels.

    The digest is over the files' names and sizes in bytes and the preprocessing: reading a
    million files to find one that was changed in place would cost more than tokenising them.

    Raises:
        UserError: no such folder, no class folders, or a class without images (named).
    """
    if not path.is_dir():
        raise UserError(f"--data-path {path}: no such folder; give one of class folders")
    listed = _split_by_folder(path) if (path / "train").is_dir() else _split_by_turn(path)
    splits = {
        name: FolderSplit.of(files, side=side, random_crop=name == "train")
        for name, files in listed.items()
    }
    for name, split in splits.items():
        if not len(split):
            raise UserError(
                f"--data-path {path}: too few images for a {name} split; give a train/ and a val/ "
                "folder, or at least 10 images a class"
            )
    names = tuple(listed["train"])
    content = {
        "preprocessing": PREPROCESSING_VERSION,
        "side": side,
        "classes": names,
        "files": {
            name: [(p.relative_to(path).as_posix(), p.stat().st_size) for p in split.paths]
            for name, split in splits.items()
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


def _split_by_folder(path: Path) -> dict[str, Files]:
    """`train/` and `val/`; the images of `val/` are select and test by turns, class by class."""
    train = _class_files(path / "train")
    if not (path / "val").is_dir():
        raise UserError(f"--data-path {path}: has a train/ folder and no val/ beside it")
    held_out = _class_files(path / "val")
    if surplus := sorted(held_out.keys() - train.keys()):
        raise UserError(f"--data-path {path / 'val' / surplus[0]}: no such class in train/")
    files = {name: held_out.get(name, []) for name in train}
    return {
        "train": train,
        "select": {name: paths[::2] for name, paths in files.items()},
        "test": {name: paths[1::2] for name, paths in files.items()},
    }


def _split_by_turn(path: Path) -> dict[str, Files]:
    """Of each class every tenth image is for select, the one after it for test."""
    files = _class_files(path)
    places = {"train": range(8), "select": (8,), "test": (9,)}
    return {
        split: {
            name: [p for i, p in enumerate(paths) if i % 10 in places[split]]
            for name, paths in files.items()
        }
        for split in SPLITS
    }


def _class_files(path: Path) -> Files:
    """Image files of each class folder, both sorted."""
    folders = sorted(entry.name for entry in os.scandir(path) if entry.is_dir())
    if not folders:
        raise UserError(f"--data-path {path}: holds no class folders")
    files = {}
    for name in folders:
        files[name] = sorted(
            Path(parent) / file
            for parent, _, found in os.walk(path / name, followlinks=True)
            for file in found
            if file.lower().endswith(EXTENSIONS)
        )
        if not files[name]:
            raise UserError(
                f"--data-path {path / name}: a class folder without images "
                f"({', '.join(EXTENSIONS)}); fill or remove it"
            )
    return files
