"""What is wrong with a file of a study's folder."""

from pathlib import Path

from pydantic import ValidationError

from varant import manifest

REMEDY = "run the study again"


class FrameError(ValueError):
    """A file of a study folder that cannot be used: one line naming file, value and remedy."""


def verified(path: Path, remedy: str = REMEDY, *, listed: bool = True) -> Path:
    """`path`, with the content that its folder's manifest says; `FrameError` for any other.

    Args:
        listed: whether the manifest must name it.
    """
    try:
        return manifest.verified(path, remedy, listed=listed)
    except manifest.Damaged as damage:
        raise FrameError(str(damage)) from None


def was_written(path: Path) -> bool:
    """Whether a file that not every study has is there, or ought to be."""
    try:
        return path.exists() or path.name in manifest.read(path.parent)
    except manifest.Damaged as damage:
        raise FrameError(str(damage)) from None


def validation_text(error: ValidationError) -> str:
    """The first trouble of a file that could not be read, with its remedy."""
    first = error.errors()[0]
    place, value = ".".join(map(str, first["loc"])) or "the file", repr(first["input"])[:60]
    expected = first.get("ctx", {}).get("expected")
    match first["type"], place:
        case "json_invalid", _:
            return f"not readable JSON ({first['ctx']['error']}); {REMEDY}"
        case "missing", _:
            return f"missing {place!r}; {REMEDY}"
        case _, "format":
            return f"format is {value}, not {expected}; name a folder that a study wrote"
        case _, "version":
            writer = "use the version that wrote it"
            return f"version is {value}, this code reads {expected}; {writer}, or {REMEDY}"
    return f"{place} is {value}: {first['msg'][0].lower()}{first['msg'][1:]}; {REMEDY}"
