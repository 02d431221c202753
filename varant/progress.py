"""How long work shows that it goes on."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from tqdm import tqdm

Log = Callable[[int, dict[str, float]], object]  # called with a step and its metrics


# How a long step reports: `with progress(title, total, unit) as advance: advance(n, ...)`.
Progress = Callable[[str, int, str], AbstractContextManager[Callable[..., object]]]


@contextlib.contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[..., object]]:
    """A bar on stderr; `advance(n, loss=...)` moves it."""
    with tqdm(
        total=total, desc=title, unit=unit, unit_scale=True, mininterval=update_interval()
    ) as bar:

        def advance(count: int, **shown: float) -> None:
            if shown:
                bar.set_postfix({k: f"{v:.3f}" for k, v in shown.items()}, refresh=False)
            bar.update(count)

        yield advance


@contextlib.contextmanager
def silent(title: str, total: int, unit: str) -> Iterator[Callable[..., object]]:
    yield lambda count, **shown: None


def update_interval() -> float:
    """Seconds between two updates: a log file wants fewer lines than a terminal."""
    return 0.5 if sys.stderr.isatty() else 20.0
