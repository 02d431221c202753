"""The bytes that a folder's files must have: their SHA-256 in `manifest.json` beside them.

What a later step reads is recorded when it is written and verified when it is opened, once a
process. That finds what changed by accident. There are no keys: who changes a file and its manifest
alike is believed.

Of the standard library alone: reports, which know nothing else of `varant`, use it too.
"""

import contextlib
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from varant.errors import UserError
from varant.files import read_json, replacing, sha256_file, write_json

FILE = "manifest.json"
FORMAT: dict[str, object] = {"format": "varant-manifest", "version": 1}
LOCK = ".manifest.lock"  # of a folder that several processes record in
REMEDY = "delete it and run again"

_Stamp = tuple[str, int, int, int]
_verified: dict[Path, _Stamp] = {}


class Damaged(UserError):
    """A file that is not what was written; the message names it and the remedy."""


@contextlib.contextmanager
def damage_named() -> Iterator[None]:
    """What is found damaged inside is named in a warning and passed over."""
    try:
        yield
    except Damaged as damage:
        print(f"warning: {damage}", file=sys.stderr)


def write(folder: Path, sha256: Mapping[str, str]) -> None:
    """Replace a folder's manifest by these digests, by file name."""
    write_json(folder / FILE, FORMAT | {"sha256": dict(sorted(sha256.items()))})


def record(*paths: Path, fresh: bool = False) -> None:
    """Add files of one folder, as they are now, to its manifest; `fresh` begins it anew.

    Who calls it keeps other writers from the folder meanwhile (`files.locked`).
    """
    folder = paths[0].parent
    known = {} if fresh else read(folder)
    write(folder, known | {path.name: sha256_file(path) for path in paths})


@contextlib.contextmanager
def recording(path: Path, *, fresh: bool = False) -> Iterator[Path]:
    """As `replacing`, and recorded; `fresh` begins the folder's manifest anew."""
    with replacing(path) as aside:
        yield aside
    record(path, fresh=fresh)


def read(folder: Path) -> dict[str, str]:
    """Digests by file name; {} for a folder without a manifest, `Damaged` for a bad manifest."""
    try:
        content = read_json(folder / FILE, FORMAT)["sha256"]
        return {str(name): str(digest) for name, digest in content.items()}
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, KeyError, AttributeError):
        raise Damaged(f"{folder / FILE}: damaged; {REMEDY}") from None


def verified(path: Path, remedy: str = REMEDY, *, listed: bool = True) -> Path:
    """`path`, whose content is what its folder's manifest says.

    Args:
        listed: whether it must be in the manifest; else what is not passes, as files of a user's.

    Raises:
        Damaged: it has other content, is gone, or is not in the manifest though it must be.
    """
    wanted = read(path.parent).get(path.name)
    if wanted is None and not listed:
        return path
    if not path.is_file():
        raise Damaged(f"{path}: no such file; {remedy}")
    if wanted is None:
        raise Damaged(f"{path}: not in {FILE}; {remedy}")
    try:
        found = path.stat()
        stamp = (wanted, found.st_ino, found.st_size, found.st_mtime_ns)
        if _verified.get(path) != stamp:
            if sha256_file(path) != wanted:
                said = f"damaged (its SHA-256 is not the one in {FILE})"
                raise Damaged(f"{path}: {said}; {remedy}")
            _verified[path] = stamp
    except OSError as error:
        raise Damaged(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    return path
