"""Conflict of gradients: the cosine between those of the full network and of a subnet.

A study writes the table as `conflict.parquet`, a row a network, moment of its training, subnet and
layer: `COLUMNS`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from analysis.errors import FrameError
from analysis.frame import read_parquet

CONFLICT_FILE = "conflict.parquet"
NETWORK = ("schedule", "kind", "base_images", "lr", "unit", "seed")
"""The columns that say which network: those of a frame."""
COLUMNS: dict[str, str] = {
    "schedule": "string",
    "kind": "string",
    "base_images": "int64",
    "lr": "float64",
    "unit": "int64",
    "seed": "int64",
    "images_seen": "int64",
    "progress": "float64",
    "subnet_depth": "int64",
    "layer": "int64",
    "cosine": "float64",
}
"""Column name to pandas dtype. `progress` is the share of the training that is over; `layer` counts
from 1, and `WHOLE` stands for all parameters."""
WHOLE = 0


def conflict_table(rows: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)


def load_conflict(path: Path) -> pd.DataFrame:
    """The table of a study's folder; `FrameError` where it is absent, damaged or another."""
    table = read_parquet(path)
    if list(table.columns) != list(COLUMNS):
        raise FrameError(f"{path}: not a table of this version; run the study again")
    return table.astype(COLUMNS)


def profile(table: pd.DataFrame) -> pd.DataFrame:
    """Mean cosine of each layer (rows, from 1) at each moment (columns: progress); subnets, rates,
    seeds and units count alike. Empty for no rows."""
    layers = table[table["layer"] != WHOLE]
    return layers.pivot_table(index="layer", columns="progress", values="cosine", aggfunc="mean")
