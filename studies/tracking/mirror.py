"""A study in MLflow: a parent run with the answer, a child run a cell.

MLflow mirrors what is on disk, and can always be made again from there. A database that is locked,
damaged or gone stops no study: the cells go on, and the next invocation writes what is missing.
"""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

# Frames are written with it, and MLflow imports it: it is whole before that thread starts.
import pyarrow.dataset
import pyarrow.pandas_compat
import pyarrow.parquet  # noqa: F401

from studies.cells.cell import Cell
from studies.cells.result import FINISHED, CellResult
from studies.tracking.outline import Outline, Results
from studies.tracking.spread import over_units
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

    def __init__(self, outline: Outline, workspace: Workspace) -> None:
        self._outline, self._workspace, self._live = outline, workspace, True
        self._places = {cell.digest: place for place, cell in enumerate(outline.cells)}
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
            place = self._places[cell.digest]
            self._live = self._write(
                lambda record: record.record_cell(
                    self._outline.logged(place, result, {}, self._workspace)
                )
            )

    def finish(self, outline: Outline, results: Results) -> None:
        """Write what is missing of any cell, and the answer with its files on the parent run.

        Args:
            outline: with the answer.
        """
        with mirroring():
            outline.write(self._workspace)
        self._write(
            lambda record: write_study(record, outline, results, self._workspace, self._left)
        )

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
            self._outline.write(self._workspace)
            from studies.tracking.mlflow_runs import open_study

            return open_study(self._workspace.folder, self._outline.study)
        return None


def write_study(
    record: StudyRecord,
    outline: Outline,
    results: Results,
    workspace: Workspace,
    left: threading.Event,
) -> None:
    """Write all of a study that there is, unless it is `left` meanwhile."""
    for place, cell in enumerate(outline.cells):
        if left.is_set():
            return
        if cell.digest in results:
            record.record_cell(outline.logged(place, results[cell.digest], results, workspace))
    if outline.answer is None:
        record.interrupt()
        return
    failed = any(result.status != FINISHED for result in results.values())
    spreads = over_units(outline, results)
    record.finish(outline.answer, spreads, workspace.folder, failed=failed)


def mirror_study(outline: Outline, results: Results, workspace: Workspace) -> None:
    """Write a study that has run; raises what MLflow raises."""
    from studies.tracking.mlflow_runs import LOCK, open_study

    record = open_study(workspace.folder, outline.study)
    with locked(workspace.folder / LOCK):
        write_study(record, outline, results, workspace, threading.Event())
