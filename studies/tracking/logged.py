"""What MLflow is told of a study. Apart from `mlflow_runs`, since MLflow takes two seconds to
import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from studies.cells.result import CellResult


@dataclass(frozen=True, kw_only=True)
class LoggedData:
    """The data set, an input of a run; `images` of the test split."""

    name: str
    digest: str
    images: int


@dataclass(frozen=True, kw_only=True)
class LoggedStudy:
    """A parent run: one config of a study, known before its cells have run.

    Attributes:
        experiment: the study's folder name; a quick run is an experiment of its own.
        study: its name; None in outlines of before, which say only the experiment.
        question: the first line of the run's note.
        config_digest: by which it is found again.
        params: its children repeat them.
        geometry: of the networks, in a few words; None as `data` for what measures neither.
    """

    experiment: str
    study: str | None = None
    run_name: str
    quick: bool
    question: str
    config_digest: str
    params: Mapping[str, object]
    data: LoggedData | None = None
    geometry: str | None = None

    @property
    def tags(self) -> dict[str, str]:
        tags = {"study": self.study or self.experiment, "quick": str(self.quick).lower()}
        if self.data is not None:
            tags["dataset"] = self.data.name
        if self.geometry is not None:
            tags["geometry"] = self.geometry
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
    """What a parent run ends with.

    Attributes:
        note: of the run; a study gives what ends it, `Outline.ended` the whole.
        artifacts: folder in the run to files, relative to the workspace.
    """

    note: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    artifacts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
