"""What a study tells MLflow. Apart from `mlflow_runs`, since MLflow takes two seconds to import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class LoggedDataset:
    """A data set as MLflow shows it."""

    name: str
    digest: str
    source: str
    images: int


@dataclass(frozen=True, kw_only=True)
class LoggedStudy:
    """A parent run: one config of a study.

    Attributes:
        name: of the experiment.
        config_digest: by which it is found again.
        params: its children repeat them.
        dataset: an input of the run and of its children.
    """

    name: str
    run_name: str
    config_digest: str
    params: Mapping[str, object]
    tags: Mapping[str, str]
    dataset: LoggedDataset | None = None


@dataclass(frozen=True, kw_only=True)
class LoggedCell:
    """A child run: a cell and how it ended.

    Attributes:
        place: in the grid, from 0; the page lists runs in this order.
        metrics: by name; logged against `images_seen`, those that the network saw in training.
        curve: points of (images seen, metrics by name); its names are none of `metrics`.
    """

    digest: str
    name: str
    place: int
    status: str
    params: Mapping[str, object]
    metrics: Mapping[str, float]
    curve: Sequence[tuple[int, Mapping[str, float]]]
    images_seen: int
    tags: Mapping[str, str]
    seconds: float
