"""A disk that is full at one point after another: one line, and nothing whole is lost."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from attacked import ALONE, LONGEST_SECONDS, TRAIN, Attacked, started

POINTS, PARTS = 15, 3  # of each command; of the points, for as many processes as there are

# A file system of its own, in a namespace where its maker is root: no rights are needed for it.
ENTER = ["unshare", "--user", "--map-root-user", "--mount"]
FILL = """
mount -t tmpfs -o size="$1" none "$2" && cp -a "$3"/. "$2" && shift 3 || exit 9
"$@" 2> "$HERE/full.txt"; echo $? > "$HERE/full.code"
mount -o remount,size=4g "$DISK"
"$@" 2> "$HERE/again.txt"; echo $? > "$HERE/again.code"
cp -a "$DISK"/. "$HERE/runs"
"""

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def namespaces(tmp_path_factory: pytest.TempPathFactory) -> None:
    disk = tmp_path_factory.mktemp("disk")
    mount = [*ENTER, "mount", "-t", "tmpfs", "none", str(disk)]
    if shutil.which("unshare") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("this system lets users mount no file system")


def bytes_on_disk(folder: Path) -> int:
    """Of all below a folder, in whole pages."""
    return sum(path.stat().st_size // 4096 * 4096 + 4096 for path in folder.rglob("*"))


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("command", [TRAIN, ALONE], ids=lambda command: command.module)
@pytest.mark.parametrize("part", range(PARTS))
def test_full_at_every_point(
    part: int,
    command: Attacked,
    undisturbed,
    times: Callable[[int], int],
    tally: Counter[str],
    tmp_path: Path,
) -> None:
    """The points are equally far apart in what the command writes, up to all of it."""
    whole, mine = undisturbed(command), range(1 + part, POINTS + 1, PARTS)
    begun = bytes_on_disk(whole.start)
    for point in random.Random(part).sample(mine, times(len(mine))):
        room = begun + (bytes_on_disk(whole.end) - begun) * point // (POINTS + 1)
        here, disk = tmp_path / f"{point}", tmp_path / f"{point}" / "disk"
        disk.mkdir(parents=True)
        (here / "runs").mkdir()
        words = [sys.executable, "-m", command.module, *command.words(disk)]
        tally["made"] += 1
        filling = [*ENTER, "sh", "-c", FILL, "sh", str(room), str(disk), str(whole.start), *words]
        with started(filling, command.place(disk), HERE=str(here), DISK=str(disk)) as running:
            assert running.process.wait(LONGEST_SECONDS) == 0, running.said()
        code, said = (here / "full.code").read_text().strip(), (here / "full.txt").read_text()
        what = f"{command.name}, full at {point} of {POINTS + 1}"
        assert "Traceback" not in said, f"{what}: {said}"
        assert code in ("0", "1"), f"{what}: ended with {code}: {said}"
        tally["one line and code 1" if code == "1" else "of the tracker only"] += 1
        again = (here / "again.txt").read_text()
        assert (here / "again.code").read_text().strip() == "0", f"{what}, then room: {again}"
        assert command.outcome(here / "runs") == whole.outcome, f"{what}: not as undisturbed"
        tally["held"] += 1
