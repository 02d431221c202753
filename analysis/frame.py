"""The frame of a study: its columns and what makes it valid.

A frame is long and tidy: a row for each score of a cell on all of its samples or images, and a row
for each jackknife replicate, the same score without one block of them. Values of two cells of one
unit are paired: the same test images, or samples drawn with the same uniforms.

Which plan a row is of, and how its network was trained, is in typed columns (`PLAN_KEY`, `kind`,
`share`, `train_switch`, `seed`). `plan` and `schedule` are what people call them: they name things
in figures and tables, group rows of one thing, and are never parsed nor compared with a text.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pyarrow as pa

from analysis.errors import FrameError, verified
from analysis.metrics import NLL, Metric, parse_metric
from analysis.study_file import BASE, REAL, STATUSES
from varant.errors import one_line

COLUMNS: dict[str, str] = {
    "study": "category",
    "unit": "int64",
    "family": "category",
    "plan": "category",
    "scale": "Int64",
    "window": "category",
    "switch": "Int64",
    "subnet_depth": "Int64",
    "selector": "category",
    "anchor": "category",
    "cell_digest": "category",
    "status": "category",
    "metric": "category",
    "group": "Int64",
    "value": "float64",
    "count": "int64",
}
"""Column name to pandas dtype. `scale` counts from 1; `subnet_depth` is absent for the full
network. `group`: the block that a jackknife replicate leaves out; absent for a score on all of
`count` samples or images, which is 0 for exact numbers. From `COMMON_BLOCK` on these are blocks of
what all units of a finite data set share: the reference's features, of NLL the test images.
`anchor` names rows to hold others against: `real`, reconstructed held-out images scored as samples
are; `base`, the network that training began from; `control`, the base trained on without subnet
steps."""

PLAN_KEY = ["family", "scale", "window", "switch", "subnet_depth", "selector"]
"""The columns that tell a plan of a study's grid from another, whatever the network."""

TRAINING_COLUMNS: dict[str, str] = {
    "schedule": "category",
    "kind": "category",
    "share": "Float64",
    "train_switch": "Int64",
    "seed": "Int64",
}
"""Columns of studies that train: how the row's network was. Others may lack them. `kind` is `full`
for the control, `base` and `real` for the other anchors, else one of the training schedules;
`share` is of the control and of `fixed`."""

DRAW_COLUMN = {"draw": "Int64"}
"""Of studies that measure one network several times: which time. Others lack it."""

REGIME_COLUMNS = {"base_images": "Int64", "lr": "Float64"}
"""Of studies that train from bases of several ages at several rates: training images of the base,
and peak learning rate of what followed. A frame without them stays without."""

RIVAL_COLUMNS = {"rival": "category", "weight_bytes": "Int64", "kv_tokens": "Int64"}
"""Of studies that measure peers' ways beside their own: whose a row is, absent for the study's own;
bytes of all weights that its plan reads; tokens that a cache with a budget keeps of a layer. A
frame without them stays without."""

ANCHORS = (REAL, BASE, "control")

FAMILIES: tuple[str, ...] = (REAL, "rung")
FAMILIES += ("full", "scale", "switch", "window", "prefix", "plan", "two-zone", "found", "selector")
FINISHED, *_, PENDING = STATUSES


_ORDER = ("fid", "fd", "kid", "class_accuracy", "nll")


def headline_metrics(frame: pd.DataFrame) -> tuple[Metric, ...]:
    """The quality metrics of a frame in the order of a report: the deciding ones, then mean NLL."""
    metrics = [parse_metric(name) for name in frame["metric"].dropna().unique() if name]
    quality = [m for m in metrics if m.decides or m.name == NLL.name]
    return tuple(sorted(quality, key=lambda m: (_ORDER.index(m.kind), m.name)))


def read_parquet(
    path: Path, categories: Sequence[str] = (), columns: list[str] | None = None
) -> pd.DataFrame:
    """A table of a study's folder, or some of its columns; `categories` are read as such.
    `FrameError` where it is absent, not the one that was written, or no parquet."""
    verified(path)
    usual = pa.default_memory_pool()  # keeps what it freed: of 10,000 cells half a gigabyte
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        return pd.read_parquet(path, columns=columns, read_dictionary=list(categories))
    # Parquet readers raise their own families of errors for damaged bytes, all of them the file's.
    except Exception as error:
        said = one_line(error)[:120]
        raise FrameError(
            f"{path}: not a readable parquet file ({said}); delete it and run the study again"
        ) from error
    finally:
        pa.set_memory_pool(usual)


def write_parquet(path: Path | IO[bytes], table: pd.DataFrame) -> None:
    """Write a table so that it is small: texts as texts, numbers to the bit."""
    plain = {name: "string" for name, kind in table.dtypes.items() if kind == "category"}
    split = [name for name, kind in table.dtypes.items() if kind == "float64"]  # a byte at a time
    coded = [name for name in table.columns if name not in split]
    packing = {"compression": "zstd", "compression_level": 9}
    layout = {"use_dictionary": coded, "use_byte_stream_split": split}
    table.astype(plain).to_parquet(path, index=False, **packing, **layout)


def load_frame(path: Path, *, training: bool = False, full: bool = True) -> pd.DataFrame:
    """Read and check a study's `frame.parquet`; see `checked_frame` for the flags.

    Raises `FrameError` where the file is absent, damaged, no parquet, or no valid frame.
    """
    columns = (COLUMNS | TRAINING_COLUMNS).items()
    frame = read_parquet(path, [name for name, dtype in columns if dtype == "category"])
    return checked_frame(frame, source=path, training=training, full=full)


def checked_frame(
    frame: pd.DataFrame, *, source: Path | str = "frame", training: bool = False, full: bool = True
) -> pd.DataFrame:
    """`frame` with its columns and dtypes, or a `FrameError` naming what is wrong.

    The columns are those of `COLUMNS`, of `TRAINING_COLUMNS` and of `DRAW_COLUMN`, and of
    `REGIME_COLUMNS` and `RIVAL_COLUMNS` those that are there; the second must be there under
    `training`, with values for schedule and seed. Absent values stand for columns that are missing
    otherwise. `full`: some cell of the full network must have finished.
    """

    def refuse(what: str) -> FrameError:
        return FrameError(f"{source}: {what}; run the study again with this version")

    for version, column in ((1, "cell"), (2, "base_seed")):
        if column in frame.columns:
            raise refuse(f"a frame of version {version} (column {column})")
    needed = [*COLUMNS, *(TRAINING_COLUMNS if training else ())]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise refuse(f"missing columns {', '.join(missing)}")
    if frame.empty:
        raise refuse("no rows")
    some = (REGIME_COLUMNS | RIVAL_COLUMNS).items()
    typed, kept = {}, {name: dtype for name, dtype in some if name in frame.columns}
    for name, dtype in (COLUMNS | TRAINING_COLUMNS | DRAW_COLUMN | kept).items():
        try:
            values = frame[name] if name in frame.columns else pd.Series(pd.NA, index=frame.index)
            typed[name] = values.astype(dtype)
        except (ValueError, TypeError) as error:
            raise refuse(f"column {name} is {frame[name].dtype}, not {dtype}") from error
    checked = pd.DataFrame(typed, copy=False).reset_index(drop=True)
    if training:  # a control may lack the switch point: it trains no subnet
        allowed_empty = {"schedule": 0, "kind": 0, "seed": 0, "train_switch": len(checked) - 1}
        trained = checked["anchor"] != REAL
        for name, most in allowed_empty.items():
            empty = int(checked.loc[trained, name].isna().sum())
            if empty > most:
                raise refuse(f"column {name} has no value in {empty} rows")
    allowed_values = {"family": FAMILIES, "status": STATUSES, "anchor": (*ANCHORS, "")}
    for name, allowed in allowed_values.items():
        if strange := sorted(set(_texts(checked[name])) - set(allowed)):
            raise refuse(f"{name} {strange[0]!r} is not one of {', '.join(allowed)}")
    key = ["unit", "schedule", "seed", "draw", "family", "plan", "selector", "metric", "group"]
    finished = checked.loc[checked["status"] == FINISHED, [*key, "value"]]
    for name in _texts(finished["metric"]):
        try:
            parse_metric(name)
        except ValueError as error:
            raise refuse(str(error)) from error
    infinite = finished[~np.isfinite(finished["value"])]
    if len(infinite):
        row = infinite.iloc[0]
        raise refuse(f"{row['metric']} of finished plan {row['plan']!r} is {row['value']}")
    several = finished[finished.duplicated(key, keep=False)].drop_duplicates([*key, "value"])
    twice = several[several.duplicated(key)]
    if len(twice):
        row = twice.iloc[0]
        raise refuse(f"{row['metric']} of plan {row['plan']!r} has two values for one unit")
    if full and not (finished["family"] == "full").any():
        raise refuse("the full network has no finished row, so there is nothing to compare with")
    return checked


def own_rows(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows of a study's own networks and anchors: no rival's."""
    return frame[frame["rival"].isna()] if "rival" in frame else frame


def _texts(column: pd.Series) -> list[str]:
    return ["" if pd.isna(text) else text for text in column.unique()]
