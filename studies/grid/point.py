"""Places of a study's grid, and the grid with the results of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from studies.cells.cell import Cell
from studies.cells.evaluation import Evaluation
from studies.cells.result import CellResult
from studies.grid.bench import Bench
from varant.start.preparation import Workspace

Results = Mapping[str, CellResult]  # by digest


@dataclass(frozen=True, kw_only=True)
class Point:
    """A place in a study's grid.

    Attributes:
        name: as people say it; unique among points of the same columns but for metrics.
        cell: what is run there; points may share one (then it runs once).
        columns: its columns of the frame (`analysis.frame.COLUMNS`); cells without rows there say
            by them what they are.
    """

    name: str
    cell: Cell
    columns: Mapping[str, object] = field(default_factory=dict)

    @property
    def in_frame(self) -> bool:
        return self.cell.tabled


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A study's grid with the results of its cells."""

    bench: Bench
    evaluation: Evaluation
    points: tuple[Point, ...]
    results: Mapping[str, CellResult]
    workspace: Workspace
    folder: Path
    workers: int
    preparation_seconds: float
    wall_seconds: float

    def result(self, point: Point) -> CellResult:
        return self.results[point.cell.digest]
