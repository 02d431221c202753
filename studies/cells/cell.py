"""One point of a study: what is to be done (`Task`), and where it is done (`Cell`).

A task is planned from flags alone and says what it costs. Once data and networks are prepared it
becomes a cell: config in, result out. Their kinds are training a network, evaluating one under a
depth plan, and scoring a plan only. Each answers for itself: nobody asks for their type.
"""

from __future__ import annotations

import abc
import functools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

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

if TYPE_CHECKING:  # torch takes seconds to import: what is only planned goes without
    from studies.cells.site import Site
    from varant.model.geometry import Geometry
    from varant.model.plan import DepthPlan
    from varant.start.calibration import Speed


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a cell found.

    Attributes:
        facts: about itself, JSON-ready.
        seconds: that it took, where earlier visits did a part; None for this visit's.
    """

    metrics: Mapping[str, Measurements] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    seconds: float | None = None


class Task(abc.ABC):
    """What is to be done: a frozen dataclass, known before anything is made.

    Attributes:
        tabled: whether its metrics are rows of the frame; not of what only trains or chooses.
        trains: whether it trains a network.
    """

    tabled: ClassVar[bool] = True
    trains: ClassVar[bool] = False

    @property
    @abc.abstractmethod
    def images(self) -> int:
        """Image passes that it takes."""

    @abc.abstractmethod
    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        """Expected CPU-seconds on a machine of this speed, for a network of this geometry."""

    @abc.abstractmethod
    def cell(self, site: Site) -> Cell:
        """The task at the networks and data that were prepared."""


class Cell(abc.ABC):
    """A frozen dataclass that says all that its result depends on, and can be run anywhere.

    Attributes:
        task: what it does.
        device: where it runs; no part of its identity, nor are paths.
    """

    task: Task
    device: str

    @property
    @abc.abstractmethod
    def identity(self) -> dict[str, object]:
        """All that the result depends on, JSON-ready."""

    @property
    def images(self) -> int:
        """Image passes that it takes, for progress."""
        return self.task.images

    @property
    def plan(self) -> DepthPlan | None:
        """The plan that it measures, if any."""
        return None

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
    import torch

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
        seconds=time.monotonic() - started if found.seconds is None else found.seconds,
        error=error,
    )
    if status != INTERRUPTED:
        write_result(folder, result)
    return result
