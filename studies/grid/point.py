"""Places of a study's grid: planned, bound to what was prepared, and with their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from studies.cells.cell import Cell, Task
from studies.cells.evaluation import Measurement
from studies.cells.result import CellResult
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from studies.grid.bench import Prepared

Results = Mapping[str, CellResult]  # by digest


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a study's grid.

    Attributes:
        name: as people say it; unique among points of the same columns but for metrics.
        task: what is done there; points may share one (then it is done once).
        columns: its columns of the frame (`analysis.frame.COLUMNS`); points without rows there say
            by them what they are.
    """

    name: str
    task: Task
    columns: Mapping[str, object] = field(default_factory=dict)

    @property
    def in_frame(self) -> bool:
        return self.task.tabled


@dataclass(frozen=True, kw_only=True)
class BoundPoint(Point):
    """A place with the cell that its task became."""

    cell: Cell

    @property
    def plan(self) -> DepthPlan:
        """That a point of the frame measures."""
        assert isinstance(self.task, Measurement), "points of the frame measure plans"
        return self.task.plan


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study's grid with the results of its cells.

    Attributes:
        folder: of the study.
        seconds: wall time of this invocation (`wall`), and of preparation within it.
    """

    bench: Prepared
    points: tuple[BoundPoint, ...]
    results: Results
    folder: Path
    workers: int
    seconds: Mapping[str, float]

    def folder_of(self, point: BoundPoint) -> Path:
        """Of the point's cell."""
        return self.bench.site.workspace.cell(point.cell.digest)

    def result(self, point: BoundPoint) -> CellResult:
        return self.results[point.cell.digest]

    def where(self, **columns: object) -> list[BoundPoint]:
        """The points of the frame whose columns have these values."""
        return [
            point
            for point in self.points
            if point.in_frame and all(point.columns.get(k) == v for k, v in columns.items())
        ]
