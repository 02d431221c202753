"""A training run in a folder: it can be stopped by anything, and goes on exactly where it was.

    training.json            what the run is: config, start, data
    metrics.jsonl            one line a logged step
    checkpoints/             the newest two (see `varant.training.resume`)
    config.json  model.safetensors  tokenizer.safetensors     the result, for `varant.load`

`config.json` is written last: a folder that has one is finished.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TextIO

import torch

from varant.data.tokens import TokenSplit
from varant.errors import Diverged, Preempted, UserError
from varant.evaluation.likelihood import mean_nll, nll_per_scale
from varant.files import differences, locked, read_json, write_json
from varant.manifest import record, verified
from varant.progress import Log
from varant.signals import stop_signals
from varant.store.checkpoint import CONFIG_FILE, save
from varant.training.config import SELECT_NLL
from varant.training.distributed import ALONE, Ranks
from varant.training.ending import worse_ending
from varant.training.resume import CheckpointFolder, DamagedCheckpoint, RunState, Saver
from varant.training.tokenizer import TokenizerTrainer
from varant.training.trainer import Trainer, Wishes

RUN_FILE, METRICS_FILE, CHECKPOINTS = "training.json", "metrics.jsonl", "checkpoints"
WORSE_NOTE = "worse"  # in the checkpoint's note: why the run ended worse
RUN_FORMAT: dict[str, object] = {"format": "varant-training", "version": 1}
# The metrics that differ between equal runs; the last: share of the time so far in which the run
# stood still for checkpoints.
TIMES = ("seconds", "images_per_second/train", "time_share/checkpoint")
AnyTrainer = Trainer | TokenizerTrainer
Facts = Callable[[], Mapping[str, Any]]  # what a checkpoint says beside the state


def warn_on_stderr(line: str) -> None:
    print(f"warning: {line}", file=sys.stderr, flush=True)


@dataclass(frozen=True, kw_only=True)
class Evaluator:
    """NLL of full network and subnets on select images, every so many images of training.

    Attributes:
        every_images: between two evaluations; there is one at the end in any case.
    """

    tokens: TokenSplit
    every_images: int
    images: int

    def due(self, before: float, now: float, last: bool) -> bool:
        return last or before // self.every_images < now // self.every_images

    def __call__(self, trainer: Trainer) -> dict[str, float]:
        """`select/nll/mean/full`, `select/nll/mean/d4@3` ... in nats a token."""
        model, config, found = trainer.averaged.eval(), trainer.config, {}
        for depth in sorted({model.depth, *config.depths}):
            plan = config.plan_of(depth, model.geometry)
            nll_NK = nll_per_scale(model, trainer.tokenizer, self.tokens, plan, images=self.images)
            mean = mean_nll(nll_NK, model.patch_nums).mean()
            found[f"{SELECT_NLL}{plan.name}"] = float(mean)
        trainer.model.train()
        return found


@dataclass(frozen=True, kw_only=True)
class RunFolder:
    """Where a run lives and what it is.

    Attributes:
        identity: all that its result depends on, JSON-ready.
    """

    folder: Path
    identity: dict[str, Any]

    @property
    def finished(self) -> bool:
        return (self.folder / CONFIG_FILE).exists()

    def stored(self) -> dict[str, Any] | None:
        """The identity of the run that the folder holds, or None; `UserError` if it is damaged."""
        path = self.folder / RUN_FILE
        if not path.exists():
            return None
        try:
            return dict(read_json(path, RUN_FORMAT)["identity"])
        except (OSError, ValueError, KeyError, TypeError):
            raise UserError(
                f"{path}: damaged, or of another version; name another --out folder"
            ) from None

    def claim(self) -> None:
        """Make the folder this run's, or check that it is.

        `UserError` for one that holds another run, or a checkpoint that no run wrote.
        """
        stored = self.stored()
        if stored is not None:
            differences = differing(stored, json.loads(json.dumps(self.identity)))
            if differences:
                raise UserError(
                    f"--out {self.folder}: holds another run ({'; '.join(differences[:3])}); give "
                    "the flags that it was started with, or name another folder"
                )
        elif self.finished:
            raise UserError(
                f"--out {self.folder}: holds a checkpoint that was not trained there; name another "
                "folder"
            )
        else:
            write_json(self.folder / RUN_FILE, RUN_FORMAT | {"identity": self.identity})

    @contextlib.contextmanager
    def locked(self, *, wait: bool = False) -> Iterator[None]:
        """Keep other processes from training here; the system drops the lock with the process.

        Where another process has it: wait for it, or raise `UserError`.
        """
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(self.folder / ".lock", wait=wait))
            except BlockingIOError:
                raise UserError(
                    f"--out {self.folder}: another process is training there; wait for it, or "
                    "name another folder"
                ) from None
            yield

    def once(self, train: Callable[[RunFolder], object]) -> None:
        """Have the run trained unless it is finished; a process that is at it is waited for."""
        if not self.finished:
            with self.locked(wait=True):
                if not self.finished:
                    self.claim()
                    train(self)


def differing(stored: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """`field was X, is Y` for each field that two configs differ in."""
    found = sorted(differences(stored, wanted))
    return [f"{name} was {_short(was)}, is {_short(now)}" for name, was, now in found]


def _short(value: object) -> str:
    text = str(value)
    return f"{text[:12]}..." if len(text) == 64 else text  # a digest


def open_metrics(path: Path, length: int) -> TextIO:
    """A file for lines of JSON, cut back to where a checkpoint left it when a run goes on."""
    file = path.open("a", buffering=1)  # a line is in the file once it is written
    found = os.fstat(file.fileno()).st_size
    if found < length:
        warn_on_stderr(f"{path}: shorter than it was at the checkpoint; its missing lines are lost")
    file.truncate(min(length, found))
    return file


class ResumedRun:
    """A run that goes on from the newest whole checkpoint of its folder, if any.

    Attributes:
        facts: that this was saved with; {} where there is none.
        asked: the signals by which the machine said that it stops.
    """

    def __init__(
        self, run: RunFolder, trainer: AnyTrainer, every: float, ranks: Ranks = ALONE
    ) -> None:
        """`every`: see `checkpoint_seconds` of `run_training`."""
        self.run, self.trainer, self.ranks = run, trainer, ranks
        self.facts, self.asked = dict[str, Any](), list[int]()
        checkpoints = CheckpointFolder(folder=run.folder / CHECKPOINTS)
        self.saver = Saver(checkpoints, every)
        self._lines: TextIO | None = None
        try:
            state = checkpoints.latest(warn_on_stderr if ranks.first else lambda line: None)
        except DamagedCheckpoint as damage:
            raise UserError(f"{damage}; delete {run.folder} to start again") from None
        if state is not None:
            trainer.restore(state)
            self.facts = state.facts
        place = "the step to go on from (is --out a folder that all share?)"
        ranks.check_same({place: trainer.step})

    @contextlib.contextmanager
    def going(self) -> Iterator[None]:
        """Inside, it takes steps."""
        path = self.run.folder / METRICS_FILE
        length = self.facts["metrics_length"] if self.facts else 0
        self._lines = open_metrics(path, length) if self.ranks.first else None
        with (
            stop_signals(lambda number, _: self.asked.append(number)),
            self._lines or contextlib.nullcontext(),
            contextlib.closing(self.saver),
        ):
            yield

    def write(self, line: Mapping[str, float]) -> None:
        if self._lines is not None:
            self._lines.write(json.dumps(line) + "\n")

    def save(self, facts: Facts, *, wait: bool) -> None:
        """Save the state of now with these facts; other ranks than the first give their part."""

        def state_of_now() -> RunState:
            state = self.trainer.state(self.saver.copy)
            more = dict(facts())  # after the copy, whose time they count
            if self._lines is not None:
                os.fsync(self._lines.fileno())
                more["metrics_length"] = os.fstat(self._lines.fileno()).st_size
            return replace(state, facts=state.facts | more)

        if self.ranks.first:
            self.saver.save(state_of_now, wait=wait)
        else:
            state_of_now()

    def wishes(self) -> Wishes:
        return Wishes(save=self.ranks.first and self.saver.due, stop=bool(self.asked))

    def end_step(self, facts: Facts, wished: Wishes) -> None:
        """Save where it is time to; `Preempted` where it is to stop before its end."""
        ending = wished.stop or self.trainer.finished
        if wished.save or ending:
            self.save(facts, wait=ending)
        if wished.stop and not self.trainer.finished:
            self.ranks.wait()
            raise Preempted(
                f"stopped after step {self.trainer.step} of {self.trainer.steps}; saved in "
                f"{self.run.folder}; run the same command to go on"
            )


def run_training(
    run: RunFolder,
    trainer: Trainer,
    *,
    evaluator: Evaluator | None = None,
    log: Log = lambda step, metrics: None,
    log_every: int = 1,
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train to the end of the budget, from the newest whole checkpoint of the folder if any.

    The folder must be claimed and locked by the caller. On every rank; rank 0 writes.

    Args:
        log: called after each logged step with the metrics of its line.
        checkpoint_seconds: least time between two checkpoints, which are also no nearer than 30
            times what the last one took; 0 writes one after each step.

    Raises:
        Preempted: SIGTERM or SIGUSR1 came; the state is saved.
        Diverged: see `Trainer.advance`; the state before that step is saved.
        UserError: there are checkpoints, and all are damaged.
    """
    ranks, images_a_step = trainer.ranks, trainer.config.batch * trainer.config.passes
    resumed = ResumedRun(run, trainer, checkpoint_seconds, ranks)
    saver, before = resumed.saver, float(resumed.facts["seconds"] if resumed.facts else 0.0)
    saver.blocked_seconds = resumed.facts.get("blocked_seconds", 0.0)
    started = logged = time.monotonic()
    unlogged = 0

    def elapsed() -> float:
        return before + time.monotonic() - started

    def facts() -> dict[str, float]:
        return {"seconds": elapsed(), "blocked_seconds": saver.blocked_seconds}

    with resumed.going():
        if ranks.first and not resumed.facts and evaluator is not None:
            resumed.write({"step": 0, "images_seen": 0} | evaluator(trainer))
        while not trainer.finished:
            try:
                metrics, wished = trainer.advance(resumed.wishes)
            except Diverged:
                resumed.save(facts, wait=True)
                raise
            saver.check()
            evaluated = evaluator is not None and evaluator.due(
                metrics["images_seen"] - images_a_step, metrics["images_seen"], trainer.finished
            )
            if evaluator is not None and evaluated:
                if ranks.first:
                    metrics |= evaluator(trainer)
                ranks.wait()
            unlogged += images_a_step
            now = time.monotonic()
            if evaluated or trainer.finished or trainer.step % log_every == 0:
                seconds, rate = elapsed(), unlogged / max(1e-9, now - logged)
                times = (seconds, rate, saver.blocked_seconds / seconds)
                metrics |= dict(zip(TIMES, times, strict=True))
                logged, unlogged = now, 0
                log(trainer.step, metrics)
                resumed.write({"step": trainer.step} | metrics)
            resumed.end_step(facts, wished)
    if ranks.first:
        note = {"identity": run.identity, "seconds": elapsed(), "torch": torch.__version__}
        if worse := _worse_ending(trainer, read_metrics(run.folder)):
            warn_on_stderr(f"{run.folder}: {worse}")
            note[WORSE_NOTE] = worse
        save(run.folder, trainer.tokenizer, trainer.averaged.eval(), note=note)
        record(run.folder / METRICS_FILE)
    ranks.wait()


def _worse_ending(trainer: Trainer, lines: Sequence[Mapping[str, float]]) -> str | None:
    """By the evaluations before training and at its end; without any, by the training losses."""
    names = {plan.name: f"{SELECT_NLL}{plan.name}" for plan in trainer.plans.values()}
    before, after = (
        {plan: line[name] for plan, name in names.items() if name in line}
        for line in (lines[0], lines[-1])
    )
    if not before:
        before, after = trainer.losses
    return worse_ending(before, after, trainer.model.vocab_size)


def advancing(advance: Callable[..., object]) -> Log:
    """A `log` that moves a progress bar, first over the steps of earlier processes."""
    seen = 0.0

    def log(step: int, metrics: dict[str, float]) -> None:
        nonlocal seen
        advance(metrics["images_seen"] - seen, loss=metrics["loss"])
        seen = metrics["images_seen"]

    return log


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """What was logged; `Damaged` where a finished run's is not what was written."""
    path = verified(folder / METRICS_FILE, "put it back, or train again", listed=False)
    return [json.loads(line) for line in path.read_text().splitlines()]
