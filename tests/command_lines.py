"""Flags as words of a command line, configs read from them as commands read theirs, and whether a
command that was started listens to signals yet.
"""

import subprocess
from pathlib import Path
from typing import TypeVar

from varant.flags import flags_of

C = TypeVar("C")


def words(**flags: object) -> list[str]:
    """`depth=4, online=True, out=None` as `--depth 4 --online`; None is left out."""
    found = []
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if value is not None and value is not False:
            found += [flag] if value is True else [flag, str(value)]
    return found


def config_of(kind: type[C], **flags: object) -> C:
    """The config that a command makes of these flags."""
    return flags_of(kind, None, words(**flags))


def listens(process: subprocess.Popen[str], number: int) -> bool:
    """Whether a process has a handler for the signal, as Linux says."""
    fields = Path(f"/proc/{process.pid}/status").read_text().split()
    if "SigCgt:" not in fields:  # it has ended
        return False
    return bool(int(fields[fields.index("SigCgt:") + 1], 16) >> (number - 1) & 1)
