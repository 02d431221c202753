"""Command-line values that people write as text, checked with one clear line each."""

from __future__ import annotations

import re

from varant.errors import UserError

_UNITS = {"": 1, "k": 1_000, "m": 1_000_000}


def parse_budget(flag: str, text: str) -> int:
    """Images from `100k`, `1.5M`, `2e5` or `60000`.

    Raises:
        UserError: not such a number, not whole, or not positive.
    """
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)([kKmM]?)", text.strip())
    try:
        images = float(match[1]) * _UNITS[match[2].lower()] if match else -1.0
    except ValueError:
        images = -1.0
    if images < 1 or images != int(images):
        raise UserError(f"{flag} {text}: give a number of images such as 100k, 1.5M or 2e5")
    return int(images)


def parse_list(flag: str, text: str) -> tuple[str, ...]:
    """Items of a comma-separated list, at least one, none twice."""
    items = tuple(part.strip() for part in text.split(",") if part.strip())
    if not items:
        raise UserError(f"{flag} {text!r}: give at least one value, separated by commas")
    twice = sorted({item for item in items if items.count(item) > 1})
    if twice:
        raise UserError(f"{flag} {text}: {', '.join(twice)} given twice")
    return items


def parse_depths(flag: str, text: str, *, depth: int) -> tuple[int, ...]:
    """Ascending depths from a list such as `2,4,6`, each from 1 to the network's `depth`."""
    depths = []
    for item in parse_list(flag, text):
        if not re.fullmatch(r"-?\d+", item):
            raise UserError(f"{flag} {item}: not a whole number; give depths such as 2,4,6")
        if not 1 <= int(item) <= depth:
            raise UserError(f"{flag} {item}: the network has {depth} layers; use 1 to {depth}")
        depths.append(int(item))
    return tuple(sorted(depths))
