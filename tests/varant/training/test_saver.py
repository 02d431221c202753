"""Checkpoints that are written aside while the run goes on."""

import errno
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_run
import torch

from varant.training import resume
from varant.training.resume import CheckpointFolder, RunState, Saver
from varant.training.run import read_metrics


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass only where a test says so."""
    now = SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(resume, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.fixture
def gate(monkeypatch):
    """A write waits for it."""
    opened, write = threading.Event(), resume.write_tensors

    def gated(path: Path, tensors: dict[str, torch.Tensor]) -> str:
        assert opened.wait(60)
        return write(path, tensors)

    monkeypatch.setattr(resume, "write_tensors", gated)
    yield opened
    opened.set()


def save(saver: Saver, step: int, weight: torch.Tensor, *, wait: bool = False) -> None:
    def state() -> RunState:
        return RunState(step=step, tensors={"w": saver.copy("w", weight)}, facts={})

    saver.save(state, wait=wait)


def test_what_is_written_is_the_state_of_then(tmp_path, gate):
    saver, weight = Saver(CheckpointFolder(folder=tmp_path), 60.0), torch.arange(6.0).reshape(2, 3)
    save(saver, 1, weight.T)
    weight.zero_()  # the next step, while the write waits
    saver.check()
    assert not list(tmp_path.glob("step-*"))
    gate.set()
    saver.close()
    found = CheckpointFolder(folder=tmp_path).latest(pytest.fail)
    assert torch.equal(found.tensors["w"], torch.arange(6.0).reshape(2, 3).T)


def test_one_write_at_a_time_and_thirty_times_as_long_between(tmp_path, clock, gate):
    saver, weight = Saver(CheckpointFolder(folder=tmp_path), 60.0), torch.ones(2)
    clock.seconds = 59.0
    assert not saver.due
    clock.seconds = 60.0
    assert saver.due
    save(saver, 1, weight)
    clock.seconds = 1000.0
    assert not saver.due, "one is being written"
    clock.seconds = 64.0  # it took four
    gate.set()
    saver._writing.result()
    saver.check()
    assert saver.blocked_seconds == 0
    clock.seconds = 64.0 + 30 * 4 - 1
    assert not saver.due
    clock.seconds += 1
    assert saver.due


def test_a_write_that_fails_says_so_at_the_next_step(tmp_path, monkeypatch):
    folder, failing = tmp_path / "run", threading.Event()

    def full(path: Path, tensors: dict[str, torch.Tensor]) -> str:
        failing.set()
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(resume, "write_tensors", full)
    monkeypatch.setattr(resume.Saver, "due", property(lambda saver: not failing.is_set()))
    with pytest.raises(OSError, match="No space left"):
        small_run.run(folder, checkpoint_seconds=1000.0, slow_step=0.01)
    assert 0 < len(read_metrics(folder)) < small_run.STEPS // 2, "not at the end"
    assert [path.name for path in (folder / "checkpoints").iterdir()] == []
