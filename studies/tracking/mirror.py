"""A study in MLflow: a parent run with the answer, a child run a cell.

MLflow mirrors what is on disk, and can always be made again from there. A database that is locked,
damaged or gone stops no study: the cells go on, and the next invocation writes what is missing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

# Frames are written with it, and MLflow imports it: it is whole before that thread starts.
import pyarrow.dataset
import pyarrow.pandas_compat
import pyarrow.parquet  # noqa: F401

from analysis.metrics import parse_metric
from analysis.study_file import CONTROL
from reports import ReportPaths
from studies.cells.cell import Cell, Task
from studies.cells.result import FINISHED, CellResult
from studies.grid.point import Outcome, Point
from studies.tracking.logged import Answer, LoggedCell, LoggedStudy
from varant.errors import one_line
from varant.files import locked
from varant.store.workspace import Workspace

if TYPE_CHECKING:  # MLflow takes two seconds to import: the mirror's own thread does it
    from studies.tracking.mlflow_runs import StudyRecord


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


class Mirror:
    """The record of one invocation of a study, kept by a thread: MLflow takes seconds to begin, and
    no signal, which the main thread gets, tears what it writes.

    Left by an exception, it leaves no run marked as running behind.
    """

    def __init__(
        self,
        study: LoggedStudy,
        points: Sequence[Point],
        cells: Mapping[Task, Cell],
        workspace: Workspace,
    ) -> None:
        self._study, self._workspace, self._live = study, workspace, True
        self._points: dict[str, list[Point]] = {}
        for point in points:
            self._points.setdefault(cells[point.task].digest, []).append(point)
        self._places = {digest: place for place, digest in enumerate(self._points)}
        self._left = threading.Event()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._opening: Future[StudyRecord | None] = self._thread.submit(self._open)

    def __enter__(self) -> Mirror:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._left.set()
        if kind is not None:
            self._write(lambda record: record.interrupt())
        self._thread.shutdown()

    def on_result(self, cell: Cell, result: CellResult) -> None:
        """Write a cell as soon as it has ended, unless the database gave trouble before."""
        if self._live:
            self._live = self._write(
                lambda record: record.record_cell(self._logged(cell.digest, result, {}))
            )

    def finish(
        self, outcome: Outcome[Any], answer: Answer, paths: ReportPaths, written: Sequence[Path]
    ) -> None:
        """Write what is missing of any cell, and the answer with its files on the parent run."""
        files = {
            "": [paths.pdf, paths.answer, *written],
            "figures": sorted(path for path in paths.figures if path.suffix == ".png"),
            "figures_svg": sorted(path for path in paths.figures if path.suffix == ".svg"),
        }
        quick = "QUICK RUN: not a result. " if self._study.quick else ""
        results = outcome.results
        note = [
            self._study.question.strip().splitlines()[0],
            f"{quick}**{paths.verdict}**. {answer.note}",
            f"{len(self._points)} cells; report.pdf and the figures are in the Artifacts tab.",
        ]

        def write(record: StudyRecord) -> None:
            for digest, (point, *_) in self._points.items():
                if self._left.is_set():
                    return
                record.record_cell(self._logged(digest, results[point.task], results))
            record.finish(
                note="\n\n".join(note),
                metrics={f"study/seconds {k}": v for k, v in outcome.seconds.items()}
                | dict(answer.metrics),
                tags={"verdict": paths.verdict} | dict(answer.tags),
                artifacts=files,
                failed=any(result.status != FINISHED for result in results.values()),
            )

        self._write(write)

    def _write(self, write: Callable[[StudyRecord], None]) -> bool:
        """Whether there is a record and `write` succeeded; trouble is said in one line."""
        return self._thread.submit(self._written, write).result()

    def _written(self, write: Callable[[StudyRecord], None]) -> bool:
        record = self._opening.result()
        if record is None:
            return False
        with mirroring():
            from studies.tracking.mlflow_runs import LOCK

            with locked(self._workspace.folder / LOCK):
                write(record)
            return True
        return False

    def _open(self) -> StudyRecord | None:
        with mirroring():
            from studies.tracking.mlflow_runs import open_study

            return open_study(self._workspace.folder, self._study)
        return None

    def _logged(
        self, digest: str, result: CellResult, results: Mapping[Task, CellResult]
    ) -> LoggedCell:
        """A cell as MLflow shows it, compared with others' results where they are there."""
        first, *others = self._points[digest]
        also = ", ".join(point.name for point in others)
        own_tags = {"also": also, "error": result.error}
        params = self._params(self._points[digest])
        images_seen = params.get("budget_images", 0)
        assert isinstance(images_seen, int), "a budget is a number of images"
        curve = first.task.curve(self._workspace.cell(digest))
        in_curve = {name for _, metrics in curve for name in metrics}
        metrics = _metrics(first.task, result, results)
        return LoggedCell(
            result=result,
            name=first.name,
            place=self._places[digest],
            params=params,
            metrics={name: value for name, value in metrics.items() if name not in in_curve},
            curve=curve,
            images_seen=images_seen,
            tags=self._study.tags | {name: text for name, text in own_tags.items() if text},
        )

    def _params(self, points: Sequence[Point]) -> dict[str, object]:
        """The typed columns of a cell's points, the first point's first, not what they are called.

        What is not trained on has the depth, seed and budget of its network.
        """
        columns: dict[str, object] = {}
        for point in points:
            columns = {k: v for k, v in point.columns.items() if v is not None} | columns
        columns.pop("plan", None)
        network = {"schedule": CONTROL, "kind": CONTROL, "seed": columns.get("unit")}
        if (bench := self._study.bench) is not None:
            network["subnet_depth"] = bench.geometry.depth
            network["budget_images"] = bench.training_images
        return {k: v for k, v in network.items() if v is not None} | columns


def _metrics(
    task: Task, result: CellResult, results: Mapping[Task, CellResult]
) -> dict[str, float]:
    """The values; beside them the damage against the baseline, and what the metrics that decide
    say under names that no extractor changes: `quality/excess` over the floor and
    `quality/loss_share`, of the damage that the untrained network shows."""
    facts = {k: v for k, v in result.facts.items() if isinstance(v, float) and k != "seconds"}
    metrics = result.values | facts | {"seconds/cell": result.seconds}

    def values_of(other: Task | None) -> Mapping[str, float]:
        found = results.get(other) if other is not None else None
        return found.values if found is not None else {}

    full, floor = values_of(task.baseline()), values_of(task.floor())
    for name in result.values.keys() & full.keys():
        metric = parse_metric(name)
        if metric.exact:
            metrics[f"saved_share/{flat(name)}"] = 1 - metrics[name] / full[name]
        else:
            damage = metric.damage_sign * (metrics[name] - full[name])
            metrics[f"damage/{flat(name)}"] = damage
    headline = next((n for n in result.values if n.startswith(("fd/", "fid/"))), "")
    if headline in floor:
        metrics["quality/excess"] = metrics[headline] - floor[headline]
    untrained, base = (values_of(other) for other in task.untrained())
    if headline in untrained and headline in base and untrained[headline] != base[headline]:
        loss, most = metrics[headline] - base[headline], untrained[headline] - base[headline]
        metrics["quality/loss_share"] = loss / most
    return metrics


def flat(metric: str) -> str:
    """A metric's name without slashes: the page makes a section of everything before the last."""
    return metric.replace("/", "-")
