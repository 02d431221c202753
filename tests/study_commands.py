"""Studies as their commands run them: in this process, or in one of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from command_lines import config_of, words

from reports import ReportPaths
from studies.grid.flags import StudyConfig
from studies.study import Study
from varant.errors import exit_codes

ROOT = Path(__file__).parent.parent
FEW = {"quick": True, "samples": 80, "nll_images": 40}
TRAINED = FEW | {"batch": 32}  # of studies that train


@dataclass(frozen=True, kw_only=True)
class Command:
    """A study's command, and flags that its tests give unless they give others."""

    study: type[Study[Any, Any]]
    config: type[StudyConfig]
    flags: dict[str, object] = field(default_factory=dict)

    def of(self, **flags: object) -> Study[Any, Any]:
        """The study that a command line means."""
        return self.study(config_of(self.config, **self._given(flags)), "test")

    def _given(self, flags: dict[str, object]) -> dict[str, object]:
        """With what tests give: one process, and the smallest preset."""
        given: dict[str, object] = self.flags | flags
        usual: dict[str, object] = {} if "scheduler" in given else {"workers": 1}
        if not {"model", "vae", "quick"} & given.keys():
            usual["preset"] = "tiny"
        return usual | given

    def run(self, workspace: Path, **flags: object) -> ReportPaths:
        """Run it in this process, to its end."""
        paths = self.of(workspace=workspace, **flags).run()
        assert paths is not None, "a dry run has no report"
        return paths

    def start(self, workspace: Path, **flags: object) -> subprocess.Popen[str]:
        """Start it in a process of its own, which leads a group of processes."""
        arguments = words(**self._given({"workspace": workspace} | flags))
        return subprocess.Popen(
            [sys.executable, "-m", f"studies.{self.study.name}", *arguments],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Ctrl-C is ignored by all that a shell's background job starts, such as tests.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def refused(self, capsys: pytest.CaptureFixture[str], workspace: Path, **flags: object) -> str:
        """The one line, warnings and power apart, that it says to these flags; it ends with code 2
        and makes no folder."""
        there = workspace.exists()
        with pytest.raises(SystemExit) as ended, exit_codes():
            self.of(workspace=workspace, **flags).run()
        assert ended.value.code == 2
        said = capsys.readouterr().err.strip().splitlines()
        lines = [line for line in said if not line.startswith(("warning: ", "power", "  "))]
        assert len(lines) == 1
        assert workspace.exists() == there, "something was written"
        return lines[0]


def end_when(
    process: subprocess.Popen[str], ready: Callable[[], bool], number: int, *, group: bool = False
) -> int:
    """Send a signal to a process, or its group, as soon as `ready()`; its exit code."""
    deadline = time.monotonic() + 240
    try:
        while not ready():
            assert process.poll() is None, f"ended too early: {process.communicate()[1]}"
            assert time.monotonic() < deadline, "never ready"
            time.sleep(0.05)  # asking reads files, and what is asked for needs the cores
        (os.killpg if group else os.kill)(process.pid, number)
        process.communicate(timeout=120)
    except BaseException:  # a test that fails leaves nobody behind who works on
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        raise
    return process.returncode
