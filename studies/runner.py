"""Running the cells of a study: skip what is done, run the rest in one-thread processes."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass

import torch
from tqdm import tqdm

from studies.cell import Cell, CellResult, read_result, run_cell
from varant.preparation import Workspace
from varant.progress import update_interval

# Two threads on a busy machine made convolutions 5 to 35 times slower (spin-waiting), so a
# process takes one thread, and parallel work takes more processes.
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextlib.contextmanager
def one_thread_processes(workers: int) -> Iterator[ProcessPoolExecutor]:
    """A pool of spawned one-thread processes that end when this process does, however it does.

    Leaving it by an exception drops the work that has not begun.
    """
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.terminate()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    pool.shutdown()


def _start_worker() -> None:
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


@dataclass(frozen=True, kw_only=True)
class Split:
    """Cells of a study by what is left to do."""

    finished: dict[str, CellResult]
    open: list[Cell]


def split_cells(cells: Sequence[Cell], workspace: Workspace) -> Split:
    """Which cells are finished, and which are to run; failed ones run again.

    Raises:
        UserError: a damaged result file.
    """
    finished, to_run = {}, {}
    for cell in cells:
        result = read_result(workspace.cell(cell.digest), cell.digest)
        if result is not None and result.status == "finished":
            finished[cell.digest] = result
        else:
            to_run[cell.digest] = cell
    return Split(finished=finished, open=list(to_run.values()))


def run_cells(
    pool: ProcessPoolExecutor, cells: Sequence[Cell], workspace: Workspace
) -> dict[Future[CellResult], Cell]:
    """Hand cells to the pool; results come back through the futures."""
    return {pool.submit(run_cell, c, workspace.cell(c.digest)): c for c in cells}


def collect(futures: dict[Future[CellResult], Cell]) -> dict[str, CellResult]:
    """Results by digest, as the cells end, with one progress bar."""
    results: dict[str, CellResult] = {}
    if not futures:
        return results
    with tqdm(total=len(futures), desc="cells", unit="cell", mininterval=update_interval()) as bar:
        for future in as_completed(futures):
            result = future.result()
            results[result.digest] = result
            failed = sum(r.status == "failed" for r in results.values())
            bar.set_postfix(failed=failed, refresh=False)
            bar.update()
    return results
