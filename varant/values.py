"""What a text on a command line means: numbers, texts and paths, each within bounds.

No value overflows, none becomes another one, and none takes long to read.
"""

import math
import os
import re
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}
MOST_WHOLE = 2**31 - 1  # of any whole number: what every library takes
MOST_OF_A_KIND = 1_000_000  # images, steps, channels: as many numbers are nothing to hold
MOST_SIDE, MOST_LAYERS = 64, 1_000  # of a token map; of a network: VAR has 32, and 36
MOST_SEED = 10**9  # those of a study's trainings are up to 10^8 above it
MOST_TIMES = 10_000  # that something is done which takes seconds at least
MOST_IMAGES = 10**10  # passes of a training: a year at 300 a second
SMALLEST, LARGEST = 1e-15, 1e15  # of a number that is not 0: float32 holds it, and its square
MOST_CHARACTERS, SHOWN_CHARACTERS = 4_096, 200  # of a text, and of one in an error's line
MOST_NAME_BYTES = 200  # of a file that is written beside its place: systems allow 255
PROCESSES_A_CORE, ALWAYS_PROCESSES = 4, 16


class BadValue(Exception):
    """A text that is no value of a flag's type; no `ValueError`, which the parser would reword."""

    def __init__(self, text: str, expected: str, *, item: str | None = None) -> None:
        super().__init__(expected)
        self.text, self.expected = text, expected
        item = text if item is None else item
        self.item = shortened(item if item and item.isprintable() else repr(item))


def shortened(line: str, most: int = SHOWN_CHARACTERS) -> str:
    """What fits into an error's line."""
    return line if len(line) <= most else f"{line[:most]}..."


def count(text: str) -> int:
    """Images from `100k`, `1.5M`, `2e5` or `60000`."""
    match = re.fullmatch(r"([0-9]*\.?[0-9]+(?:e[0-9]{1,3})?)([kKmM]?)", text.strip())
    images = Decimal(match[1]) * _UNITS[match[2].lower()] if match else Decimal(0)
    if images > MOST_IMAGES:  # before it is an int: 1e999 would be a giant one
        raise BadValue(text, f"must be at most {show_count(MOST_IMAGES)}")
    if images < 1 or images != int(images):
        raise BadValue(text, "give a number of images such as 100k, 1.5M or 2e5")
    return int(images)


def show_count(images: int) -> str:
    """The shortest text that `count` reads back: `100k`, `1.5M`, `6400`."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if images >= size and images % (size // 10) == 0:
            return f"{images / size:g}{unit}"
    return str(images)


def show_number(value: float) -> str:
    """A number, or a fraction where that is what it is: `0.1`, `2/3`, `1`."""
    near = Fraction(value).limit_denominator(100)
    plain = f"{value:.12g}"
    return str(near) if float(near) == value and len(plain) > 10 else plain


def whole(low: int, high: int) -> Callable[[str], int]:
    """How whole numbers of a range are read."""

    def parsed(text: str) -> int:
        if not re.fullmatch(r"[+-]?[0-9]+", text):
            raise BadValue(text, "not a whole number")
        value = Decimal(text)  # digits without end are no int yet
        if value < low:
            raise BadValue(text, f"must be at least {low}")
        if value > high:
            raise BadValue(text, f"must be at most {high}")
        return int(value)

    return parsed


def number_of(text: str) -> float:
    """A finite number from `0.1`, `1e-3` or `2/3`."""
    try:
        exact = Fraction(text) if "/" in text else Decimal(text)
        value = float(exact)
    except (ValueError, ArithmeticError):
        raise BadValue(text, "not a number") from None
    if not math.isfinite(value):
        raise BadValue(text, "must be a finite number")
    if exact != 0 and not SMALLEST <= abs(value) <= LARGEST:
        raise BadValue(text, f"must be 0, or from {SMALLEST:g} to {LARGEST:g} in size")
    return value


def text_of(text: str) -> str:
    """A text that can be printed, written to any file, and read."""
    if not 0 < len(text) <= MOST_CHARACTERS or not text.isprintable():
        raise BadValue(text, f"give a text of 1 to {MOST_CHARACTERS} printable characters")
    return text


def path_of(text: str) -> Path:
    """A path of a file or folder that is there or could be; what it must hold says who reads it."""
    path = Path(text_of(text))
    try:
        path.stat()
    except FileNotFoundError:
        pass
    except OSError as error:  # a name too long, within a file, a circle of links, no permission
        raise BadValue(text, f"{error.strerror}; name another path") from None
    else:
        if not (path.is_file() or path.is_dir()):  # a pipe waits, a device never ends
            raise BadValue(text, "neither a file nor a folder; name another path")
    return path


def folder_of(text: str) -> Path:
    """Of a folder to write into."""
    path = path_of(text)
    if path.is_file():
        raise BadValue(text, "cannot write there (it is a file); name a folder")
    return path


def file_of(text: str) -> Path:
    """Of a file to write."""
    path = path_of(text)
    if path.is_dir():
        raise BadValue(text, "cannot write there (it is a folder); name a file")
    if len(os.fsencode(path.name)) > MOST_NAME_BYTES:
        raise BadValue(text, f"name too long; give at most {MOST_NAME_BYTES} bytes")
    return path


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes_of(text: str) -> int:
    """Processes, or threads of one, as this machine's cores can take turns at."""
    return whole(1, max(ALWAYS_PROCESSES, PROCESSES_A_CORE * (os.cpu_count() or 1)))(text)
