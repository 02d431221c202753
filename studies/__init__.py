"""Studies: each asks one question of a network, over a grid of cells."""

from varant import signals  # noqa: F401  # first of all: signals end a command from here on
