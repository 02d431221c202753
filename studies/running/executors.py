"""Where cells run: here, in processes of this machine, or on a Dask cluster.

The standard library and Dask carry the work. Ours is what they lack: one thread a process, work
that is saved when the study stops, and workers that end with the study however it ends. A process
computes with one thread: two threads on a busy machine made convolutions 5 to 35 times slower
(spin-waiting), and results do not depend on how many workers there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import torch

from varant import __version__
from varant.devices import is_cuda
from varant.errors import UserError, one_line

if TYPE_CHECKING:  # an extra
    from distributed import Client

_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
SCHEDULER_SECONDS = 30.0  # to wait for the answer of a Dask scheduler
SAVING_SECONDS = 60.0  # that a stopped worker has to save what it was at

P = ParamSpec("P")
R = TypeVar("R")


class Executor(futures.Executor):
    """An executor as the standard library's, and what the runner must know of it.

    Leaving it by an exception stops what runs, once it is saved.

    Attributes:
        slots: tasks that run at once.
        capacity: tasks that are handed over at once; more than `slots` where others place them.
        here: whether tasks run in this very process, when they are submitted.
        lost: what a future raises where the task's process is gone; the task can run again.
    """

    slots: int
    capacity: int
    here = False
    lost: tuple[type[BaseException], ...] = ()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.shutdown(cancel_futures=kind is not None)


class InlineExecutor(Executor):
    """Runs a task in this process, when it is submitted."""

    slots = capacity = 1
    here = True

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = Future()
        try:
            future.set_result(function(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class ProcessExecutor(Executor):
    """Spawned one-thread processes that end when this process does, however it does."""

    lost = (BrokenProcessPool,)

    def __init__(self, workers: int) -> None:
        self.slots = self.capacity = workers
        # No one writes to it: that it closes tells all workers at once that the study stops.
        self._stopped, self._running = multiprocessing.Pipe(duplex=False)
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self.slots,
            mp_context=multiprocessing.get_context("spawn"),
            initializer=_start_worker,
            initargs=(self._stopped,),
        )

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        with _as_workers_start():
            try:
                return self._pool.submit(function, *args, **kwargs)
            except BrokenProcessPool:  # one lost process breaks a pool for good
                self._pool = self._new_pool()
                return self._pool.submit(function, *args, **kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers; cancelling, running tasks are asked to save and end now."""
        if cancel_futures:
            self._running.close()
        self._pool.shutdown(wait=wait, cancel_futures=cancel_futures)


@contextlib.contextmanager
def _as_workers_start() -> Iterator[None]:
    """Processes that are started inside load their numerical libraries with one thread, and never
    hear Ctrl-C: it reaches the study, which asks them to end."""
    before = {name: os.environ[name] for name in _ONE_THREAD if name in os.environ}
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    os.environ.update(dict.fromkeys(_ONE_THREAD, "1"))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name in _ONE_THREAD:
            del os.environ[name]
        os.environ.update(before)


def _start_worker(stopped: Connection) -> None:
    torch.set_num_threads(1)
    study = multiprocessing.parent_process()
    assert study is not None, "this is a worker"

    def end_with_study() -> None:
        if study.sentinel not in wait([study.sentinel, stopped]):
            os.kill(os.getpid(), signal.SIGTERM)  # what saves on it ends this process in its turn
            study.join(SAVING_SECONDS)
        os._exit(1)

    threading.Thread(target=end_with_study, daemon=True).start()


class DaskExecutor(Executor):
    """The workers of a Dask cluster, which must share the workspace's folder.

    Stopping cancels what has not begun; what runs goes on to its end on the cluster.

    Raises:
        UserError: no scheduler answers, it has no workers, or they lack what tasks need.
    """

    capacity = sys.maxsize

    def __init__(self, address: str, workspace: Path, *, gpu: bool) -> None:
        self._client = _connected(address)
        from distributed import KilledWorker

        self.lost = (KilledWorker, futures.CancelledError)
        try:
            self.slots = _checked_slots(self._client, address, workspace, gpu=gpu)
        except BaseException:
            self._client.close()
            raise
        # A GPU task holds one of the GPUs that workers were started with (--resources GPU=1).
        self._executor = self._client.get_executor(
            pure=False, retries=0, resources={"GPU": 1} if gpu else None
        )

    def submit(self, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        future: Future[R] = self._executor.submit(function, *args, **kwargs)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self._executor.shutdown(wait=wait and not cancel_futures)
        self._client.close()


def _connected(address: str) -> Client:
    try:
        from distributed import Client, Security
        from distributed.comm.core import connect
    except ImportError:
        raise UserError(
            f"--scheduler {address}: needs the package distributed; pip install 'varant[cluster]'"
        ) from None

    async def knock() -> None:
        """A client that finds no scheduler leaves a thread behind, which may hinder the next."""
        security = Security().get_connection_args("client")
        # Who accepts and says nothing is waited for without end by `connect` itself.
        knocking = connect(address, timeout=SCHEDULER_SECONDS, **security)
        answer = await asyncio.wait_for(knocking, SCHEDULER_SECONDS)
        await answer.close()

    try:
        asyncio.run(knock())
        return Client(address, timeout=SCHEDULER_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError, TypeError) as error:
        raise UserError(
            f"--scheduler {address}: no answer ({one_line(error)[:120]}); give the address "
            "that `dask scheduler` printed, such as tcp://host:8786"
        ) from None


def _checked_slots(client: Client, address: str, workspace: Path, *, gpu: bool) -> int:
    """Tasks that run at once on workers that are as ours are; `UserError` for others."""

    def refuse(what: str) -> UserError:
        return UserError(f"--scheduler {address}: {what}")

    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise refuse(f"has no workers; start `dask worker {address}`")
    gpus = int(sum(worker["resources"].get("GPU", 0) for worker in workers.values()))
    if gpu and not gpus:
        raise refuse("no worker has a GPU; start workers with --resources GPU=1")
    crowded = [name for name, worker in workers.items() if worker["nthreads"] > 1]
    if crowded:
        raise refuse(
            f"worker {crowded[0]} runs several tasks in one process; start workers with "
            "--nthreads 1"
        )
    ours = _installation(workspace)
    for name, theirs in client.run(_installation, workspace).items():
        if theirs != ours:
            raise refuse(
                f"worker {name} has {theirs}, here is {ours}; use one environment and a "
                "--workspace that all share"
            )
    return gpus if gpu else len(workers)


def _installation(workspace: Path) -> str:
    """What a worker must have in common with us."""
    folder = "the workspace" if workspace.is_dir() else "no such workspace folder"
    return f"varant {__version__}, torch {torch.__version__} and {folder}"


def open_executor(workers: int, scheduler: str | None, *, workspace: Path, device: str) -> Executor:
    """The executor of a study; `UserError` as of `DaskExecutor`."""
    if scheduler is not None:
        return DaskExecutor(scheduler, workspace, gpu=is_cuda(device))
    return InlineExecutor() if workers == 1 else ProcessExecutor(workers)
