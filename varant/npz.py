"""Arrays of NPZ files that others made: what a header declares is looked at before room is made."""

import math
import zipfile
import zlib
from typing import IO, Any, NamedTuple

import numpy as np

# What a damaged or foreign NPZ raises; the last of an encrypted one.
UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError)
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


class Header(NamedTuple):
    """What an array declares. `columns_first`: how its numbers lie."""

    shape: tuple[int, ...]
    columns_first: bool
    dtype: np.dtype[Any]


def read_header(member: IO[bytes]) -> Header:
    """`ValueError` for pickled objects, or a version that arrays of numbers and texts do not
    need."""
    version = np.lib.format.read_magic(member)
    if version not in _HEADERS:
        raise ValueError(f"an array of version {version}")
    found = Header(*_HEADERS[version](member))
    if found.dtype.hasobject:
        raise ValueError("pickled objects are not read")
    return found


def read_array(pack: zipfile.ZipFile, name: str, *, most: int) -> np.ndarray:
    """An array of at most `most` bytes; one of `UNREADABLE` for what is no such array."""
    with pack.open(f"{name}.npy") as member:
        shape, columns_first, dtype = read_header(member)
        size = math.prod(shape) * dtype.itemsize
        if size > most:
            raise ValueError(f"{name} declares {size:,} bytes, more than {most:,}")
        content = member.read(size)
    if len(content) < size:
        raise ValueError(f"{name} ends early")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if columns_first else "C")
