"""Several invocations of a study with many workers each, killed at random, on one workspace."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from attacks import SWITCH, in_group, kill, wait_until_gone

INVOCATIONS, WORKERS = 3, 8
KILLS = 30
APART_SECONDS = (0.5, 6.0)  # between two kills

pytestmark = pytest.mark.long


def kill_one(process: subprocess.Popen[str], rng: random.Random) -> str:
    """Kill an invocation, all its processes, or one of its workers; what was killed."""
    number = rng.choice([signal.SIGKILL, signal.SIGTERM])
    what = rng.choice(["invocation", "group", "worker"])
    workers = [found for found in in_group(process.pid) if found != process.pid]
    if what == "worker" and workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(rng.choice(sorted(workers)), number)
    else:
        kill(process, number, group=what == "group")
    return f"{number.name} to a {what}"


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
    invocations = [command.start(workspace) for _ in range(max(2, round(INVOCATIONS * share)))]
    seen: dict[str, set[tuple[int, int]]] = defaultdict(set)
    while tally["kills"] < kills:
        time.sleep(rng.uniform(*APART_SECONDS))
        results_seen(workspace, seen)
        place = rng.randrange(len(invocations))
        if invocations[place].poll() is None:
            tally[kill_one(invocations[place], rng)] += 1
            tally["kills"] += 1
        if invocations[place].poll() is not None:
            wait_until_gone(invocations[place])
            invocations[place] = command.start(workspace)
    for process in invocations:
        wait_until_gone(process)
    results_seen(workspace, seen)
    tally["invocations that ended well"] = sum(one.returncode == 0 for one in invocations)
    code, said = command.run(workspace)
    assert code == 0, said
    results_seen(workspace, seen)
    assert command.outcome(workspace) == whole.outcome
    assert {len(files) for files in seen.values()} == {1}, "a result was replaced"
    tally["cells with one accepted result"] = len(seen)
