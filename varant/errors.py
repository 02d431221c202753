"""The one exception that means "the user can mend this", and how a command line reports it."""

import contextlib
import errno
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from varant.signals import code_and_line, raised_signals, taken
from varant.values import shortened

LONGEST_WORD = 500  # of a message: a path may be as long
FIRST_RANK_SECONDS = 20.0  # that the first of several processes may need to import what it needs


class UserError(ValueError):
    """A flag, file or folder that the user can mend; the message is one line naming it.

    Commands print the message and exit with code 2.
    """


class Diverged(UserError):
    """A training whose loss is no number any more, or far above what it was."""


class Preempted(Exception):
    """The machine asked the process to stop; what it did is saved, and it can go on.

    Commands print the message and exit with code 75.
    """


def one_line(error: BaseException) -> str:
    """The message of `error` on a single line, with its type where the message says nothing, and
    with the beginning of absurdly long words."""
    text = " ".join(shortened(word, LONGEST_WORD) for word in str(error).split())
    return text or type(error).__name__


@contextlib.contextmanager
def exit_codes() -> Iterator[None]:
    """Turn exceptions into DESIGN's exit codes: 2 what the user can mend, 1 what the machine did.

    An exception that is neither a `UserError` nor known trouble of the machine is a bug of ours
    and keeps its traceback (exit code 1 as well). What follows from a signal is the signal's, and
    who reads what is printed may stop reading.
    """
    try:
        with raised_signals():
            yield
            sys.stdout.flush()
    except BaseException as error:
        said, came = _code_and_line(error), taken()
        if came is not None and not isinstance(error, KeyboardInterrupt | Preempted):
            said = code_and_line(came)
        unread = isinstance(error, BrokenPipeError) and came is None
        if not _printed("", sys.stdout) and unread:
            raise SystemExit(128 + signal.SIGPIPE) from None
        if said is None:
            raise
        code, line = said
        if code == 2:
            _let_first_rank_speak()
        if not _printed(f"{line}\n", sys.stderr) and unread:
            code = 128 + signal.SIGPIPE
        raise SystemExit(code) from None


def _let_first_rank_speak() -> None:
    """Of several processes that torchrun started here, all meet what the user can mend; the first
    says it, and with its end torchrun ends the others. Who is not ended meanwhile met it alone.
    """
    if os.environ.get("LOCAL_RANK", "0") != "0":
        time.sleep(FIRST_RANK_SECONDS)


def _printed(text: str, stream: TextIO) -> bool:
    """Print; False where nobody reads, and what is printed there goes nowhere from now on."""
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def _code_and_line(error: BaseException) -> tuple[int, str] | None:
    match error:
        case UserError():
            return 2, f"error: {one_line(error)}"
        case Preempted():
            return 75, one_line(error)
        case PermissionError():
            return 2, f"error: no permission: {error.filename or one_line(error)}"
        case MemoryError() | RuntimeError() if _no_memory(error):
            return 1, "error: out of memory; use a smaller --batch or fewer --samples"
        case FileExistsError() | NotADirectoryError() | IsADirectoryError():
            return 2, f"error: {error.filename}: {error.strerror}; name another path"
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return 1, f"error: disk full while writing {error.filename or 'a file'}"
        case FileNotFoundError(filename=str() | os.PathLike()):
            return 2, f"error: {error.filename}: no such file; put it back, or run again"
        case OSError(errno=int()):
            return 1, f"error: {error.filename or 'the machine'}: {error.strerror}"
        case OSError() if type(error) is OSError:  # NumPy drops the number of a failed write
            return 1, f"error: {one_line(error)}; is the disk full?"
        case KeyboardInterrupt():
            return code_and_line(getattr(error, "number", signal.SIGINT))
    return None


def _no_memory(error: BaseException) -> bool:
    """Whether Python, or torch on a CPU or GPU, had none to give: torch's types are not ours."""
    names = {kind.__name__ for kind in type(error).__mro__}
    return bool(names & {"MemoryError", "OutOfMemoryError"}) or "DefaultCPUAllocator" in str(error)


def require_writable(flag: str, folder: Path) -> None:
    """Create `folder` if it is missing; raise `UserError` if it cannot hold files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UserError(
            f"{flag} {folder}: cannot write there ({error.strerror}); name a writable folder"
        ) from None
