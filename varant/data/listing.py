"""Which files a folder of images has, and in which split each is.

A folder is entered once and a file counted once, by device and inode, however many links lead
there: what is no link first, so a link adds what no class has by itself. Only regular files are
images. No content is in two splits: of files with the same bytes test keeps its, then select.
"""

import os
import stat
import sys
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from varant.data.datasets import SPLITS
from varant.data.decoding import irregular
from varant.errors import UserError
from varant.files import sha256_file

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
KEEPS_FIRST = ("test", "select", "train")  # of content that several have
_ENDING = 256  # bytes; of compressed images seldom two are the same
_PART = 500  # files that a thread takes at once


@dataclass(frozen=True, slots=True)
class ImageFile:
    """`size` in bytes."""

    path: Path
    size: int


Files = dict[str, list[ImageFile]]  # image files of one split by class


def list_splits(path: Path, *, skip_unreadable: bool) -> dict[str, Files]:
    """Image files of each split of the folder, by class, both sorted.

    Args:
        skip_unreadable: leave out links to nothing, pipes and the like, and say so; else the first
            is an error.

    Raises:
        UserError: no class folders, or a class without images (named).
    """
    split = _by_folder if (path / "train").is_dir() else _by_turn
    return _disjoint(split(path, skip_unreadable))


def _by_folder(path: Path, skip_unreadable: bool) -> dict[str, Files]:
    """`train/` and `val/`; the images of `val/` are select and test by turns, class by class."""
    train = _class_files(path / "train", skip_unreadable)
    if not (path / "val").is_dir():
        raise UserError(f"--data-path {path}: has a train/ folder and no val/ beside it")
    held_out = _class_files(path / "val", skip_unreadable)
    if surplus := sorted(held_out.keys() - train.keys()):
        raise UserError(f"--data-path {path / 'val' / surplus[0]}: no such class in train/")
    files = {name: held_out.get(name, []) for name in train}
    return {
        "train": train,
        "select": {name: paths[::2] for name, paths in files.items()},
        "test": {name: paths[1::2] for name, paths in files.items()},
    }


def _by_turn(path: Path, skip_unreadable: bool) -> dict[str, Files]:
    """Of each class every tenth image is for select, the one after it for test."""
    files = _class_files(path, skip_unreadable)
    places = {"train": range(8), "select": (8,), "test": (9,)}
    return {
        split: {
            name: [p for i, p in enumerate(paths) if i % 10 in places[split]]
            for name, paths in files.items()
        }
        for split in SPLITS
    }


def _class_files(root: Path, skip_unreadable: bool) -> Files:
    """Image files of each class folder, both sorted."""
    # Also links that lead nowhere: a class may have been behind one.
    names = sorted(
        e.name for e in os.scandir(root) if e.is_dir() or (not e.is_file() and e.is_symlink())
    )
    if not names:
        raise UserError(f"--data-path {root}: holds no class folders")
    walked = _walk(root, names)
    if walked.bad and not skip_unreadable:
        why = irregular(Path(walked.bad[0]))
        raise UserError(
            f"--data-path {walked.bad[0]}: {why}; mend or delete it, or give --skip-unreadable"
        )
    _say_left_out("links to nothing, pipes or devices", walked.bad)
    _say_left_out("links to what is listed already", walked.again)
    for name, listed in walked.files.items():
        if not listed:
            raise UserError(
                f"--data-path {root / name}: a class folder without images "
                f"({', '.join(EXTENSIONS)}); fill or remove it"
            )
        listed.sort(key=lambda file: file.path)
    return walked.files


class _Walked(NamedTuple):
    """Image files by class; paths that lead to files or folders once more; and to no file."""

    files: Files
    again: list[str]
    bad: list[str]


def _walk(root: Path, names: Sequence[str]) -> _Walked:
    """What is under the class folders: links are followed once all else has been seen."""
    walked = _Walked(files={name: [] for name in names}, again=[], bad=[])
    seen = {_inode(root.stat())}
    todo, links = [(name, str(root / name)) for name in reversed(names)], deque[tuple[str, str]]()
    while todo or links:
        name, path = todo.pop() if todo else links.popleft()
        try:
            found = os.stat(path)
        except OSError:
            walked.bad.append(path)
            continue
        is_folder = stat.S_ISDIR(found.st_mode)
        if not is_folder and not path.lower().endswith(EXTENSIONS):
            continue
        if not is_folder and not stat.S_ISREG(found.st_mode):
            walked.bad.append(path)
        elif _inode(found) in seen:
            walked.again.append(path)
        else:
            seen.add(_inode(found))
            if not is_folder:
                walked.files[name].append(ImageFile(Path(path), found.st_size))
                continue
            inside = sorted(os.scandir(path), key=lambda entry: entry.name, reverse=True)
            todo += ((name, entry.path) for entry in inside if not entry.is_symlink())
            links.extend((name, entry.path) for entry in reversed(inside) if entry.is_symlink())
    return walked


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _say_left_out(what: str, shown: Sequence[str]) -> None:
    if shown:
        said = f"left out {len(shown)} {what}, such as {shown[0]}"
        print(f"warning: --data-path: {said}", file=sys.stderr)


def _disjoint(splits: dict[str, Files]) -> dict[str, Files]:
    """The splits without files whose content a split has that keeps its before theirs."""
    kept, before = dict(splits), list[ImageFile]()
    for split in KEEPS_FIRST:
        own = [file for files in kept[split].values() for file in files]
        if twins := _twins(own, before):
            kept[split] = {
                name: [file for file in files if file not in twins]
                for name, files in kept[split].items()
            }
            shown = [f"{file.path} (the same as {twin.path})" for file, twin in twins.items()]
            _say_left_out(f"{split} images with the content of a held-out one", shown)
        before += (file for file in own if file not in twins)
    return kept


def _twins(files: Sequence[ImageFile], others: Sequence[ImageFile]) -> dict[ImageFile, ImageFile]:
    """Those of `files` with the content of one of `others`, and which.

    Of a million files few are read whole: only where sizes and last bytes agree.
    """
    for key in (attrgetter("size"), _ending):
        of_files, of_others = _each(key, files), _each(key, others)
        shared = set(of_files) & set(of_others)
        files = [file for file, found in zip(files, of_files, strict=True) if found in shared]
        others = [file for file, found in zip(others, of_others, strict=True) if found in shared]
    known = dict(zip(_each(_content, others), others, strict=True))
    own = zip(files, _each(_content, files), strict=True)
    return {file: known[content] for file, content in own if content in known}


def _each(key: Callable[[ImageFile], object], files: Sequence[ImageFile]) -> list[object]:
    """`key` of each file, read by a few threads."""
    parts = [files[start : start + _PART] for start in range(0, len(files), _PART)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return [
            found for part in pool.map(lambda part: list(map(key, part)), parts) for found in part
        ]


def _ending(file: ImageFile) -> object:
    """Its size and last bytes."""
    try:
        with file.path.open("rb") as opened:
            opened.seek(max(0, file.size - _ENDING))
            return file.size, opened.read(_ENDING)
    except OSError:  # no other's content; it is named when it is read as an image
        return file.path


def _content(file: ImageFile) -> object:
    try:
        return sha256_file(file.path)
    except OSError:
        return file.path
