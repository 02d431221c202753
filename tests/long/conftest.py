"""What attacks share: the undisturbed outcome of every command, and where counts are written."""

from __future__ import annotations

import json
import math
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacks import Attacked


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
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Attacked], Undisturbed]:
    """Runs a command once, after those that it comes after."""
    known: dict[str, Undisturbed] = {}

    def run(command: Attacked) -> Undisturbed:
        if command.module not in known:
            empty, end = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("end") / "runs"
            start = run(command.after).end if command.after else empty
            shutil.copytree(start, end)
            began = time.monotonic()
            code, said = command.run(end)
            assert code == 0, said
            known[command.module] = Undisturbed(
                start=start, end=end, outcome=command.outcome(end), seconds=time.monotonic() - began
            )
        return known[command.module]

    return run


@pytest.fixture
def times(request: pytest.FixtureRequest) -> Callable[[int], int]:
    """How often: `--share` of the full number, at least once."""
    share: float = request.config.getoption("--share")
    return lambda full: max(1, math.ceil(full * share))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Iterator[Counter[str]]:
    """Counts of a test; printed, and written to `--tally`."""
    counts: Counter[str] = Counter()
    yield counts
    name = request.node.name
    line = {name: dict(sorted(counts.items()))}
    print(json.dumps(line))
    if folder := request.config.getoption("--tally"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.json").write_text(json.dumps(line, indent=1) + "\n")
