"""Timing by turns, of whole works and of a sampler's stages."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from varant.devices import is_cuda

Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """How things are timed: so many times, by turns, on a device."""

    repeats: int
    device: str

    def by_turns(self, works: Sequence[Work]) -> np.ndarray:
        """(repeats, works) seconds: CPU time of this process, or wall time of a CUDA device.

        By turns, so that a slow moment of the machine falls on all of them alike; each runs once
        before, untimed.
        """
        for work in works:
            work()
        return np.array([[self.seconds(work) for work in works] for _ in range(self.repeats)])

    def seconds(self, work: Work) -> float:
        """Of one run."""
        cuda = is_cuda(self.device)
        clock = time.perf_counter if cuda else time.process_time
        wait: Work = partial(torch.cuda.synchronize, self.device) if cuda else lambda: None
        wait()
        started = clock()
        work()
        wait()
        return clock() - started


class StageClock:
    """Times at which a sampler's stages begin; `watch` is what a sampler calls.

    On a CUDA device they are events in its stream: nothing waits for them.
    """

    def __init__(self, device: str) -> None:
        self._device, self._cuda = device, is_cuda(device)
        self._begun: list[tuple[str, int, Any]] = []

    def watch(self, stage: str, scale_index: int) -> None:
        now: Any = torch.cuda.Event(enable_timing=True) if self._cuda else time.process_time()
        if self._cuda:
            now.record(torch.cuda.current_stream(self._device))
        self._begun.append((stage, scale_index, now))

    def seconds(self) -> dict[tuple[str, int], float]:
        """By stage and scale, in order; what is begun several times is added up. On a CUDA device
        once it has been waited for."""
        found: dict[tuple[str, int], float] = {}
        for (stage, scale_index, now), (_, _, then) in zip(
            self._begun, self._begun[1:], strict=False
        ):
            spent = now.elapsed_time(then) / 1000 if self._cuda else then - now
            found[stage, scale_index] = found.get((stage, scale_index), 0.0) + spent
        return found
