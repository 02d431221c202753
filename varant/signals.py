"""Signals that end a command: Ctrl-C, and SIGTERM and SIGUSR1, by which batch systems end jobs.

While a command is imported nothing is at stake, and it ends where it is (`quit_on_signals`); from
then on a signal is an exception, so that what is open is closed (`raised_signals`), and a training
saves the step that it is at (`stop_signals`). What a shell has ignored stays ignored.
"""

import _thread
import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

STOPS = [kind for kind in signal.Signals if kind.name in ("SIGTERM", "SIGUSR1")]  # not on Windows
EVERY = [signal.SIGINT, *STOPS]
COMMANDS = ("reports", "studies", "varant")  # packages whose modules are commands

Handler = Callable[[int, object], object]
_came: list[int] = []


class Stopped(KeyboardInterrupt):
    """A signal came.

    As Ctrl-C's own exception it is no `Exception`, so that what copes with errors lets it pass; but
    Python ends by the signal, not by a code, when that very one has passed through an `exec`.
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(number)
        self.number = number


def code_and_line(number: int) -> tuple[int, str]:
    """How a command ends that this signal has stopped."""
    if number == signal.SIGINT:
        return 130, "interrupted; run the same command again to go on"
    kept = "finished cells and checkpoints are kept"
    return 75, f"stopped; {kept}: run the same command to go on"


def quit_on_signals() -> None:
    """From now on a signal ends this process with its line and code, if it is a command of ours.

    Python says `-m` in place of the first argument while it looks for a command's module, and
    then only: who imports a package of ours as a library keeps his handlers.
    """
    if sys.argv[:1] == ["-m"]:
        module = sys.orig_argv[-len(sys.argv)].removeprefix("-m")
        if module.partition(".")[0] in COMMANDS:
            _listen(EVERY, _quit)
            # Python gives up handlers before it takes down what was imported, which takes seconds
            # too: what is done by then is done.
            atexit.register(_listen, EVERY, signal.SIG_IGN)


def _quit(number: int, frame: object) -> None:
    # No exception: extensions that are being imported turn it into errors of their own.
    code, line = code_and_line(number)
    with contextlib.suppress(OSError):
        os.write(2, f"{line}\n".encode())
    os._exit(code)


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """Inside, signals raise `Stopped`; libraries may make another error of it, or nothing.

    In a finaliser or a weak reference's callback Python would print it and go on: it comes again.
    """

    def stop(number: int, frame: object) -> None:
        _came.append(number)
        raise Stopped(number)

    def ignored(unraisable: Any) -> None:
        if isinstance(unraisable.exc_value, Stopped):
            # Of `threading` a callback may hold the locks; here it would raise in this hook.
            _thread.start_new_thread(_come_again, (unraisable.exc_value.number,))
        else:
            before(unraisable)

    _came.clear()
    before, sys.unraisablehook = sys.unraisablehook, ignored
    try:
        with stop_signals(stop, EVERY):
            yield
    finally:
        sys.unraisablehook = before


def _come_again(number: int) -> None:
    time.sleep(0.01)
    _thread.interrupt_main(signal.Signals(number))


def raise_again() -> None:
    """Stop if a signal came: what went wrong may be its doing, and what did not may hide it."""
    if _came:
        raise Stopped(_came[0])


def taken() -> int | None:
    """The first signal since `raised_signals` began, once."""
    first = _came[0] if _came else None
    _came.clear()
    return first


@contextlib.contextmanager
def stop_signals(handler: Handler, kinds: Sequence[signal.Signals] = STOPS) -> Iterator[None]:
    """Inside, signals of these kinds call `handler`; by default SIGTERM and SIGUSR1."""
    before = _listen(kinds, handler)
    try:
        yield
    finally:
        for kind, kept in before.items():
            signal.signal(kind, kept)


def _listen(
    kinds: Sequence[signal.Signals], handler: Handler | signal.Handlers
) -> dict[signal.Signals, Any]:
    """Set `handler`, and what was there before; only a process's main thread can listen."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    heard = [kind for kind in kinds if signal.getsignal(kind) is not signal.SIG_IGN]
    return {kind: signal.signal(kind, handler) for kind in heard}
