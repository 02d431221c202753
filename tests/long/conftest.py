"""What attacks share: the undisturbed outcome of every command, and where counts are written."""

from __future__ import annotations

import json
import math
import pickle
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacked import Attacked
from filelock import FileLock

# Stopped by whatever has started the tests, they end what they have started.
signal.signal(signal.SIGTERM, signal.default_int_handler)


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A command that nobody disturbed.

    Attributes:
        start, end: the workspace before and after it.
        outcome: what it must have made.
        seconds: that it took.
    """

    start: Path
    end: Path
    outcome: object
    seconds: float


@pytest.fixture(scope="session")
def undisturbed(shared: Path) -> Callable[[Attacked], Undisturbed]:
    """Runs a command once for all processes of the session, after those that it comes after."""

    def run(command: Attacked) -> Undisturbed:
        folder = shared / "undisturbed" / command.name
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / "kept.pickle"
        with FileLock(folder / "lock"):
            if not kept.exists():
                kept.write_bytes(pickle.dumps(made(command, folder)))
            found: Undisturbed = pickle.loads(kept.read_bytes())
            return found

    def made(command: Attacked, folder: Path) -> Undisturbed:
        start = run(command.after).end if command.after else folder / "start"
        if command.after is None and not start.exists():
            start.mkdir()
            if command.made:
                command.made(start)
        end = folder / "end"
        shutil.rmtree(end, ignore_errors=True)
        shutil.copytree(start, end)
        began = time.monotonic()
        code, said = command.run(end)
        seconds = time.monotonic() - began
        assert code == 0, f"{command.name}: {said}"
        return Undisturbed(start=start, end=end, outcome=command.outcome(end), seconds=seconds)

    return run


@pytest.fixture
def times(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How often: `--share` of the full number, at least once."""
    share: float = request.config.getoption("--share")
    return lambda full: max(1, math.ceil(full * share))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Counts of a test, above all of attacks that were `made` and that `held`; printed, and
    written to `--tally`, also of a test that fails."""
    counts: Counter[str] = Counter()
    began = time.monotonic()
    yield counts
    name, seconds = request.node.name, round(time.monotonic() - began)
    content = {"test": name, "seconds": seconds, "counts": dict(sorted(counts.items()))}
    print(json.dumps(content))
    if folder := request.config.getoption("--tally"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")
