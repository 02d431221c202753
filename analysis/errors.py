"""What is wrong with a file of a study's folder."""

from pathlib import Path

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
