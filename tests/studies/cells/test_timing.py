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
