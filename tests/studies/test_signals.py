"""A signal in any phase of a study ends it in one line, and leaves no run running."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow_runs import runs_of
from study_commands import Command

import reports
from studies.grid import bench, folder
from studies.ladder import Ladder, LadderConfig
from studies.overheads import run_program
from studies.running import runner
from studies.tracking.mlflow_runs import StudyRecord
from varant import manifest
from varant.errors import exit_codes

LADDER = Command(
    study=Ladder, config=LadderConfig, flags={"quick": True, "units": 1, "samples": 40}
)


def signalling(work: Callable[..., Any], number: int) -> Callable[..., Any]:
    def stopped(*args: Any, **kwargs: Any) -> Any:
        os.kill(os.getpid(), number)
        return work(*args, **kwargs)

    return stopped


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(
    ("phase", "name", "number", "code"),
    [
        (bench, "materialise", signal.SIGINT, 130),
        (runner, "run_cell", signal.SIGTERM, 75),
        (StudyRecord, "record_cell", signal.SIGTERM, 75),
        (folder, "write_frame", signal.SIGINT, 130),
        (reports, "build", signal.SIGTERM, 75),
        (StudyRecord, "finish", signal.SIGINT, 130),
    ],
)
def test_in_any_phase(
    quick_workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    phase: Any,
    name: str,
    number: int,
    code: int,
) -> None:
    with monkeypatch.context() as within:
        within.setattr(phase, name, signalling(getattr(phase, name), number))
        with pytest.raises(SystemExit) as ended, exit_codes():
            LADDER.run(quick_workspace)
    assert ended.value.code == code
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.endswith(("run the same command to go on", "run the same command again to go on"))
    if (quick_workspace / "mlflow.db").exists() and phase is not bench:
        statuses = {run.info.status for run in runs_of(quick_workspace, "ladder-quick")}
        assert "RUNNING" not in statuses
    written = quick_workspace / "ladder-quick"
    for file in manifest.read(written):
        assert manifest.verified(written / file).exists()


def test_a_program_of_its_own_hears_no_ctrl_c_and_ends_with_the_study():
    """Those that `studies.efficiency` measures."""
    run_program("import os, signal; os.kill(os.getpid(), signal.SIGINT)")

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(KeyboardInterrupt):
            run_program("import time; time.sleep(600)")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
