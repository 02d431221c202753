"""Running the cells of a study: skip what is done, run the rest, in the order that they need."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass

from tqdm import tqdm

from studies.cells.cell import Cell, run_cell
from studies.cells.result import DIVERGED, FAILED, FINISHED, INTERRUPTED, CellResult, read_result
from studies.running.executors import Executor, LostWorker
from varant.errors import UserError
from varant.progress import update_interval
from varant.start.preparation import Workspace

LOSSES = 2  # workers that a cell may lose before it counts as interrupted
_BAD = {
    FAILED: "its network's training failed",
    DIVERGED: "its network's training diverged",
    INTERRUPTED: "its network's training was interrupted",
}


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cells of a study by what is left to do."""

    done: dict[str, CellResult]
    open: dict[str, Cell]


def split_cells(
    cells: Sequence[Cell], workspace: Workspace, *, retry_failed: bool = False
) -> Split:
    """Which cells have ended, and which are to run; interrupted ones go on.

    Raises:
        UserError: a damaged result file, or a cell that needs one the study does not have.
    """
    done, to_run = {}, {}
    for cell in cells:
        result = read_result(workspace.cell(cell.digest), cell.digest)
        if result is None or (retry_failed and result.status != FINISHED):
            to_run[cell.digest] = cell
        else:
            done[cell.digest] = result
    for cell in cells:
        if cell.needs is not None and cell.needs not in done and cell.needs not in to_run:
            raise UserError(f"cell {cell.digest[:16]}: needs {cell.needs[:16]}, which is no cell")
    return Split(done=done, open=to_run)


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
    """
    results, waiting = dict(split.done), dict(split.open)
    running: dict[Future, Cell] = {}
    lost: dict[str, int] = {}

    def end(cell: Cell, result: CellResult) -> None:
        results[cell.digest] = result
        on_result(cell, result)

    def ready() -> list[Cell]:
        return [c for c in waiting.values() if c.needs is None or c.needs in results]

    with _display(split, workspace, results, running, executor.slots) as refresh:
        while waiting or running:
            for cell in ready():
                status = results[cell.needs].status if cell.needs else FINISHED
                if status != FINISHED:
                    del waiting[cell.digest]
                    end(cell, CellResult(digest=cell.digest, status=status, error=_BAD[status]))
                elif executor.eager or len(running) < executor.slots:
                    del waiting[cell.digest]
                    folder = workspace.cell(cell.digest)
                    running[executor.submit(run_cell, cell, folder, key=cell.digest)] = cell
                    if not executor.eager and executor.slots == 1:
                        break  # it may have run in this process, and others be ready now
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                cell = running.pop(future)
                try:
                    end(cell, future.result())
                except LostWorker as trouble:
                    lost[cell.digest] = lost.get(cell.digest, 0) + 1
                    if lost[cell.digest] < LOSSES:
                        waiting[cell.digest] = cell
                    else:
                        interrupted = CellResult(
                            digest=cell.digest, status=INTERRUPTED, error=str(trouble)
                        )
                        end(cell, interrupted)
            refresh()
    return results


@contextlib.contextmanager
def _display(
    split: Split,
    workspace: Workspace,
    results: dict[str, CellResult],
    running: dict[Future, Cell],
    slots: int,
) -> Iterator[Callable[[], None]]:
    """One bar for the whole study: image passes, and cells done, running and failed."""
    if not split.open:
        yield lambda: None
        return
    total = sum(cell.images for cell in split.open.values())
    # What earlier visits did to cells that go on is no work of this one.
    before = {d: c.images_done(workspace.cell(d)) for d, c in split.open.items()}
    lock, ended = threading.Lock(), threading.Event()
    with tqdm(
        total=total - sum(before.values()),
        unit="img",
        unit_scale=True,
        mininterval=update_interval(),
        smoothing=0.05,
    ) as bar:

        def refresh() -> None:
            with lock:
                done = 0
                now = list(running.values())
                for digest, cell in split.open.items():
                    if digest in results:
                        done += cell.images - before[digest]
                    elif any(other.digest == digest for other in now):
                        done += max(0, cell.images_done(workspace.cell(digest)) - before[digest])
                bad = sum(r.status != FINISHED for r in list(results.values()))
                at_work = min(len(now), slots)
                bar.set_description_str(
                    f"{len(results)}/{len(split.done) + len(split.open)} cells, "
                    f"{at_work} running, {bad} failed",
                    refresh=False,
                )
                bar.update(max(0, done - bar.n))

        def watch() -> None:
            while not ended.wait(update_interval()):
                refresh()

        watcher = threading.Thread(target=watch, daemon=True)
        watcher.start()
        try:
            yield refresh
        finally:
            ended.set()
            watcher.join()
