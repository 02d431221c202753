"""A disk that is full at one point after another: one line, and nothing whole is lost."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from attacks import LONGEST_SECONDS, ROOT, SWITCH, TRAIN, Attacked, bytes_on_disk

POINTS = 15  # of each command

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


@pytest.mark.usefixtures("namespaces")
@pytest.mark.parametrize("command", [TRAIN, SWITCH], ids=lambda command: command.module)
def test_full_at_every_point(
    command: Attacked, undisturbed, times: Callable[[int], int], tally: Counter[str], tmp_path: Path
) -> None:
    """The points are equally far apart in what the command writes, up to all of it."""
    whole, points = undisturbed(command), times(POINTS)
    begun = bytes_on_disk(whole.start)
    for point in range(1, points + 1):
        room = begun + (bytes_on_disk(whole.end) - begun) * point // (points + 1)
        here, disk = tmp_path / f"{point}", tmp_path / f"{point}" / "disk"
        disk.mkdir(parents=True)
        (here / "runs").mkdir()
        words = [sys.executable, "-m", command.module, *command.words(disk)]
        subprocess.run(
            [*ENTER, "sh", "-c", FILL, "sh", str(room), str(disk), str(whole.start), *words],
            cwd=ROOT,
            env=os.environ | {"HERE": str(here), "DISK": str(disk)},
            stdout=subprocess.DEVNULL,
            timeout=LONGEST_SECONDS,
            check=True,
        )
        code, said = (here / "full.code").read_text().strip(), (here / "full.txt").read_text()
        assert "Traceback" not in said, said
        assert code in ("0", "1"), said
        tally["full: one line and code 1" if code == "1" else "full: of the tracker only"] += 1
        assert (here / "again.code").read_text().strip() == "0", (here / "again.txt").read_text()
        assert command.outcome(here / "runs") == whole.outcome
        tally["with room again: ended as undisturbed"] += 1
