"""What a study tells MLflow. Apart from `mlflow_runs`, since MLflow takes two seconds to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from studies.cells.result import CellResult

if TYPE_CHECKING:  # torch takes seconds to import as well
    from studies.grid.bench import Planned


@dataclass(frozen=True, kw_only=True)
class LoggedStudy:
    """A parent run: one config of a study, known before its cells have run.

    Attributes:
        experiment: the study's folder name; a quick run is an experiment of its own.
        question: the first line of the run's note.
        config_digest: by which it is found again.
        params: its children repeat them.
        bench: the data set, an input of the run and of its children, and the network that cells
            start from; None for what measures neither.
    """

    experiment: str
    run_name: str
    quick: bool
    question: str
    config_digest: str
    params: Mapping[str, object]
    bench: Planned | None = None

    @property
    def tags(self) -> dict[str, str]:
        tags = {"study": self.experiment, "quick": str(self.quick).lower()}
        if self.bench is not None:
            shape, tags["dataset"] = self.bench.geometry, self.bench.dataset.name
            tags["geometry"] = f"d{shape.depth} w{shape.width} {len(shape.patch_nums)} scales"
        return tags | {"mlflow.source.type": "LOCAL"}


@dataclass(frozen=True, kw_only=True)
class LoggedCell:
    """A child run: a cell and how it ended.

    Attributes:
        place: in the grid, from 0; the page lists runs in this order.
        metrics: by name; logged against `images_seen`, those that the network saw in training.
        curve: points of (images seen, metrics by name); its names are none of `metrics`.
    """

    result: CellResult
    name: str
    place: int
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    curve: Sequence[tuple[int, Mapping[str, float]]]
    images_seen: int
    tags: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the parent run shows of a study's report besides its verdict; `note` ends the note."""

    note: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
