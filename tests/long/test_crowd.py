"""Several invocations of a study with many workers each, killed at random, on one workspace."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from attacked import SWITCH, Started

INVOCATIONS, WORKERS = 3, 8
KILLS = 30
APART_SECONDS = (1.0, 12.0)  # between two kills: eight workers start in about as many

pytestmark = pytest.mark.long


def kill_one(started: Started, rng: random.Random) -> str:
    """Kill an invocation, all its processes, or one of its workers; what was killed."""
    number = rng.choice([signal.SIGKILL, signal.SIGTERM])
    what = rng.choice(["an invocation", "an invocation and its workers", "a worker"])
    workers = [found for found in started.living() if is_worker(found)]
    if what == "a worker" and workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(workers), number)
    else:
        started.kill(number, everyone="workers" in what)
    return f"{number.name} to {what}"


def is_worker(number: int) -> bool:
    """Whether a process runs cells; another one of multiprocessing counts semaphores."""
    with contextlib.suppress(OSError):
        return b"spawn_main" in Path(f"/proc/{number}/cmdline").read_bytes()
    return False


def results_seen(workspace: Path, seen: dict[str, set[tuple[int, int]]]) -> None:
    """Note which file each cell's result is: one that is accepted is never replaced."""
    for path in workspace.glob("cells/*/result.json"):
        found = path.stat()
        seen[path.parent.name].add((found.st_ino, found.st_mtime_ns))


def test_killed_in_a_crowd(
    undisturbed, times: Callable[[int], int], tally: Counter[str], tmp_path: Path
) -> None:
    rng, whole, share = random.Random(0), undisturbed(SWITCH), times(100) / 100
    command = replace(SWITCH, flags=SWITCH.flags | {"workers": max(2, round(WORKERS * share))})
    workspace, kills = tmp_path / "runs", times(KILLS)
    shutil.copytree(whole.start, workspace)
    seen: dict[str, set[tuple[int, int]]] = defaultdict(set)
    with contextlib.ExitStack() as running:

        def start() -> Started:
            return running.enter_context(command.started(workspace))

        invocations = [start() for _ in range(max(2, round(INVOCATIONS * share)))]
        while tally["made"] < kills:
            time.sleep(rng.uniform(*APART_SECONDS))
            results_seen(workspace, seen)
            place = rng.randrange(len(invocations))
            if invocations[place].process.poll() is None:
                tally[kill_one(invocations[place], rng)] += 1
                tally[f"with {len(seen) // 5 * 5} or more results"] += 1
                tally["made"] += 1
            if invocations[place].process.poll() is not None:
                invocations[place].wait_until_gone()
                invocations[place] = start()
        for started in invocations:
            started.wait_until_gone()
            assert "Traceback" not in started.said(), started.said()
            tally["invocations that ended well"] += started.process.returncode == 0
    results_seen(workspace, seen)
    code, said = command.run(workspace)
    assert code == 0, said
    results_seen(workspace, seen)
    assert command.outcome(workspace) == whole.outcome, "not as undisturbed"
    assert {len(files) for files in seen.values()} == {1}, "a result was replaced"
    tally["cells with one accepted result"] = len(seen)
    tally["held"] = tally["made"]
