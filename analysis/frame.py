"""The frame of a study: its columns, what makes it valid, and what each metric means.

A frame is long and tidy: one row for each value that was measured, on one disjoint set of images
or samples, of one cell, under one base network. Values of two cells are paired by
(`base_seed`, `set`): the same test images, or samples drawn with the same uniforms.

What a metric is (its unit, which direction is better, whether it may decide a claim) is read from
its name by `parse_metric` and nowhere else.
"""

from __future__ import annotations

import enum
import functools
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

COLUMNS: dict[str, str] = {
    "study": "string",
    "base_seed": "int64",
    "family": "string",
    "cell": "string",
    "scale": "Int64",
    "window": "string",
    "switch": "Int64",
    "subnet_depth": "Int64",
    "selector": "string",
    "cell_digest": "string",
    "status": "string",
    "metric": "string",
    "set": "Int64",
    "value": "float64",
    "count": "int64",
}
"""Column name to pandas dtype. `scale` counts from 1; `set` is absent for exact numbers."""

TRAINING_COLUMNS: dict[str, str] = {
    "schedule": "string",
    "share": "Float64",
    "seed": "Int64",
    "train_switch": "Int64",
}
"""Columns of studies that train: how the cell's network was trained. Others may lack them."""

FAMILIES = ("full", "scale", "switch", "window", "plan", "two-zone", "found", "selector")
STATUSES = ("finished", "failed", "diverged", "interrupted")
FINISHED, FAILED, DIVERGED, INTERRUPTED = STATUSES


class FrameError(ValueError):
    """A file of a study folder that cannot be used: one line naming file, value and remedy."""


class Better(enum.Enum):
    """Which direction of a metric is better."""

    LOWER = "lower"
    HIGHER = "higher"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What a metric name says: words for people, unit, direction, and the claims it may decide."""

    name: str
    kind: str  # nll, fd, kid, fid, class_accuracy, kv_bytes, flops, latency_ms, images_per_second
    label: str  # as a sentence names it
    short: str  # as a table's column or an axis names it
    damage: str  # what "worse than the full network" is called
    unit: str
    better: Better
    decides: bool = False  # may decide a claim; teacher-forced NLL never does
    exact: bool = False  # counted, not sampled: has no interval
    scale: int | None = None  # from 1, for the NLL of one scale
    extractor: str | None = None
    samples: int | None = None  # samples behind one value, as the name states
    split: str = "test"  # whose images; what is measured on `select` chooses, and is no result

    @property
    def damage_sign(self) -> float:
        """Factor that turns (value - full network's value) into damage, positive being worse."""
        return 1.0 if self.better is Better.LOWER else -1.0


_DISTANCES = {
    "fd": ("Fréchet distance", "FD", "FD increase"),
    "kid": ("class-conditional KID", "KID", "KID increase"),
    "fid": ("FID (Inception features)", "FID", "FID increase"),
}


@functools.cache
def parse_metric(name: str) -> Metric:
    """The meaning of a metric name of DESIGN.md's list.

    Raises `ValueError` for a name that is not on it: a direction of better is never guessed.
    """
    if name == "nll/mean":
        return Metric(
            name=name,
            kind="nll",
            label="teacher-forced NLL",
            short="NLL",
            damage="NLL increase",
            unit="nats/token",
            better=Better.LOWER,
        )
    if name == "select/nll/mean":
        return replace(
            parse_metric("nll/mean"),
            name=name,
            label="teacher-forced NLL on the select split",
            short="select NLL",
            split="select",
        )
    if match := re.fullmatch(r"nll/scale_(\d+)", name):
        scale = int(match[1])
        return Metric(
            name=name,
            kind="nll",
            label=f"teacher-forced NLL of scale {scale}",
            short=f"NLL of scale {scale}",
            damage=f"NLL increase at scale {scale}",
            unit="nats/token",
            better=Better.LOWER,
            scale=scale,
        )
    if match := re.fullmatch(r"(fd|kid|fid)/([^/]+)/n(\d+)", name):
        label, short, damage = _DISTANCES[match[1]]
        return Metric(
            name=name,
            kind=match[1],
            label=label,
            short=short,
            damage=damage,
            unit="",
            better=Better.LOWER,
            decides=True,
            extractor=match[2],
            samples=int(match[3]),
        )
    if name == "class_accuracy":
        return Metric(
            name=name,
            kind=name,
            label="class accuracy",
            short="accuracy",
            damage="accuracy lost",
            unit="",
            better=Better.HIGHER,
            decides=True,
        )
    if match := re.fullmatch(r"kv_bytes/(\w+)", name):
        return Metric(
            name=name,
            kind="kv_bytes",
            label=f"KV cache, {match[1]}",
            short=f"KV {match[1]}",
            damage="KV added",
            unit="bytes",
            better=Better.LOWER,
            exact=True,
        )
    if match := re.fullmatch(r"flops/(\w+)", name):
        return Metric(
            name=name,
            kind="flops",
            label=f"FLOPs, {match[1]}",
            short="FLOPs",
            damage="FLOPs added",
            unit="FLOP",
            better=Better.LOWER,
            exact=True,
        )
    if match := re.fullmatch(r"latency_ms/(\w+)", name):
        return Metric(
            name=name,
            kind="latency_ms",
            label=f"latency, {match[1]}",
            short="latency",
            damage="latency added",
            unit="ms",
            better=Better.LOWER,
        )
    if match := re.fullmatch(r"images_per_second/(\w+)", name):
        return Metric(
            name=name,
            kind="images_per_second",
            label=f"throughput, {match[1]}",
            short="images/s",
            damage="throughput lost",
            unit="images/s",
            better=Better.HIGHER,
        )
    raise ValueError(f"metric {name!r} is not one that this code knows")


_ORDER = ("fd", "kid", "fid", "class_accuracy", "nll")


def headline_metrics(frame: pd.DataFrame) -> tuple[Metric, ...]:
    """The quality metrics of a frame in the order of a report: the deciding ones, then mean NLL."""
    metrics = [parse_metric(name) for name in _metric_names(frame)]
    quality = [m for m in metrics if m.decides or m.name == "nll/mean"]
    return tuple(sorted(quality, key=lambda m: (_ORDER.index(m.kind), m.name)))


def find_metric(frame: pd.DataFrame, name: str) -> Metric | None:
    """The metric of that name where the frame has it, else None."""
    return parse_metric(name) if name in _metric_names(frame) else None


def _metric_names(frame: pd.DataFrame) -> list[str]:
    return sorted(name for name in frame["metric"].dropna().unique() if name)


def load_frame(path: Path, *, training: bool = False, full: bool = True) -> pd.DataFrame:
    """Read and check a study's `frame.parquet`; see `checked_frame` for the flags.

    Raises `FrameError` where the file is absent, truncated, no parquet, or no valid frame.
    """
    if not path.is_file():
        raise FrameError(f"{path}: no such file; run the study again to write it")
    try:
        frame = pd.read_parquet(path)
    # Parquet readers raise their own families of errors for damaged bytes, all of them the file's.
    except Exception as error:
        said = " ".join(str(error).split())[:120]
        raise FrameError(
            f"{path}: not a readable parquet file ({said}); delete it and run the study again"
        ) from error
    return checked_frame(frame, source=path, training=training, full=full)


def checked_frame(
    frame: pd.DataFrame, *, source: Path | str = "frame", training: bool = False, full: bool = True
) -> pd.DataFrame:
    """`frame` with its columns and dtypes, or a `FrameError` naming what is wrong.

    The columns are those of `COLUMNS` and of `TRAINING_COLUMNS`; the latter must be there under
    `training`, with values for schedule and seed, and are absent values where they are missing
    otherwise. `full`: some cell of the full network must have finished.
    """

    def refuse(what: str) -> FrameError:
        return FrameError(f"{source}: {what}; run the study again with this version")

    needed = [*COLUMNS, *(TRAINING_COLUMNS if training else ())]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise refuse(f"missing columns {', '.join(missing)}")
    if frame.empty:
        raise refuse("no rows")
    typed = {}
    for name, dtype in (COLUMNS | TRAINING_COLUMNS).items():
        try:
            values = frame[name] if name in frame.columns else pd.Series(pd.NA, index=frame.index)
            typed[name] = values.astype(dtype)
        except (ValueError, TypeError) as error:
            raise refuse(f"column {name} is {frame[name].dtype}, not {dtype}") from error
    checked = pd.DataFrame(typed).reset_index(drop=True)
    if training:  # a control may lack the switch point: it trains no subnet
        empty = {name: int(checked[name].isna().sum()) for name in TRAINING_COLUMNS}
        for name, most in (("schedule", 0), ("seed", 0), ("train_switch", len(checked) - 1)):
            if empty[name] > most:
                raise refuse(f"column {name} has no value in {empty[name]} rows")
    for name, allowed in (("family", FAMILIES), ("status", STATUSES)):
        strange = sorted(set(checked[name].fillna("")) - set(allowed))
        if strange:
            raise refuse(f"{name} {strange[0]!r} is not one of {', '.join(allowed)}")
    finished = checked[checked["status"] == FINISHED]
    for name in finished["metric"].fillna("").unique():
        try:
            parse_metric(name)
        except ValueError as error:
            raise refuse(str(error)) from error
    infinite = finished[~np.isfinite(finished["value"])]
    if len(infinite):
        row = infinite.iloc[0]
        raise refuse(f"{row['metric']} of finished cell {row['cell']!r} is {row['value']}")
    key = ["base_seed", "schedule", "seed", "family", "cell", "selector", "metric", "set"]
    distinct = finished.drop_duplicates([*key, "value"])
    twice = distinct[distinct.duplicated(key)]
    if len(twice):
        row = twice.iloc[0]
        raise refuse(f"{row['metric']} of cell {row['cell']!r} has two values for one set")
    if full and not (finished["family"] == "full").any():
        raise refuse("the full network has no finished row, so there is nothing to compare with")
    return checked
