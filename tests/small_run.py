"""A training run small enough to be killed often, in this process or in one of its own."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from small_trainers import DEEP, tokenizer, tokens

from varant import VAR, Tokenizer
from varant.data.batches import CachedBatches
from varant.data.tokens import TokenSplit
from varant.errors import exit_codes
from varant.training.config import TrainingConfig
from varant.training.distributed import joined_ranks
from varant.training.run import Evaluator, RunFolder, run_training
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer

STEPS, BATCH = 60, 8
SCHEDULES = {
    "progressive": Schedule.progressive(),
    "fixed": Schedule.fixed(0.5),
    "sandwich": Schedule.sandwich_rule(),
}


class Stop(Exception):
    """As something that goes wrong in the midst of a run."""


def parts() -> tuple[Tokenizer, VAR, TokenSplit]:
    """A tokenizer, a network and tokens that the class decides."""
    return tokenizer(), VAR(DEEP), tokens()


def run(
    folder: Path,
    *,
    schedule: str = "progressive",
    switch: int = 1,
    accumulate: int = 1,
    batch: int = BATCH,
    lr: float = 5e-3,
    log_every: int = 1,
    checkpoint_seconds: float = 0,
    nan_step: int | None = None,
    stop_step: int | None = None,
    slow_step: float = 0,
    shard_optimiser: bool = False,
) -> Trainer:
    """Train in `folder`, from where it is; alone, or as the rank that the environment names.

    Args:
        nan_step: spoil the weights after this step.
        stop_step: raise `Stop` after this step.
        slow_step: seconds that a step takes longer.
    """
    torch.set_num_threads(1)
    draw, model, data = parts()
    chosen = SCHEDULES[schedule]
    config = TrainingConfig(
        budget_images=STEPS * batch * (3 if chosen.sandwich else 1),
        batch=batch,
        accumulate=accumulate,
        warmup_steps=5,
        schedule=chosen,
        depths=(1, 2),
        switch=switch,
        ema=0.9,
        lr=lr,
    )
    with joined_ranks("cpu") as ranks:
        ranks.check_same(config.as_dict())
        batches = CachedBatches(data, seed=config.seed, batch=config.batch)
        trainer = Trainer(model, draw, batches, config, ranks, shard_optimiser=shard_optimiser)
        evaluator = Evaluator(tokens=data, every_images=100, images=20)
        folder_run = RunFolder(folder=folder, identity={"training": config.as_dict()})
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            folder_run.claim()

        def log(step: int, metrics: dict[str, float]) -> None:
            if step == stop_step:
                raise Stop
            if step == nan_step:
                with torch.no_grad():
                    model.head.bias[0] = torch.nan
            time.sleep(slow_step)

        run_training(
            folder_run,
            trainer,
            evaluator=evaluator,
            log=log,
            log_every=log_every,
            checkpoint_seconds=checkpoint_seconds,
        )
        if shard_optimiser:
            parameters = len(list(model.parameters()))
            assert 0 < len(trainer.optimiser.optim.state) < parameters, "of a part of them"
    return trainer


class Process:
    """The run as a command of its own, with exit code and stderr.

    It is forked from a process that has imported torch, which takes seconds; that one computes
    nothing, so it has no threads that a fork would lose.
    """

    def __init__(self, folder: Path, environment: dict[str, str] | None = None, **options: Any):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["varant.training.run"])
        self._errors = Path(tempfile.mkstemp(dir=folder.parent, suffix=".stderr")[1])
        self._process = context.Process(
            target=_command, args=(folder, options, environment or {}, self._errors)
        )
        self._process.start()

    @property
    def running(self) -> bool:
        return self._process.is_alive()

    def send(self, number: signal.Signals) -> None:
        assert self._process.pid is not None, "it was started"
        os.kill(self._process.pid, number)

    def end(self) -> tuple[int | None, str]:
        """Wait for it: exit code and stderr."""
        self._process.join()
        return self._process.exitcode, self._errors.read_text()


def _command(
    folder: Path, options: dict[str, Any], environment: dict[str, str], errors: Path
) -> None:
    os.environ.update(environment)
    sys.stderr = errors.open("w", buffering=1)
    with exit_codes():
        run(folder, **options)
