"""A study in MLflow: a parent run with the answer, a child run a cell.

MLflow mirrors what is on disk. A database that is locked or gone stops no study: the cells go on,
and the next invocation writes what is missing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from analysis.metrics import parse_metric
from analysis.statistics.intervals import paired_t
from studies.cells.cell import Cell
from studies.cells.result import FINISHED, CellResult
from studies.grid.point import Point, Results
from varant.data.datasets import Dataset
from varant.errors import one_line
from varant.model.geometry import Geometry
from varant.start.preparation import Workspace

if TYPE_CHECKING:  # MLflow takes two seconds to import: the mirror's own thread does it
    from studies.tracking.mlflow_runs import LoggedDataset, StudyRecord


@contextlib.contextmanager
def mirroring() -> Iterator[None]:
    """Say trouble with MLflow in one line and go on: results are on disk."""
    try:
        yield
    except Exception as error:
        print(
            f"warning: MLflow: {one_line(error)[:300]}; results are on disk, run the same command "
            "again to mirror them",
            file=sys.stderr,
        )


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """What MLflow is told of a study before its cells have run.

    Attributes:
        experiment: the study's folder name; a quick run is an experiment of its own.
        source: module that asked.
        training_images: that the first network has seen, None where that is not known.
        baseline: name of the plan that cells are compared with, if any.
    """

    experiment: str
    run_name: str
    question: str
    source: str
    quick: bool
    config_digest: str
    params: Mapping[str, object]
    dataset: Dataset
    geometry: Geometry
    training_images: int | None
    baseline: str | None

    @property
    def tags(self) -> dict[str, str]:
        geometry = self.geometry
        return {
            "study": self.experiment,
            "dataset": self.dataset.name,
            "geometry": f"d{geometry.depth} w{geometry.width} {len(geometry.patch_nums)} scales",
            "quick": str(self.quick).lower(),
            "mlflow.source.type": "LOCAL",
        }


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What MLflow shows once the report stands.

    Attributes:
        artifacts: folder in the run to files.
    """

    verdict: str
    note: str
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    artifacts: Mapping[str, Sequence[Path]]


class Mirror:
    """The record of one invocation of a study; begun in a thread, since MLflow takes seconds."""

    def __init__(
        self, invocation: Invocation, points: Sequence[Point], workspace: Workspace
    ) -> None:
        self._invocation, self._workspace = invocation, workspace
        self._points: dict[str, list[Point]] = {}
        for point in points:
            self._points.setdefault(point.cell.digest, []).append(point)
        self._places = {digest: i for i, digest in enumerate(self._points)}
        self._record: StudyRecord | None = None
        self._live = True
        self._thread = threading.Thread(target=self._open)
        self._thread.start()

    def on_result(self, cell: Cell, result: CellResult) -> None:
        """Write a cell as soon as it has ended, unless the database gave trouble before."""
        if self._live:
            self._live = self._use(lambda r: self._record_cell(r, cell.digest, result, None))

    def interrupt(self) -> None:
        """Leave no run marked as running behind."""
        self._use(lambda record: record.interrupt())

    def finish(self, results: Results, answer: Answer) -> None:
        """Write what is missing of any cell, and the answer with its files on the parent run."""
        about = self._invocation
        quick = "QUICK RUN: not a result. " if about.quick else ""
        note = [
            about.question.strip().splitlines()[0],
            f"{quick}**{answer.verdict}**. {answer.note}",
            f"{len(results)} cells on {about.dataset.name}; report.pdf and the figures are in the "
            "Artifacts tab.",
        ]

        def write(record: StudyRecord) -> None:
            for digest in self._points:
                baseline = self._baseline_of(digest, results)
                self._record_cell(record, digest, results[digest], baseline)
            record.finish(
                note="\n\n".join(note),
                metrics=answer.metrics,
                tags={"verdict": answer.verdict} | dict(answer.tags),
                artifacts=answer.artifacts,
                failed=any(result.status != FINISHED for result in results.values()),
            )

        self._use(write)

    def _use(self, write: Callable[[StudyRecord], None]) -> bool:
        """Whether there is a record and `write` succeeded; trouble is said in one line."""
        self._thread.join()
        if self._record is None:
            return False
        with mirroring():
            write(self._record)
            return True
        return False

    def _open(self) -> None:
        with mirroring():
            from studies.tracking.mlflow_runs import open_study

            about = self._invocation
            self._record = open_study(
                self._workspace.folder,
                study=about.experiment,
                run_name=f"QUICK {about.run_name}" if about.quick else about.run_name,
                config_digest=about.config_digest,
                params=about.params,
                tags=about.tags | {"mlflow.source.name": about.source},
                dataset=self._dataset(),
            )

    def _dataset(self) -> LoggedDataset:
        from studies.tracking.mlflow_runs import LoggedDataset

        dataset = self._invocation.dataset
        return LoggedDataset(
            name=dataset.name,
            digest=dataset.digest,
            source=f"varant.data.datasets.load_dataset({dataset.name!r})",
            images=dataset.sizes["test"],
        )

    def _baseline_of(self, digest: str, results: Results) -> CellResult | None:
        """The result that a cell is compared with: the baseline of the same network."""
        mine = self._points[digest][0].cell
        if not mine.tabled:  # it has metrics of its own
            return None
        for points in self._points.values():
            for point in points:
                if point.in_frame and point.columns["cell"] == self._invocation.baseline:
                    same = getattr(mine, "network", None) == point.cell.network
                    if same and point.cell.digest != digest:
                        return results[point.cell.digest]
        return None

    def _record_cell(
        self, record: StudyRecord, digest: str, result: CellResult, baseline: CellResult | None
    ) -> None:
        first, *others = self._points[digest]
        about = self._invocation
        tags = dict(about.tags)
        if others:
            tags["also"] = ", ".join(point.name for point in others)
        if result.error:
            tags["error"] = result.error
        columns: dict[str, object] = {}
        for point in (first, *others):
            columns = {k: v for k, v in point.columns.items() if v is not None} | columns
        columns.setdefault("subnet_depth", about.geometry.depth)
        columns.setdefault("schedule", "full")
        columns["seed"] = columns.get("seed", columns.get("base_seed"))
        columns.setdefault("budget_images", about.training_images)
        curve = first.cell.curve(self._workspace.cell(digest))
        in_curve = {name for _, metrics in curve for name in metrics}
        metrics = _metrics(result, baseline)
        record.record_cell(
            digest=digest,
            name=first.name,
            place=self._places[digest],
            status=result.status,
            params={k: v for k, v in columns.items() if k != "cell"},
            metrics={name: value for name, value in metrics.items() if name not in in_curve},
            curve=curve,
            images_seen=_whole(columns["budget_images"]),
            tags=tags,
            dataset=self._dataset(),
            seconds=result.seconds,
        )


def _metrics(result: CellResult, baseline: CellResult | None) -> dict[str, float]:
    """Means over the sets; against the baseline the paired damage with its standard error."""
    metrics = {name: fmean(found.values) for name, found in result.metrics.items()}
    metrics |= {k: v for k, v in result.facts.items() if isinstance(v, float) and k != "seconds"}
    metrics["seconds/cell"] = result.seconds
    if baseline is None or not (result.metrics and baseline.metrics):
        return metrics
    for name, found in result.metrics.items():
        sign = parse_metric(name).damage_sign
        pairs = zip(found.values, baseline.metrics[name].values, strict=True)
        if found.count:
            difference = paired_t([sign * (one - other) for one, other in pairs])
            metrics[f"damage/{flat(name)}"] = difference.estimate
            metrics[f"damage_standard_error/{flat(name)}"] = difference.standard_error
        else:
            share = 1 - found.values[0] / baseline.metrics[name].values[0]
            metrics[f"saved_share/{flat(name)}"] = share
    return metrics


def flat(metric: str) -> str:
    """A metric's name without slashes: the page makes a section of everything before the last."""
    return metric.replace("/", "-")


def _whole(value: object) -> int:
    return int(value) if isinstance(value, int | float) else 0
