"""What the efficiency study leaves: `study.json`, and a frame of all that it measured.

The frame is long and tidy: a row for each value. What a row is of stands in typed columns; its
metric's unit is that of `UNITS`, and no name is parsed.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import Field

from analysis.errors import FrameError
from analysis.frame import read_parquet
from analysis.study_file import Facts, GeometryFacts, PaperCost, StudyHead

OURS, REFERENCE = "ours", "reference"
STAGES = ("condition", "blocks", "head", "sampling", "map", "decode")
TRANSFORMER = ("condition", "blocks", "head")
"""The stages that a depth plan changes."""

UNITS: dict[str, str] = {
    # of a generation
    "seconds": "s",
    "bytes/peak": "bytes",
    "bytes/predicted": "bytes",
    "bytes/kv": "bytes",
    "bytes/weights": "bytes",
    "launches": "",
    "waits": "",
    "switched": "ratio",
    "recompilations": "",
    # of the machine
    "matrix_flops_per_second": "FLOP/s",
    "convolution_flops_per_second": "FLOP/s",
    "copied_bytes_per_second": "bytes/s",
    # of training
    "step_seconds": "s",
    "flops_ratio": "ratio",
    "bytes/fixed": "bytes",
    "share": "share",
    "online_ratio": "ratio",
    # of all else
    "overhead_seconds": "s",
    "overhead_bytes": "bytes",
}
"""Metric to unit. Seconds are CPU time of one thread, or wall time of a CUDA device. Bytes are
without the weights, which `bytes/weights` is of; `bytes/peak` is of all that is alive at once
within a stage, `bytes/predicted` the same by a run on tensors without content, `bytes/kv` cached K
and V alone. `switched`: time under a plan right after another plan's, over that after its own."""

COLUMNS: dict[str, str] = {
    "part": "string",
    "style": "string",
    "subject": "string",
    "batch": "Int64",
    "scale": "Int64",
    "stage": "string",
    "metric": "string",
    "repeat": "Int64",
    "value": "float64",
    "cell_digest": "string",
}
"""Column name to pandas dtype. `style`: whose sampler, absent for what is none. `subject`: the plan
as a command line spells it, or what else is measured. `scale` counts from 1; scale and stage are
absent for the whole. `repeat` counts from 0; absent for what was counted once."""


class PlanFacts(Facts):
    """A plan's cost by arithmetic, for one image (all of it is linear in the batch).

    Attributes:
        layers: of each scale.
        kv_bytes, kv_bytes_reference: peak cache, ours and the reference's, in the study's type.
        kv_course: largest cache within each scale.
        flops, flops_reference: of the transformer.
        traffic_bytes: weights that a generation reads, whatever its batch.
        kv_traffic_bytes: K and V that it reads and writes.
    """

    layers: tuple[tuple[int, ...], ...]
    kv_bytes: int
    kv_bytes_reference: int
    kv_course: tuple[int, ...]
    flops: int
    flops_reference: int
    traffic_bytes: int
    kv_traffic_bytes: int


class EfficiencyFile(StudyHead, extra="forbid"):
    """Of the study that measures costs.

    Attributes:
        name: of the geometry, as the flag spells it.
        seconds: that the cells took.
        precision: of the weights that are sampled from.
        compiled: whether the layers of our samplers were.
        plans: by name; the first is the full network.
        paper_cost: plans of VAR-d30 at batch 64, by arithmetic.
        failed: cells without numbers, each with its error.
    """

    question: str
    config: Mapping[str, object]
    seconds: float
    parts: tuple[str, ...]
    name: str
    geometry: GeometryFacts
    precision: Literal["float32", "bfloat16", "float16"]
    compiled: bool = False
    batches: tuple[int, ...]
    plans: Mapping[str, PlanFacts] = Field(min_length=1)
    paper_cost: Mapping[str, PaperCost]
    failed: Mapping[str, str]

    @property
    def machine(self) -> str:
        """What computes: the GPU, or one thread of the processor."""
        return self.hardware.gpu or f"{self.hardware.cpu}, one thread"

    @property
    def measured_on(self) -> str:
        compiled = ", compiled" if self.compiled else ""
        return f"{self.name}, {self.precision}{compiled}, {self.machine}"

    @property
    def full(self) -> str:
        return next(iter(self.plans))


def load_measured(path: Path) -> pd.DataFrame:
    """The study's frame with its dtypes; `FrameError` where it cannot be used."""
    frame = read_parquet(path)
    if missing := [name for name in COLUMNS if name not in frame.columns]:
        raise FrameError(f"{path}: missing columns {', '.join(missing)}; run the study again")
    return checked_measured(frame[list(COLUMNS)], source=path)


def checked_measured(frame: pd.DataFrame, *, source: Path | str = "frame") -> pd.DataFrame:
    """`frame` typed, its metrics known, no value measured twice; else `FrameError`."""
    try:
        typed = frame.astype(COLUMNS)
    except (TypeError, ValueError) as error:
        raise FrameError(f"{source}: {error}; run the study again") from None
    if strange := sorted(set(typed["metric"].dropna()) - set(UNITS)):
        raise FrameError(f"{source}: metric {strange[0]!r} is not one that this code knows")
    key = [name for name in COLUMNS if name not in ("value", "cell_digest")]
    if len(twice := typed[typed.duplicated(key)]):
        row = twice.iloc[0]
        raise FrameError(f"{source}: {row['metric']} of {row['subject']!r} has two values")
    return typed
