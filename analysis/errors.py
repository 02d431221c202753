"""What is wrong with a file of a study's folder."""


class FrameError(ValueError):
    """A file of a study folder that cannot be used: one line naming file, value and remedy."""
