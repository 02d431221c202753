"""Writing files so that a reader finds the old content or the new, never a part."""

import contextlib
import errno
import functools
import hashlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

MOST_JSON_BYTES = 2**26  # of a file that we read whole; ours have a few thousand


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success it is synced and takes its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        sync(aside)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(aside, 0o666 & ~mask)
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def sync(path: Path) -> None:
    """Have a file or a folder on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Inside, no other process is inside with this file; the system drops a dead one's lock.

    Where one is: wait for it, or raise `BlockingIOError`.
    """
    import fcntl  # not on Windows, where reports are read

    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(handle)


def write_json(path: Path, content: object) -> None:
    with replacing(path) as aside:
        aside.write_text(json.dumps(content, indent=1) + "\n")


def read_json(path: Path, marks: dict[str, object]) -> dict[str, Any]:
    """A JSON object that holds `marks` (format and version); `OSError` or `ValueError` else."""
    if _regular(path).stat().st_size > MOST_JSON_BYTES:
        raise ValueError("absurdly large")
    try:
        content: dict[str, Any] = json.loads(path.read_text())
    except RecursionError:
        raise ValueError("nested absurdly deep") from None
    if not isinstance(content, dict) or not marks.items() <= content.items():
        raise ValueError(f"not {marks}")
    return content


def sha256_file(path: Path) -> str:
    with _regular(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_once(path: Path) -> str:
    """`sha256_file` of what may be large and is not expected to change: hashed again by this
    process only where its size or time is another. Checks of damage take `sha256_file`."""
    known = path.stat()
    return _sha256_of(path.resolve(), known.st_size, known.st_mtime_ns)


@functools.cache
def _sha256_of(path: Path, size: int, mtime_ns: int) -> str:
    return sha256_file(path)


def _regular(path: Path) -> Path:
    """A file that ends: no pipe, no device; `OSError` else."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return path


def digest_of(content: object) -> str:
    """SHA-256 of a JSON-ready value, keys sorted: the identity of a config."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Name and both values of each field, however deep, in which two configs differ; one that is
    missing is None, or has no fields."""
    for name in {**one, **other}:
        mine, theirs = one.get(name), other.get(name)
        if isinstance(mine or theirs, Mapping):
            mine, theirs = (value or {} for value in (mine, theirs))
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            yield from ((f"{name}.{inner}", *both) for inner, *both in differences(mine, theirs))
        elif mine != theirs:
            yield name, mine, theirs
