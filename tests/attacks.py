"""What the long tests attack: commands of a few seconds, what each must have made whatever happened
to it on the way, and the ways to hurt it. Counts go to `--tally FOLDER`, from there to promises.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import pandas as pd
from command_lines import words
from mlflow_runs import runs_of

from analysis.figures.theme import new_figure
from reports.parts.page import Page
from studies.cells.result import read_result
from studies.tracking.mlflow_runs import _metric_name
from varant.training.run import TIMES, read_metrics

ROOT = Path(__file__).parents[1]
# By commands, and imported once where they are forked.
IMPORTED = ["reports.build", "studies.grid.bench", "studies.running.runner", "studies.supernets"]
IMPORTED += ["studies.tracking.mlflow_runs", "varant.training.run", "varant.training.curves"]
GONE_SECONDS = 90  # in which nothing of a command is left; its workers have 60 to save
LONGEST_SECONDS = 1200
START_SECONDS = 0.2  # of Python itself, before it knows whose command it is
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 75, signal.SIGINT: 130}
LINES = {signal.SIGTERM: "run the same command to go on", signal.SIGINT: "interrupted; run"}


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """A command, a few seconds long.

    Attributes:
        outcome: what a workspace must hold in the end, however it came about.
        after: the command whose workspace it goes on in; None for an empty one.
        folder: of the workspace, for what takes one without a flag.
        flags: a path is one in the workspace.
    """

    module: str
    outcome: Callable[[Path], object]
    after: Attacked | None = None
    folder: str | None = None
    flags: Mapping[str, object] = field(default_factory=dict)

    def words(self, workspace: Path) -> list[str]:
        inside = {k: workspace / v if isinstance(v, Path) else v for k, v in self.flags.items()}
        return [str(workspace / self.folder)] if self.folder else words(**inside)

    def start(self, workspace: Path, errors: IO[str] | None = None) -> subprocess.Popen[str]:
        """Start it in a process that leads a group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", self.module, *self.words(workspace)],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=errors or subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            # Ctrl-C is ignored by all that a shell's background job starts, such as tests.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, workspace: Path) -> tuple[int, str]:
        """Run it to its end: code and stderr."""
        with tempfile.TemporaryFile("w+") as errors:
            process = self.start(workspace, errors)
            process.wait(timeout=LONGEST_SECONDS)
            errors.seek(0)
            return process.returncode, errors.read()


def bytes_on_disk(folder: Path) -> int:
    """Of all below a folder, in whole pages."""
    return sum(path.stat().st_size // 4096 * 4096 + 4096 for path in folder.rglob("*"))


# Commands in a process that has imported what they import: a damage costs a second, not ten.


def ended(command: Attacked, workspace: Path) -> tuple[int | None, str]:
    """Run a command to its end: code and stderr."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with tempfile.NamedTemporaryFile("r") as errors:
        words = [command.module, *command.words(workspace)]
        process = context.Process(target=_run, args=(words, errors.name))
        process.start()
        process.join()
        return process.exitcode, errors.read()


def _run(words: list[str], errors: str) -> None:
    sys.argv, sys.stdout = words, io.StringIO()
    figure = Page.figure  # drawing is most of a small study's time
    Page.figure = lambda page, name, draw, *said: figure(
        page, name, lambda: new_figure(height=1), *said
    )
    sys.stderr = open(errors, "w", buffering=1)  # noqa: SIM115  # the process ends with it
    runpy.run_module(words[0], run_name="__main__", alter_sys=True)


# What commands must have made.


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_study(name: str) -> Callable[[Path], object]:
    """The frame but for what was timed, the verdicts; the tracker equals the cells."""

    def outcome(workspace: Path) -> object:
        frame = pd.read_parquet(workspace / name / "frame.parquet")
        frame = frame[~frame["metric"].str.contains("second|latency")]
        keys = [column for column in frame if column != "value"]
        values = frame.astype(str).sort_values(keys).to_csv(index=False)
        answer = json.loads((workspace / name / "answer.json").read_text())
        assert (workspace / name / "report.pdf").read_bytes().startswith(b"%PDF")
        assert_tracked(workspace, name, set(frame["cell_digest"]))
        return values, answer.get("ledger")

    return outcome


def assert_tracked(workspace: Path, name: str, cells: set[str]) -> None:
    """Each cell of the study is one run with the values of its result, and none is running."""
    runs = runs_of(workspace, name)
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED"}, "left running"
    *_, parent = [r for r in runs if r.info.status == "FINISHED" and "config_digest" in r.data.tags]
    children = [r for r in runs if r.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
    tracked = Counter(run.data.tags["cell_digest"] for run in children)
    assert cells <= tracked.keys() and set(tracked.values()) == {1}
    for run in children:
        found = run.data.tags["cell_digest"]
        result = read_result(workspace / "cells" / found[:16], found)
        assert result is not None and run.info.status == "FINISHED"
        shown = {_metric_name(metric): value for metric, value in result.values.items()}
        curve = run.data.metrics.keys() - shown.keys()
        assert {m: v for m, v in run.data.metrics.items() if m not in curve} == shown


def of_training(workspace: Path) -> object:
    """The network, and what was logged but for what was timed."""
    folder = workspace / "supernet"
    lines = [{k: v for k, v in one.items() if k not in TIMES} for one in read_metrics(folder)]
    return digest(folder / "model.safetensors"), lines


def of_sheet(workspace: Path) -> object:
    return digest(workspace / "samples.png")


def of_report(workspace: Path) -> object:
    folder = workspace / "switch-quick"
    return digest(folder / "answer.json"), sorted(p.name for p in (folder / "figures").iterdir())


def of_times(workspace: Path) -> object:
    """Of what only measures time: what was measured."""
    frame = pd.read_parquet(workspace / "efficiency-quick" / "frame.parquet")
    return sorted(set(frame["cell_digest"]))


_SMALL = {"quick": True, "workspace": Path(), "samples": 40, "nll_images": 20}
_TRAINED = _SMALL | {"budget": 320, "batch": 32, "depths": 2}


def study(name: str, after: Attacked, **flags: object) -> Attacked:
    outcome = of_study(f"{name}-quick")
    return Attacked(module=f"studies.{name}", after=after, flags=flags, outcome=outcome)


SUPERNET = Path("supernet")
# Makes its workspace from nothing: data, tokenizer, tokens and base network.
TRAIN = Attacked(
    module="varant.train",
    flags={"quick": True, "workspace": Path(), "budget": 640, "batch": 32},
    outcome=of_training,
)
SWITCH = study("switch", TRAIN, **_TRAINED, switches=3, workers=2)
REPORTS = Attacked(module="reports", after=SWITCH, folder="switch-quick", outcome=of_report)
SAMPLE = Attacked(
    module="varant.sample",
    after=SWITCH,
    flags={"model": SUPERNET, "out": Path("samples.png")},
    outcome=of_sheet,
)
EFFICIENCY = Attacked(
    module="studies.efficiency",
    after=SWITCH,
    flags={"quick": True, "workspace": Path()},
    outcome=of_times,
)
_ALL = [
    TRAIN,
    SWITCH,
    REPORTS,
    SAMPLE,
    EFFICIENCY,
    study("sensitivity", SWITCH, **_SMALL, depths=1, workers=1),
    study("pareto", SWITCH, **_TRAINED, schedules="full,progressive"),
    study("search", SWITCH, **_SMALL, model=SUPERNET, trials=6, kv_limit=0.6, score_images=20),
    study("schedule", SWITCH, **_TRAINED, trials=2, units=1),
    study("ladder", SWITCH, **_SMALL, units=2),
    study("noise", SWITCH, **_TRAINED | {"samples": 80}, draws=1),
]
COMMANDS = {command.module: command for command in _ALL}


# Ways to hurt them.


def in_group(leader: int) -> list[int]:
    """The processes of a group that are alive; zombies are not."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(group) == leader and state != "Z":
                found.append(int(stat.parent.name))
    return found


def kill(process: subprocess.Popen[str], number: signal.Signals, *, group: bool) -> None:
    with contextlib.suppress(ProcessLookupError):
        (os.killpg if group else os.kill)(process.pid, number)


def wait_until_gone(process: subprocess.Popen[str]) -> None:
    """Until nothing of a command is left: its workers end with it."""
    process.wait(timeout=LONGEST_SECONDS)
    deadline = time.monotonic() + GONE_SECONDS
    while alive := in_group(process.pid):
        assert time.monotonic() < deadline, f"left behind: {alive}"
        time.sleep(0.05)


def kill_once(
    command: Attacked, workspace: Path, seconds: float, rng: random.Random, tally: Counter[str]
) -> bool:
    """Start a command and signal it at a random moment of so many seconds; whether it was done."""
    number = rng.choice(list(CODES))
    group, moment = rng.random() < 0.5, rng.random()
    with tempfile.TemporaryFile("w+") as errors:
        process = command.start(workspace, errors)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(START_SECONDS + moment * seconds)
        alive = process.poll() is None
        kill(process, number, group=group)
        wait_until_gone(process)
        errors.seek(0)
        said = errors.read()
    what = f"{command.module} {number.name} to {'the group' if group else 'it'} at {moment:.2f}"
    assert "Traceback" not in said, f"{what}: {said}"
    done = process.returncode == 0
    assert done or (alive and process.returncode == CODES[number]), (
        f"{what}: ended with {process.returncode}: {said}"
    )
    if not done and number in LINES:
        lines = said.replace("\r", "\n").splitlines()
        assert sum(LINES[number] in line for line in lines) == 1 and LINES[number] in lines[-1], (
            said
        )
    tally[f"{number.name} {'after the end' if done else 'in time'}"] += 1
    tally[f"moment {int(10 * moment)}/10"] += 1
    return done
