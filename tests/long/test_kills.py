"""Commands that are killed at random moments, again and again, end as undisturbed ones do."""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import COMMANDS, kill_once

KILLS = 200
KILLS_A_ROUND = 5  # of one workspace, before the command may run to its end

pytestmark = pytest.mark.long


@pytest.mark.parametrize("module", COMMANDS)
def test_killed_at_random_moments(
    module: str, undisturbed, times: Callable[[int], int], tally: Counter[str], tmp_path: Path
) -> None:
    command = COMMANDS[module]
    kills, rng = times(math.ceil(KILLS / len(COMMANDS))), random.Random(module)
    whole = undisturbed(command)
    while tally["kills"] < kills:
        workspace = tmp_path / "runs"
        shutil.copytree(whole.start, workspace)
        for _ in range(min(KILLS_A_ROUND, kills - tally["kills"])):
            tally["kills"] += 1
            if kill_once(command, workspace, whole.seconds, rng, tally):
                break
        code, said = command.run(workspace)
        assert code == 0, said
        assert command.outcome(workspace) == whole.outcome
        tally["ended as undisturbed"] += 1
        tally["files left aside"] += len([*workspace.rglob(".*.????????")])
        shutil.rmtree(workspace)
