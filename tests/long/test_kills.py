"""Commands that are killed at random moments, again and again, end as undisturbed ones do."""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from attacked import COMMANDS
from attacks import kill_once

KILLS = 200
KILLS_A_ROUND = 5  # of one workspace, before the command may run to its end

pytestmark = pytest.mark.long


@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_moments(
    name: str, undisturbed, times: Callable[[int], int], tally: Counter[str], tmp_path: Path
) -> None:
    command = COMMANDS[name]
    kills, rng = times(math.ceil(KILLS / len(COMMANDS))), random.Random(name)
    whole = undisturbed(command)
    while (before := tally["made"]) < kills:
        # Not the folder of the round before: MLflow keeps a database open by its path.
        workspace = tmp_path / f"after-{before}"
        shutil.copytree(whole.start, workspace)
        for _ in range(min(KILLS_A_ROUND, kills - before)):
            tally["made"] += 1
            if kill_once(command, workspace, whole.seconds, rng, tally):
                break
        code, said = command.run(workspace)
        what = f"{name}, after kills {before + 1} to {tally['made']}"
        assert code == 0 and "Traceback" not in said, f"{what}: ended with {code}: {said}"
        assert command.outcome(workspace) == whole.outcome, f"{what}: not as undisturbed"
        tally["held"] += tally["made"] - before
        tally["files left aside"] += len([*workspace.rglob(".*.????????")])
        shutil.rmtree(workspace)
