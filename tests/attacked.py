"""What the long tests attack: commands of a few seconds, what each starts in, and what it must have
made whatever happened to it on the way.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd
from command_lines import words
from mlflow_runs import runs_of
from nights import night

from studies.cells.result import read_result
from studies.tracking.mlflow_runs import _metric_name
from varant.training.run import TIMES, read_metrics

ROOT = Path(__file__).parents[1]
LONGEST_SECONDS = 1200
GONE_SECONDS = 90  # in which nothing of a command is left; its workers have 60 to save
MARK = "VARANT_ATTACKED"  # in the environment of all that a command starts, in whatever session


@dataclass(frozen=True, kw_only=True)
class Attacked:
    """A command, a few seconds long.

    Attributes:
        outcome: what a workspace must hold in the end, however it came about.
        after: the command whose workspace it goes on in; None for a new one.
        made: makes the new workspace; None for an empty one.
        at: folder of the workspace that it is run in; None for the repository.
        before: words before the flags; in them and in flags, a path is one in the workspace.
        label: says which, where several are of one module.
        several: processes of it say how it ended, each for itself.
    """

    module: str
    outcome: Callable[[Path], object]
    after: Attacked | None = None
    made: Callable[[Path], object] | None = None
    at: str | None = None
    before: tuple[str | Path, ...] = ()
    flags: Mapping[str, object] = field(default_factory=dict)
    label: str = ""
    several: bool = False

    @property
    def name(self) -> str:
        return self.module + self.label

    def words(self, workspace: Path) -> list[str]:
        def inside(value: object) -> object:
            return workspace / value if isinstance(value, Path) else value

        flags = words(**{name: inside(value) for name, value in self.flags.items()})
        return [*(str(inside(word)) for word in self.before), *flags]

    def place(self, workspace: Path) -> Path:
        """Where it is run."""
        return workspace / self.at if self.at else ROOT

    def started(self, workspace: Path) -> AbstractContextManager[Started]:
        words = [sys.executable, "-m", self.module, *self.words(workspace)]
        return started(words, self.place(workspace))

    def run(self, workspace: Path) -> tuple[int, str]:
        """Run it to its end: code and stderr."""
        with self.started(workspace) as running:
            return running.process.wait(timeout=LONGEST_SECONDS), running.said()


@dataclass(frozen=True, kw_only=True)
class Started:
    """A command that runs, or has ended, and all processes that it started."""

    process: subprocess.Popen[str]
    mark: str
    errors: IO[str]

    def living(self) -> list[int]:
        """Its processes that are alive; zombies have no environment any more."""
        wanted, found = f"{MARK}={self.mark}".encode(), []
        for path in Path("/proc").glob("[0-9]*/environ"):
            with contextlib.suppress(OSError):
                if wanted in path.read_bytes().split(b"\0"):
                    found.append(int(path.parent.name))
        return sorted(found)

    def kill(self, number: signal.Signals, *, everyone: bool) -> None:
        for found in self.living() if everyone else [self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(found, number)

    def wait_until_gone(self) -> None:
        """Until nothing of it is left: its workers end with it."""
        self.process.wait(timeout=LONGEST_SECONDS)
        deadline = time.monotonic() + GONE_SECONDS
        while alive := self.living():
            assert time.monotonic() < deadline, f"left behind: {alive}"
            time.sleep(0.05)

    def said(self) -> str:
        """What it said on stderr so far."""
        self.errors.seek(0)
        return self.errors.read()


@contextlib.contextmanager
def started(words: Sequence[str], place: Path, **environment: str) -> Iterator[Started]:
    """Start a process that leads a group of its own; leaving ends all that is left of it."""
    mark = uuid.uuid4().hex
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            words,
            cwd=place,
            env=os.environ | environment | {MARK: mark},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            text=True,
            start_new_session=True,
            # Ctrl-C is ignored by all that a shell's background job starts, such as tests.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        running = Started(process=process, mark=mark, errors=errors)
        try:
            yield running
        finally:
            while running.living():
                running.kill(signal.SIGKILL, everyone=True)
            process.wait()


# What commands start in.


def nights(workspace: Path) -> None:
    """Two folders of one study that hold different units, and one that holds enough to judge."""
    for name, units in {"one": (0, 1), "two": (2, 3), "five": range(5)}.items():
        night(workspace / name, tuple(units))


SHORT = {"depth": "2", "images": "{ train = 64, select = 32, test = 32 }"}
SHORT |= {"steps": "10", "budget": "320"}  # of every preset


def cheap_package(workspace: Path) -> None:
    """A package without weights whose presets are trained in a second; what is run in `here` finds
    it in place of ours, and puts there what the package gets."""
    here = workspace / "here" / "varant"
    shutil.copytree(ROOT / "varant", here, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    presets = (here / "presets.toml").read_text()
    for key, value in SHORT.items():
        presets = re.sub(rf"^{key} = .*$", f"{key} = {value}", presets, flags=re.MULTILINE)
    (here / "presets.toml").write_text(presets)


# What commands must have made.


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def of_files(*names: str) -> Callable[[Path], object]:
    """These files, bit for bit but for the workspace's name; a PDF, which packs that, is whole."""

    def outcome(workspace: Path) -> object:
        found = {}
        for name in names:
            for path in workspace.glob(name):
                content = path.read_bytes().replace(str(workspace).encode(), b"")
                whole = path.suffix == ".pdf" and content.startswith(b"%PDF")
                kept = b"%PDF" if whole else content
                found[str(path.relative_to(workspace))] = hashlib.sha256(kept).hexdigest()
        assert len(found) >= len(names), f"of {names} there are {sorted(found)}"
        return found

    return outcome


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


def of_training(name: str, network: str = "model") -> Callable[[Path], object]:
    """The network, and what was logged but for what was timed."""

    def outcome(workspace: Path) -> object:
        folder = workspace / name
        lines = [{k: v for k, v in one.items() if k not in TIMES} for one in read_metrics(folder)]
        return digest(folder / f"{network}.safetensors"), lines

    return outcome


def of_images(workspace: Path) -> object:
    """An NPZ, whose own bytes say when they were packed, and its PNG files."""
    with np.load(workspace / "samples.npz") as pack:
        arrays: dict[str, Any] = {name: pack[name].tobytes() for name in pack.files}
    return arrays, of_files("png/*.png")(workspace)


def of_report(workspace: Path) -> object:
    folder = workspace / "switch-quick"
    return digest(folder / "answer.json"), sorted(p.name for p in (folder / "figures").iterdir())


def of_pool(workspace: Path) -> object:
    frame = pd.read_parquet(workspace / "pooled" / "frame.parquet")
    assert (workspace / "pooled" / "report.pdf").read_bytes().startswith(b"%PDF")
    return frame.to_csv(index=False), of_files("pooled/answer.json")(workspace)


def of_times(workspace: Path) -> object:
    """Of what only measures time: what was measured."""
    frame = pd.read_parquet(workspace / "efficiency-quick" / "frame.parquet")
    return sorted(set(frame["cell_digest"]))


_SMALL = {"quick": True, "workspace": Path(), "samples": 40, "nll_images": 20}
_TRAINED = _SMALL | {"budget": 320, "batch": 32, "depths": 2}


def study(name: str, after: Attacked, **flags: object) -> Attacked:
    outcome = of_study(f"{name}-quick")
    return Attacked(module=f"studies.{name}", after=after, flags=flags, outcome=outcome)


def report(label: str, outcome: Callable[[Path], object], *words: str | Path) -> Attacked:
    """Of folders that are only read."""
    before = (f"--{label}", *words)
    return Attacked(
        module="reports", label=f"-{label}", made=nights, before=before, outcome=outcome
    )


def packaging(module: str, outcome: Callable[[Path], object], **flags: object) -> Attacked:
    return Attacked(module=module, made=cheap_package, at="here", flags=flags, outcome=outcome)


SUPERNET = Path("supernet")
_TRAINING = {"quick": True, "workspace": Path(), "batch": 32, "checkpoint_every": 0}
# Makes its workspace from nothing: data, tokenizer, tokens and base network.
TRAIN = Attacked(
    module="varant.train",
    flags=_TRAINING | {"budget": 640, "base_budget": 640},
    outcome=of_training("supernet"),
)
TORCHRUN = Attacked(
    module="varant.torchrun",
    after=TRAIN,
    before=("--standalone", "--nproc-per-node", "2", "-m", "varant.train"),
    flags=_TRAINING | {"budget": 1280, "base_budget": 640, "out": Path("two")},
    outcome=of_training("two"),
    several=True,
)
SWITCH = study("switch", TRAIN, **_TRAINED, switches=3, workers=2)
ALONE = replace(SWITCH, flags=SWITCH.flags | {"workers": 1})  # no processes that start for seconds
REPORTS = Attacked(
    module="reports", after=SWITCH, before=(Path("switch-quick"),), outcome=of_report
)
SAMPLE = Attacked(
    module="varant.sample",
    after=SWITCH,
    flags={"model": SUPERNET, "out": Path("samples.png")},
    outcome=of_files("samples.png"),
)
SAMPLE_SET = Attacked(
    module="varant.sample",
    label="-npz",
    after=TRAIN,
    flags={"model": SUPERNET, "out": Path("samples.npz"), "png": Path("png"), "batch": 8},
    outcome=of_images,
)
TRACKING = Attacked(
    module="studies.tracking", after=SWITCH, before=(Path(),), outcome=of_study("switch-quick")
)
EFFICIENCY = Attacked(
    module="studies.efficiency",
    after=SWITCH,
    flags={"quick": True, "workspace": Path(), "repeats": 1},
    outcome=of_times,
)
_ALL = [
    TRAIN,
    TORCHRUN,
    SWITCH,
    REPORTS,
    report("pool", of_pool, Path("one"), Path("two"), Path("pooled")),
    report("compare", of_files("out/compare.*"), Path("one"), Path("two"), Path("out")),
    report("ablation", of_files("out/ablation.*"), Path("five"), Path("out")),
    SAMPLE,
    SAMPLE_SET,
    TRACKING,
    EFFICIENCY,
    packaging(
        "varant.train_base",
        of_files("here/varant/start/weights/small*"),
        preset="small",
        workspace=Path("runs"),
    ),
    packaging(
        "varant.train_tokenizer",
        of_training("tokenizer", "tokenizer"),
        preset="tiny",
        steps=30,
        checkpoint_every=0,
        out=Path("tokenizer"),
    ),
    packaging(
        "varant.train_features",
        of_files("here/varant/evaluation/weights/shapes*"),
        preset="tiny",
        steps=20,
    ),
    study("sensitivity", SWITCH, **_SMALL, depths=1, workers=1),
    study("pareto", SWITCH, **_TRAINED, schedules="full,progressive"),
    study("search", SWITCH, **_SMALL, model=SUPERNET, trials=6, kv_limit=0.6, score_images=20),
    study("schedule", SWITCH, **_TRAINED, trials=2, units=1),
    study("ladder", SWITCH, **_SMALL, units=2),
    study("noise", SWITCH, **_TRAINED | {"samples": 80}, draws=1),
    study(
        "regime",
        SWITCH,
        quick=True,
        workspace=Path(),
        nll_images=20,
        budget=256,
        batch=32,
        depths=2,
        ages="64,128",
        rates="1e-3",
        workers=1,
    ),
]
COMMANDS = {command.name: command for command in _ALL}
