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
from attacks import AFTERWARDS, FROM_NOTHING, Attacked, bytes_on_disk


@dataclass(frozen=True, kw_only=True)
class Undisturbed:
    """A command that nobody disturbed.

    Attributes:
        start: the workspace that it begins with.
        outcome: what it must have made.
        seconds: that it took.
        bytes_on_disk: of the workspace then.
    """

    start: Path
    outcome: object
    seconds: float
    bytes_on_disk: int


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Attacked], Undisturbed]:
    """Runs a command once, those that its workspace needs before it."""
    known: dict[str, Undisturbed] = {}
    empty, ready = tmp_path_factory.mktemp("empty"), tmp_path_factory.mktemp("ready") / "runs"

    def run(command: Attacked) -> Undisturbed:
        if command.module not in known:
            afterwards = command in AFTERWARDS
            if afterwards and not ready.exists():
                ready.mkdir()
                assert [first.run(ready)[0] for first in FROM_NOTHING] == [0, 0]
            start = ready if afterwards else empty
            workspace = tmp_path_factory.mktemp("undisturbed") / "runs"
            shutil.copytree(start, workspace)
            began = time.monotonic()
            code, said = command.run(workspace)
            assert code == 0, said
            seconds = time.monotonic() - began
            known[command.module] = Undisturbed(
                start=start,
                outcome=command.outcome(workspace),
                seconds=seconds,
                bytes_on_disk=bytes_on_disk(workspace),
            )
            shutil.rmtree(workspace)
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
