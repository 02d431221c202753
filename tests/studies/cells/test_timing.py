"""Timing by turns, and of stages."""

import itertools

import numpy as np
import pytest

from studies.cells import timing
from studies.cells.timing import StageClock, Stopwatch


@pytest.fixture(autouse=True)
def ticking(monkeypatch):
    clock = itertools.count()
    monkeypatch.setattr(timing.time, "process_time", lambda: float(next(clock)))


def test_things_are_timed_by_turns_after_one_untimed_round():
    calls = []
    works = [lambda: calls.append("a"), lambda: calls.append("b")]
    seconds = Stopwatch(repeats=3, device="cpu").by_turns(works)
    assert calls == ["a", "b"] * 4
    np.testing.assert_array_equal(seconds, np.ones((3, 2)))


def test_parts_of_a_stage_are_added_up():
    clock = StageClock("cpu")
    for stage, scale in (("blocks", 0), ("head", 0), ("sampling", 0), ("head", 0), ("end", 0)):
        clock.watch(stage, scale)
    assert clock.seconds() == {("blocks", 0): 1.0, ("head", 0): 2.0, ("sampling", 0): 1.0}


def test_on_a_device_stages_are_timed_by_events(monkeypatch):
    """With a stand-in: no GPU is at hand. Nothing is waited for."""

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            assert stream == "stream of cuda:1"  # another device's stream is not what runs
            self.at = next(times)

        def elapsed_time(self, later):
            return later.at - self.at  # milliseconds

    times = iter((0.0, 250.0, 1250.0))
    monkeypatch.setattr(timing.torch.cuda, "Event", Event)
    monkeypatch.setattr(timing.torch.cuda, "current_stream", "stream of {}".format)
    clock = StageClock("cuda:1")
    for stage in ("blocks", "head", "end"):
        clock.watch(stage, 3)
    assert clock.seconds() == {("blocks", 3): 0.25, ("head", 3): 1.0}
