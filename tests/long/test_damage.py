"""Each file of a finished workspace is damaged in turn: it is found and named, or harmless."""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from attacked import ALONE, REPORTS, SAMPLE, SWITCH, TRAIN, Attacked
from attacks import ended

PARTS = 8  # of the attacks, for as many processes as there are

pytestmark = pytest.mark.long


# Ways to damage a file.


def flip_a_bit(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    with path.open("r+b") as file:
        file.truncate(rng.randrange(path.stat().st_size))


def remove(path: Path, rng: random.Random) -> None:
    path.unlink()


def replace_by_foreign(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.randbytes(path.stat().st_size))


WAYS = [flip_a_bit, cut, remove, replace_by_foreign]
GOOD = {"refused", "made again", "harmless"}
# SQLite keeps no digests: a number of the mirror may change. Nothing of ours reads it.
UNNOTICED = {("mlflow.db", flip_a_bit)}


def readers_of(path: Path) -> list[Attacked]:
    """Commands that may read a file of the workspace."""
    match path.parts[0]:
        case "supernet":
            return [TRAIN, SAMPLE]
        case "switch-quick":
            return [REPORTS, ALONE]
    return [ALONE]


def kind_of(path: Path) -> str:
    """A file's name without what differs between files of one kind."""
    return re.sub(r"[0-9a-f]*\d[0-9a-f]*", "*", str(path))


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished workspace.

    Attributes:
        lacking: the same but for a cell, so that what cells read is read.
        outcomes: what commands must make of it, by module.
    """

    whole: Path
    lacking: Path
    outcomes: dict[str, object]

    def before(self, path: Path) -> Path:
        """The one in which a file is damaged: to make a cell is most of a second."""
        network = path.parts[0] == "cells" and path.suffix == ".safetensors"
        return self.lacking if network or path.parts[0] in ("models", "tokens") else self.whole


@pytest.fixture
def finished(undisturbed, tmp_path: Path) -> Finished:
    whole, lacking = undisturbed(SAMPLE).end, tmp_path / "lacking"
    commands = (TRAIN, SWITCH, SAMPLE, REPORTS)
    outcomes = {command.module: command.outcome(whole) for command in commands}
    shutil.copytree(whole, lacking)
    *_, last = sorted(lacking.glob("cells/*/samples.npy"))
    shutil.rmtree(last.parent)
    return Finished(whole=whole, lacking=lacking, outcomes=outcomes)


@pytest.mark.parametrize("part", range(PARTS))
def test_each_file_damaged_in_turn(
    part: int, finished: Finished, times: Callable[[int], int], tally: Counter[str], tmp_path: Path
) -> None:
    paths = [path for path in finished.whole.rglob("*") if path.is_file()]
    files = sorted(p.relative_to(finished.whole) for p in paths if p.stat().st_size)
    kinds = [list(same) for _, same in itertools.groupby(sorted(files, key=kind_of), key=kind_of)]
    choosing, rng, bad = random.Random(0), random.Random(part), []
    # Every way on one file of a kind, one way on each other file.
    attacks = [(same[0], way) for same in kinds for way in WAYS]
    attacks += [(path, choosing.choice(WAYS)) for same in kinds for path in same[1:]]
    mine = attacks[part::PARTS]
    for path, way in rng.sample(mine, times(len(mine))):
        for reader in readers_of(path):
            tally["made"] += 1
            # A name of its own: MLflow keeps a database open by its path.
            workspace = tmp_path / f"{tally['made']}"
            shutil.copytree(finished.before(path), workspace)
            way(workspace / path, rng)
            found = verdict(reader, path, workspace, finished.outcomes[reader.module])
            shutil.rmtree(workspace)
            tally[f"{reader.module}, {way.__name__} of {kind_of(path)}: {found}"] += 1
            tally[found] += 1
            tally["held"] += found in GOOD
            if found not in GOOD and (path.name, way) not in UNNOTICED:
                bad.append((reader.module, str(path), way.__name__, found))
    assert not bad


def verdict(reader: Attacked, path: Path, workspace: Path, outcome: object) -> str:
    """What a command makes of a workspace in which this file is damaged."""
    code, said = ended(reader, workspace)
    if "Traceback" in said or code not in (0, 2):
        return f"code {code}: {said[-300:]}"
    # A manifest that is damaged may say of a file beside it that it is not what was written.
    named = any(part in said.replace(str(workspace), "") for part in path.parts[-2:])
    if code == 2:
        return "refused" if named else f"refused, not named: {said[-300:]}"
    with contextlib.suppress(AssertionError, OSError, ValueError):  # cannot be read
        if reader.outcome(workspace) == outcome:
            return "made again" if named else "harmless"
    return f"believed: {said[-300:]}"
