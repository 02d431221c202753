"""A tokenizer's training in a folder: stopped by anything, it goes on exactly where it was.

training.json  metrics.jsonl  checkpoints/      as of `varant.training.run`
config.json  tokenizer.safetensors              the result, for `load_tokenizer`
"""

import contextlib
import json
import os
from dataclasses import replace
from typing import Any

import torch

from varant.errors import Preempted, UserError
from varant.progress import Log
from varant.signals import stop_signals
from varant.store.checkpoint import save
from varant.training.resume import CheckpointFolder, DamagedCheckpoint, RunState, Saver
from varant.training.run import CHECKPOINTS, METRICS_FILE, RunFolder, open_metrics, warn_on_stderr
from varant.training.tokenizer import TokenizerTrainer, perplexities

LOG_EVERY = 10  # steps between two lines of metrics.jsonl
COLLAPSED = 2.0  # codes in use, by perplexity: below, a scale says next to nothing
SETTLED_STEPS = 100  # after which a scale's running shares mean something


def run_tokenizer(
    run: RunFolder,
    trainer: TokenizerTrainer,
    *,
    log: Log = lambda step, metrics: None,
    checkpoint_seconds: float = 60.0,
) -> None:
    """Train to the end, from the newest whole checkpoint of the folder if any.

    The folder must be claimed and locked by the caller. A scale whose codes collapse is named on
    stderr when it begins to.

    Raises:
        Preempted: SIGTERM or SIGUSR1 came; the state is saved.
        UserError: there are checkpoints, and all are damaged.
    """
    checkpoints = CheckpointFolder(folder=run.folder / CHECKPOINTS)
    saver, length = Saver(checkpoints, checkpoint_seconds), 0
    collapsed: set[int] = set()
    try:
        state = checkpoints.latest(warn_on_stderr)
    except DamagedCheckpoint as damage:
        raise UserError(f"{damage}; delete {run.folder} to start again") from None
    if state is not None:
        trainer.restore(state)
        length, collapsed = state.facts["metrics_length"], set(state.facts["collapsed"])
    asked: list[int] = []
    with (
        stop_signals(lambda number, _: asked.append(number)),
        open_metrics(run.folder / METRICS_FILE, length) as lines,
        contextlib.closing(saver),
    ):

        def state_of_now() -> RunState:
            os.fsync(lines.fileno())
            here = {"metrics_length": os.fstat(lines.fileno()).st_size}
            state = trainer.state(saver.copy)
            return replace(state, facts=state.facts | here | {"collapsed": sorted(collapsed)})

        while not trainer.finished:
            metrics = trainer.advance()
            saver.check()
            if trainer.finished or trainer.step % LOG_EVERY == 0:
                found = perplexities(trainer.used_KV)
                metrics |= {f"perplexity/scale_{k:02d}": p for k, p in enumerate(found, 1)}
                lines.write(json.dumps({"step": trainer.step} | metrics) + "\n")
                log(trainer.step, metrics)
                collapsed = _collapsed(trainer, found, collapsed)
            ending = bool(asked) or trainer.finished
            if saver.due or ending:
                saver.save(state_of_now, wait=ending)
            if asked and not trainer.finished:
                raise Preempted(
                    f"stopped after step {trainer.step} of {trainer.training.steps}; saved in "
                    f"{run.folder}; run the same command to go on"
                )
    note: dict[str, Any] = {"identity": run.identity, "torch": torch.__version__}
    save(run.folder, trainer.tokenizer.eval(), note=note)


def _collapsed(trainer: TokenizerTrainer, found: list[float], before: set[int]) -> set[int]:
    """Scales that have collapsed; those that had not before are named."""
    now = {k for k, codes in enumerate(found, 1) if codes < COLLAPSED}
    if trainer.step < SETTLED_STEPS:
        return before
    for k in sorted(now - before):
        warn_on_stderr(
            f"step {trainer.step}: the codes of scale {k} collapse ({found[k - 1]:.2f} in use, by "
            "perplexity); use fewer scales, or more images"
        )
    return now
