"""An image file as 8-bit RGB: which are read, how each is converted, and which are refused.

By what a file holds and not by its name: no other decoder of Pillow's than those of `FORMATS` looks
at it. docs/training.md has the table of what becomes what. A long thin image is refused, since 6 KB
can hold 1 x 3,000,000 pixels, which are gigabytes once the shorter side is that of a crop.
"""

import contextlib
import functools
import stat
import sys
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from PIL.TiffImagePlugin import TiffImageFile

FORMATS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP", "GIF")
MOST_PIXELS = 2**26  # 192 MiB as RGB; a few threads read at once
MOST_RATIO = 100
BACKGROUND = (255, 255, 255)
_BITS_PER_SAMPLE = 258  # a TIFF's tag
_KINDS = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}


class BadImage(ValueError):
    """A file that gives no image; the message says why."""


def read_image(path: Path) -> Image.Image:
    """The file's image in 8-bit RGB; `BadImage` for what is damaged or refused."""
    _hush()
    if why := irregular(path):
        raise BadImage(why)
    try:
        with Image.open(path, formats=FORMATS) as file:
            _check_size(*file.size)
            if file.format != "MPO" and getattr(file, "is_animated", False):  # MPO: a JPEG's extras
                _say_first_only()
            file.load()
            with contextlib.suppress(Exception):  # EXIF that cannot be read turns nothing
                ImageOps.exif_transpose(file, in_place=True)
            return _as_rgb(file)
    except (BadImage, MemoryError):
        raise
    except Image.DecompressionBombError:
        raise BadImage(f"has more than {MOST_PIXELS:,} pixels") from None
    except Exception as error:  # decoders raise all families of errors for damaged bytes
        raise BadImage(f"cannot be read as an image ({type(error).__name__})") from None


def irregular(path: Path) -> str | None:
    """Why a path is not to be opened: a link to nothing; what may hang a reader, as a pipe does."""
    try:
        kind = stat.S_IFMT(path.stat().st_mode)
    except OSError as error:
        return "is a link to nothing" if path.is_symlink() else f"cannot be read ({error.strerror})"
    if kind == stat.S_IFREG:
        return None
    return f"is {_KINDS.get(kind, 'a device')} and no regular file"


def _check_size(width: int, height: int) -> None:
    if width * height > MOST_PIXELS:
        raise BadImage(f"has {width:,} x {height:,} pixels, more than {MOST_PIXELS:,}")
    if max(width, height) > MOST_RATIO * min(width, height):
        ratio = f"one side is more than {MOST_RATIO} times the other"
        raise BadImage(f"has {width:,} x {height:,} pixels: {ratio}")


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and isinstance(image, TiffImageFile)):
        raise BadImage("has pixels without a stated range; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        bits = image.tag_v2[_BITS_PER_SAMPLE][0] if isinstance(image, TiffImageFile) else 16
        values_HW = np.asarray(image)
        grey_HW = (values_HW >> (bits - 8)).astype(np.uint8)
        grey_HW[values_HW == image.info.get("transparency", -1)] = BACKGROUND[0]
        return Image.fromarray(grey_HW).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, BACKGROUND), image)
    return image.convert("RGB")


@functools.cache
def _say_first_only() -> None:
    said = "of images with several frames or pages the first is taken"
    print(f"warning: --data-path: {said}", file=sys.stderr)


@functools.cache
def _hush() -> None:
    """Pillow warns of large images, which are refused here, and of odd metadata: not on screen."""
    warnings.filterwarnings("ignore", module=r"PIL\b")
