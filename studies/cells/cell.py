"""One point of a study: config in, result out.

Its kinds are `TrainingCell`, which trains a network, `EvaluationCell`, which measures one under a
depth plan, and `ScoreCell`, which only scores a plan. Each answers for itself what it costs, how
far it is and what its curve is: nobody asks a cell for its type.
"""

from __future__ import annotations

import abc
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import torch

from studies.cells.result import (
    DIVERGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    CellResult,
    Measurements,
    write_result,
)
from varant.errors import Diverged, Preempted
from varant.files import digest_of
from varant.model.geometry import Geometry
from varant.start.calibration import Speed


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a cell found: its metrics, and facts about itself (JSON-ready)."""

    metrics: Mapping[str, Measurements] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)


class Cell(abc.ABC):
    """A frozen dataclass that says all that its result depends on, and can be run anywhere.

    Attributes:
        device: where it runs; no part of its identity, nor are paths.
        tabled: whether its metrics are rows of the frame; not of what only trains or chooses.
    """

    device: str
    tabled: ClassVar[bool] = True

    @property
    @abc.abstractmethod
    def identity(self) -> dict:
        """All that the result depends on, JSON-ready."""

    @property
    @abc.abstractmethod
    def images(self) -> int:
        """Image passes that it takes, for progress."""

    @property
    def needs(self) -> str | None:
        """Digest of the cell that must be finished before this one can run."""
        return None

    @abc.abstractmethod
    def measure(self, folder: Path) -> Measured:
        """Do the work; files go into `folder`, where an earlier visit may have left some."""

    def baseline(self) -> Cell | None:
        """The cell whose values this one's are compared with, set by set; None for none."""
        return None

    @abc.abstractmethod
    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        """Expected CPU-seconds on a machine of this speed, for a network of this geometry."""

    def images_done(self, folder: Path) -> int:
        """How many of `images` are done, as the folder tells; 0 where it does not."""
        return 0

    def curve(self, folder: Path) -> list[tuple[int, dict[str, float]]]:
        """(images seen, metrics) over its course, as the folder tells; [] where it has none."""
        return []

    @functools.cached_property
    def digest(self) -> str:
        return digest_of(self.identity)


def run_cell(cell: Cell, folder: Path) -> CellResult:
    """Run a cell and write its result; an exception becomes a `failed` result.

    One thread on the CPU, so that the numbers are the same however many workers there are.

    Raises:
        OSError: the machine's trouble, not this cell's: disk full, files gone.
    """
    torch.set_num_threads(1)
    started = time.monotonic()
    status, error, found = FINISHED, None, Measured()
    try:
        found = cell.measure(folder)
    except Preempted as stop:
        status, error = INTERRUPTED, str(stop)
    except Diverged as trouble:
        status, error = DIVERGED, str(trouble)
    except OSError:
        raise
    except Exception as trouble:
        status, error = FAILED, f"{type(trouble).__name__}: {trouble}"
    result = CellResult(
        digest=cell.digest,
        status=status,
        metrics=found.metrics,
        facts=found.facts,
        seconds=float(found.facts.get("seconds", time.monotonic() - started)),
        error=error,
    )
    if status != INTERRUPTED:
        write_result(folder, result)
    return result
