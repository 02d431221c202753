"""Where cells run: here, in processes of this machine, or on a Dask cluster.

A process computes with one thread: two threads on a busy machine made convolutions 5 to 35 times
slower (spin-waiting), and results do not depend on how many workers there are.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Protocol

import torch

from studies.cells.result import INTERRUPTED
from varant import __version__
from varant.errors import Preempted, UserError, one_line

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SCHEDULER_SECONDS = 10.0  # to wait for the answer of a Dask scheduler
SAVING_SECONDS = 60.0  # that a stopped worker has to save what it was at


class LostWorker(Exception):
    """The process that ran this task is gone; the task can run again."""


class Executor(Protocol):
    """Runs functions somewhere.

    Attributes:
        slots: tasks that run at once.
        eager: whether to hand over all tasks at once rather than as many as there are slots.
    """

    slots: int
    eager: bool

    def submit(self, function: Callable, *args: Any, key: str) -> Future:
        """Run `function(*args)`; the future raises `LostWorker` where its process died."""
        ...


class InlineExecutor:
    """Runs a task in this process, when it is submitted."""

    slots, eager = 1, False

    def submit(self, function: Callable, *args: Any, key: str) -> Future:
        future: Future = Future()
        try:
            result = function(*args)
        except Exception as error:
            future.set_exception(error)
            return future
        if getattr(result, "status", None) == INTERRUPTED:  # it is this process that is to stop
            raise Preempted(result.error)
        future.set_result(result)
        return future


class ProcessExecutor:
    """Spawned one-thread processes that end when this process does, however it does."""

    eager = False

    def __init__(self, workers: int) -> None:
        self.slots = workers
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.slots, mp_context=context, initializer=_start_worker)

    def submit(self, function: Callable, *args: Any, key: str) -> Future:
        outer: Future = Future()
        outer.set_running_or_notify_cancel()
        try:
            inner = self._pool.submit(function, *args)
        except BrokenProcessPool:  # one lost process breaks a pool for good
            self._pool = self._new_pool()
            inner = self._pool.submit(function, *args)
        inner.add_done_callback(lambda done: _pass_on(done, outer))
        return outer

    def stop(self) -> None:
        """Ask running tasks to save and end, and end them after a while."""
        processes = list((self._pool._processes or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            if process.is_alive():
                process.terminate()
        # Sentinels, since the pool's own thread waits for the same processes: of two who do, one
        # is told that a process that has ended lives.
        deadline = time.monotonic() + SAVING_SECONDS
        running = {process.sentinel: process for process in processes}
        while running and time.monotonic() < deadline:
            for ended in wait(list(running), timeout=max(0.0, deadline - time.monotonic())):
                del running[ended]
        for process in running.values():
            process.kill()

    def close(self) -> None:
        self._pool.shutdown()


def _pass_on(done: Future, outer: Future) -> None:
    if done.cancelled():
        outer.set_exception(LostWorker("cancelled"))
    elif isinstance(done.exception(), BrokenProcessPool):
        outer.set_exception(LostWorker("a worker process was killed"))
    elif done.exception() is not None:
        outer.set_exception(done.exception())
    else:
        outer.set_result(done.result())


def _start_worker() -> None:
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the study, which asks us to end
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


class DaskExecutor:
    """The workers of a Dask cluster, which must share the workspace's folder.

    Raises:
        UserError: no scheduler answers, it has no workers, or they lack what tasks need.
    """

    eager = True

    def __init__(self, address: str, workspace: Path, *, gpu: bool) -> None:
        try:
            from distributed import Client
        except ImportError:
            raise UserError(
                f"--scheduler {address}: needs the package distributed; "
                "pip install 'varant[cluster]'"
            ) from None
        try:
            self._client = Client(address, timeout=SCHEDULER_SECONDS, set_as_default=False)
        except (OSError, TimeoutError, ValueError, AssertionError) as error:
            raise UserError(
                f"--scheduler {address}: no answer ({one_line(error)[:120]}); give the address "
                "that `dask scheduler` printed, such as tcp://host:8786"
            ) from None
        # A GPU task holds one of the GPUs that workers were started with (--resources GPU=1).
        self._resources = {"GPU": 1} if gpu else None
        try:
            self._check(address, workspace)
        except BaseException:
            self._client.close()
            raise

    def _check(self, address: str, workspace: Path) -> None:
        workers = self._client.scheduler_info(n_workers=-1)["workers"]
        if not workers:
            raise UserError(f"--scheduler {address}: has no workers; start `dask worker {address}`")
        if self._resources:
            self.slots = int(sum(w["resources"].get("GPU", 0) for w in workers.values()))
            if not self.slots:
                raise UserError(
                    f"--scheduler {address}: no worker has a GPU; start workers with "
                    "--resources GPU=1"
                )
        else:
            self.slots = sum(worker["nthreads"] for worker in workers.values())
        crowded = [name for name, worker in workers.items() if worker["nthreads"] > 1]
        if crowded:
            raise UserError(
                f"--scheduler {address}: worker {crowded[0]} runs several tasks in one process; "
                "start workers with --nthreads 1"
            )
        ours = _installation(workspace)
        for name, theirs in self._client.run(_installation, workspace).items():
            if theirs != ours:
                raise UserError(
                    f"--scheduler {address}: worker {name} has {_said(theirs)}, here is "
                    f"{_said(ours)}; use one environment and a --workspace that all share"
                )

    def submit(self, function: Callable, *args: Any, key: str) -> Future:
        outer: Future = Future()
        outer.set_running_or_notify_cancel()
        inner = self._client.submit(
            function,
            *args,
            key=f"{key}-{len(self._submitted)}",
            pure=False,
            retries=0,
            resources=self._resources,
        )
        self._submitted.append(inner)
        inner.add_done_callback(lambda done: _pass_on_dask(done, outer))
        return outer

    @property
    def _submitted(self) -> list:
        return self.__dict__.setdefault("_futures", [])

    def stop(self) -> None:
        """Cancel what has not begun; what runs goes on to its end on the cluster."""
        self._client.cancel(self._submitted)
        self._client.close()

    def close(self) -> None:
        self._client.close()


def _installation(workspace: Path) -> dict[str, object]:
    """What a worker must have in common with us."""
    return {
        "varant": __version__,
        "torch": torch.__version__,
        "workspace": Path(workspace).is_dir(),
    }


def _said(found: dict[str, object]) -> str:
    folder = "the workspace" if found["workspace"] else "no such workspace folder"
    return f"varant {found['varant']}, torch {found['torch']} and {folder}"


def _pass_on_dask(done: Any, outer: Future) -> None:
    from distributed import CancelledError, KilledWorker

    error = done.exception() if done.status == "error" else None
    if done.status == "finished":
        outer.set_result(done.result())
    elif error is None or isinstance(error, KilledWorker | CancelledError):
        outer.set_exception(LostWorker(f"a worker was lost ({one_line(error or done.status)})"))
    else:
        outer.set_exception(error)


@contextlib.contextmanager
def open_executor(
    *, workers: int, scheduler: str | None, workspace: Path, device: str
) -> Iterator[Executor]:
    """The executor of a study. Leaving it by an exception stops what runs, once it is saved.

    Raises:
        UserError: a scheduler that does not answer, or whose workers lack what is needed.
    """
    if scheduler is None and workers == 1:
        yield InlineExecutor()
        return
    before = {name: os.environ.get(name) for name in _ONE_THREAD}
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    executor: ProcessExecutor | DaskExecutor
    if scheduler is None:
        executor = ProcessExecutor(workers)
    else:
        executor = DaskExecutor(scheduler, workspace, gpu=device.startswith("cuda"))
    try:
        yield executor
    except BaseException:
        executor.stop()
        raise
    else:
        executor.close()
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
