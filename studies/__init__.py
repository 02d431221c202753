"""Studies: each asks one question of a network, over a grid of cells."""
