"""Places of a study's grid, and the grid with its results."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from studies.cells.cell import Task
from studies.cells.result import CellResult
from varant.errors import UserError
from varant.model.plan import DepthPlan

if TYPE_CHECKING:
    from studies.grid.bench import Prepared

Found = TypeVar("Found")
MOST_POINTS = 20_000  # of a grid: days at seconds each


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
    def plan(self) -> DepthPlan:
        """That a point of the frame measures."""
        plan = self.task.tabled_plan
        assert plan is not None, "points of the frame measure plans"
        return plan


@dataclass(frozen=True, kw_only=True)
class Outcome(Generic[Found]):
    """A study's grid with the results of its cells.

    Attributes:
        found: what the study found before its grid was made.
        seconds: wall time of this invocation (`wall`), and of preparation within it.
    """

    bench: Prepared
    found: Found
    points: tuple[Point, ...]
    results: Mapping[Task, CellResult]
    folder: Path
    workers: int
    seconds: Mapping[str, float]

    def result(self, point: Point) -> CellResult:
        return self.results[point.task]

    def folder_of(self, point: Point) -> Path:
        return self.bench.site.workspace.cell(self.result(point).digest)

    def model_folder(self, point: Point) -> Path:
        """Of the network that the point measures."""
        return self.bench.site.cell(point.task).network.model_folder

    def where(self, **columns: object) -> list[Point]:
        """The points of the frame whose columns have these values."""
        return [
            point
            for point in self.points
            if point.task.tabled and all(point.columns.get(k) == v for k, v in columns.items())
        ]


def bounded(*parts: Iterable[Point], times: Mapping[str, int]) -> tuple[Point, ...]:
    """All points of a grid; `UserError` naming the flags that multiply them, `times` so often."""
    points = tuple(itertools.islice(itertools.chain(*parts), MOST_POINTS + 1))
    if len(points) > MOST_POINTS:
        shown = " ".join(f"--{name} {count}" for name, count in times.items() if count > 1)
        raise UserError(
            f"{shown}: a grid of more than {MOST_POINTS:,} points; give less, or units in parts "
            "(--seed), whose reports `python -m reports --pool` joins"
        )
    return points


def splits_of(points: Iterable[Point]) -> tuple[str, ...]:
    """Splits of the data set that the points' cells, and those that they need, read in tokens."""
    tasks = {point.task for point in points}
    tasks |= {task.trained for task in tasks if task.trained is not None}
    return tuple(sorted({name for task in tasks for name in task.splits}))
