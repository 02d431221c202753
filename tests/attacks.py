"""Ways to hurt the commands of `attacked.py`. Counts go to `--tally FOLDER`, from there to
promises.md.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import random
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from attacked import LONGEST_SECONDS, Attacked
from command_lines import listens

from analysis.figures.theme import new_figure
from reports.parts.page import Page

# By commands, and imported once where they are forked.
IMPORTED = ["reports.build", "studies.grid.bench", "studies.running.runner", "studies.supernets"]
IMPORTED += ["studies.tracking.mlflow_runs", "varant.training.run", "varant.training.curves"]
CODES = {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 75, signal.SIGINT: 130}
LINES = {signal.SIGTERM: "run the same command to go on", signal.SIGINT: "interrupted; run"}


def kill_once(
    command: Attacked, workspace: Path, seconds: float, rng: random.Random, tally: Counter[str]
) -> bool:
    """Start a command and signal it at a random moment of so many seconds; whether it was done."""
    number = rng.choice(list(CODES))
    everyone, moment = rng.random() < 0.5, rng.random()
    what = f"{command.name}: {number.name} to {'all its processes' if everyone else 'it'}"
    what += f" after {moment:.2f} of {seconds:.1f} seconds"
    with command.started(workspace) as running:
        # Before that Python itself answers, which does not know yet whose command it is.
        while running.process.poll() is None and not listens(running.process, signal.SIGTERM):
            time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            running.process.wait(moment * seconds)
        alive = running.process.poll() is None
        running.kill(number, everyone=everyone)
        try:
            running.wait_until_gone()
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{what}: {error}; said {running.said()}") from None
        said, code = running.said(), running.process.returncode
    assert "Traceback" not in said, f"{what}: {said}"
    done = code == 0
    assert done or (alive and code == CODES[number]), f"{what}: ended with {code}: {said}"
    if not done and number in LINES:
        lines = said.replace("\r", "\n").splitlines()
        found = [line for line in lines if LINES[number] in line]
        one = found == lines[-1:] or command.several
        assert found and one, f"{what}: not one line, the last: {said}"
    tally[f"{number.name} {'after the end' if done else 'in time'}"] += 1
    tally[f"moment {int(10 * moment)}/10"] += 1
    return done


# Commands in a process that has imported what they import: a damage costs a second, not ten.


def ended(command: Attacked, workspace: Path) -> tuple[int | None, str]:
    """Run a command to its end: code and stderr."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with tempfile.NamedTemporaryFile("r") as errors:
        words = [command.module, *command.words(workspace)]
        process = context.Process(target=_run, args=(words, errors.name))
        process.start()
        process.join(LONGEST_SECONDS)
        if process.exitcode is None:
            process.kill()
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
