"""Running the cells of a study: skip what is done, run the rest, in the order that they need."""

import contextlib
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from tqdm import tqdm

from studies.cells.cell import Cell, run_cell
from studies.cells.result import (
    DIVERGED,
    FAILED,
    FINISHED,
    INTERRUPTED,
    WORSE,
    CellResult,
    read_result,
)
from studies.running.executors import Executor
from varant.errors import Preempted, UserError, one_line
from varant.manifest import damage_named
from varant.progress import update_interval
from varant.signals import raise_again
from varant.store.workspace import Workspace

LOSSES = 2  # workers that a cell may lose before it counts as interrupted
_BAD = {FAILED: "failed", DIVERGED: "diverged", INTERRUPTED: "was interrupted", WORSE: WORSE}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cells of a study by what is left to do."""

    done: dict[str, CellResult]
    open: dict[str, Cell]


def split_cells(
    cells: Iterable[Cell], workspace: Workspace, *, retry_failed: bool = False
) -> Split:
    """Which cells have ended, and which are to run: interrupted ones go on, damaged ones again.
    `UserError` for a cell that needs one the study does not have."""
    done, to_run, lacking = {}, {}, 0
    distinct = {cell.digest: cell for cell in cells}
    for digest, cell in distinct.items():
        result = None
        with damage_named():
            result = read_result(workspace.cell(digest), digest)
        if result is None or (retry_failed and result.status != FINISHED):
            to_run[digest] = cell
        elif result.status == FINISHED and cell.task.lacks(result):
            to_run[digest] = cell
            lacking += 1
        else:
            done[digest] = result
    if lacking:
        said = "cells of an earlier version get the scores that came later, from kept features"
        print(f"{lacking} {said}", file=sys.stderr)
    for cell in distinct.values():
        for needed in cell.needs:
            if needed not in distinct:
                raise UserError(f"cell {cell.digest[:16]}: needs {needed[:16]}, which is no cell")
    return Split(done=done, open=to_run)


def say_done(split: Split) -> None:
    """Of cells that need not run."""
    if split.done:
        print(f"{len(split.done)} cells are finished already", file=sys.stderr)
    bad = sum(result.status != FINISHED for result in split.done.values())
    if bad:
        print(f"{bad} of them without success; --retry-failed runs them again", file=sys.stderr)


def say_bad(results: Mapping[str, CellResult]) -> None:
    """Of cells that have no numbers."""
    counts = Counter(result.status for result in results.values())
    for status, count in sorted(counts.items()):
        if status != FINISHED:
            print(f"{count} cells {status}; the report names them", file=sys.stderr)


def run_cells(
    split: Split,
    workspace: Workspace,
    executor: Executor,
    *,
    on_result: Callable[[Cell, CellResult], None] = lambda cell, result: None,
) -> dict[str, CellResult]:
    """Run the open cells; every cell of the split then has a result, by digest.

    A cell whose network was not trained ends as that training did. A cell whose worker is lost
    runs again, and is `interrupted` when it loses another.

    Raises:
        Preempted: it is this process that is to stop.
    """
    results, waiting = dict(split.done), dict(split.open)
    running: dict[Future[CellResult], Cell] = {}
    losses: Counter[str] = Counter()

    def end(cell: Cell, result: CellResult) -> None:
        results[cell.digest] = result
        on_result(cell, result)

    with _progress(split, waiting, results, workspace, executor.slots):
        while waiting or running:
            raise_again()
            for cell in [c for c in waiting.values() if all(n in results for n in c.needs)]:
                ends = (results[needed].status for needed in cell.needs)
                status = next((end for end in ends if end != FINISHED), FINISHED)
                if status != FINISHED:
                    del waiting[cell.digest]
                    error = f"its network's training {_BAD[status]}"
                    end(cell, CellResult(digest=cell.digest, status=status, error=error))
                elif len(running) < executor.capacity:
                    del waiting[cell.digest]
                    running[executor.submit(run_cell, cell, workspace.cell(cell.digest))] = cell
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                cell = running.pop(future)
                try:
                    result = future.result()
                except executor.lost as trouble:
                    losses[cell.digest] += 1
                    if losses[cell.digest] < LOSSES:
                        waiting[cell.digest] = cell
                        continue
                    error = f"{LOSSES} workers were killed or lost at it ({one_line(trouble)})"
                    result = CellResult(digest=cell.digest, status=INTERRUPTED, error=error)
                if result.status == INTERRUPTED and executor.here:
                    raise Preempted(result.error)
                end(cell, result)
    return results


@contextlib.contextmanager
def _progress(
    split: Split,
    waiting: Mapping[str, Cell],
    results: Mapping[str, CellResult],
    workspace: Workspace,
    slots: int,
) -> Iterator[None]:
    """One bar for the whole study: image passes, and cells done, running and failed.

    A thread of its own keeps it, since a cell may be running in this one.
    """
    if not split.open:
        yield
        return
    # What earlier visits did to cells that go on is no work of this one.
    before = {d: c.task.images_done(workspace.cell(d)) for d, c in split.open.items()}
    total = sum(cell.task.images - before[digest] for digest, cell in split.open.items())
    interval, over = update_interval(), threading.Event()
    bar = tqdm(total=total, unit="img", unit_scale=True, mininterval=interval, smoothing=0.05)

    def keep() -> None:
        last = False
        while not last:
            last = over.wait(interval)
            begun, ended = {d: c for d, c in split.open.items() if d not in waiting}, dict(results)
            seen = {
                d: c.task.images if d in ended else c.task.images_done(workspace.cell(d))
                for d, c in begun.items()
            }
            done = sum(max(0, images - before[d]) for d, images in seen.items())
            running = min(slots, len(begun.keys() - ended.keys()))
            bad = sum(result.status != FINISHED for result in ended.values())
            cells = f"{len(ended)}/{len(split.done) + len(split.open)} cells"
            bar.set_description_str(f"{cells}, {running} running, {bad} failed", refresh=False)
            bar.update(max(0, done - bar.n))

    keeper = threading.Thread(target=keep, daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()
        bar.close()
