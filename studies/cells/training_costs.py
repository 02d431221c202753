"""What training costs: steps under each plan, fixed memory by kind, and time that no step gets."""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from studies.cells.gauge import BatchGauge, Row
from studies.cells.timing import Work
from studies.cells.tracing import trace_of
from varant.data.batches import Batches, CachedBatches, OnlineBatches
from varant.data.datasets import ArraySplit
from varant.data.folders import ReplacingSplit
from varant.data.tokens import TokenSplit
from varant.evaluation.likelihood import nll_per_scale
from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.randomness import torch_seed
from varant.start.config import TrainRunConfig
from varant.training.config import EVALUATIONS, TrainingConfig, default_switch
from varant.training.resume import LEAST_INTERVAL, CheckpointFolder, Saver
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer

STEPS = 10_000  # of a budget that no gauge comes to the end of


@dataclass(frozen=True, kw_only=True)
class _OfTraining(BatchGauge):
    """Of a trainer whose tokens are random."""

    part: ClassVar[str] = "training"

    def _trainer(self) -> Trainer:
        """It takes every step in full; what stands in `plans` for that depth is what runs."""
        geometry, device = self.subject.geometry, self.subject.device
        with torch_seed(0):
            shard = torch.randint(geometry.vocab_size, (4 * self.batch, geometry.tokens)).short()
            with torch.device(device):  # where billions of weights take seconds to draw, no minute
                model, tokenizer = VAR(geometry), Tokenizer(self.subject.tokenizer)
        labels_N = torch.zeros(len(shard), dtype=torch.long)
        tokens = TokenSplit(shards=(shard,), labels_N=labels_N)
        config = TrainingConfig(
            budget_images=STEPS * self.batch,
            batch=self.batch,
            schedule=Schedule.fixed(0.0),
            depths=(geometry.depth,),
            switch=default_switch(geometry.patch_nums),
            precision=self.subject.precision,
        )
        batches = CachedBatches(tokens, seed=0, batch=self.batch)
        return Trainer(model.to(device), tokenizer.eval().to(device), batches, config)


@dataclass(frozen=True, kw_only=True)
class Steps(_OfTraining):
    """Seconds and bytes of a step under each plan, by turns; fixed memory by kind."""

    kind: ClassVar[str] = "training steps"

    def measure(self) -> Iterator[Row]:
        subject, trainer = self.subject, self._trainer()

        def step(plan: DepthPlan) -> None:
            trainer.plans[subject.geometry.depth] = plan
            trainer.advance()

        seconds = self.watch.by_turns([partial(step, plan) for plan in subject.plans])
        full = plan_cost(subject.geometry, guidance=False).flops
        for plan, mine in zip(subject.plans, seconds.T, strict=True):
            row = partial(self.row, plan.name)
            for repeat, spent in enumerate(mine):
                yield row("step_seconds", spent, repeat=repeat)
            flops = plan_cost(subject.geometry, plan, guidance=False).flops
            yield row("flops_ratio", flops / full)
            yield row("bytes/peak", self._peak(partial(step, plan)), stage="step")
        for kind, size in self._fixed(trainer).items():
            yield self.row("network", "bytes/fixed", size, stage=kind)

    def _peak(self, step: partial[None]) -> int:
        """Of all that a step holds beside parameters and optimiser: gradients, activations."""
        trace = trace_of(self.subject.device)
        with trace:
            step()
        return trace.stages[0].peak_bytes

    def _fixed(self, trainer: Trainer) -> dict[str, int]:
        """After a step, so that gradients and the optimiser's state are there.

        Ranks share gradients in buckets that the gradients are views of: they take nothing more.
        """
        parameters = list(trainer.model.parameters())
        state = [t for held in trainer.optimiser.state.values() for t in held.values()]
        geometry = self.subject.geometry
        return {
            "parameters": sum(p.numel() * p.element_size() for p in parameters),
            "gradients": sum(
                p.grad.numel() * p.grad.element_size() for p in parameters if p.grad is not None
            ),
            "buckets": 0,
            "optimiser": sum(t.numel() * t.element_size() for t in state),
            "logits": 4 * self.batch * geometry.tokens * geometry.vocab_size,
        }


@dataclass(frozen=True, kw_only=True)
class Around(_OfTraining):
    """Time beside the steps: loading, tokenising at every step, checkpoints, evaluation.

    Attributes:
        budget_images: of a training, of which a tenth lies between two evaluations.
    """

    budget_images: int
    kind: ClassVar[str] = "around training steps"

    def measure(self) -> Iterator[Row]:
        trainer, cached = self._trainer(), self._trainer().batches

        def step(batches: Batches) -> None:
            trainer.batches = batches
            trainer.advance()

        def load() -> None:
            cached.batch(trainer.step, slice(None)).tokens_NL.to(self.subject.device)

        online = self._online(trainer.tokenizer)
        works: list[Work] = [partial(step, cached), partial(step, online), load]
        seconds = self.watch.by_turns(works)
        for repeat, (own, tokenised, loaded) in enumerate(seconds):
            yield self.row("cached over online", "online_ratio", tokenised / own, repeat=repeat)
            yield self.row("loading", "share", loaded / own, repeat=repeat)
        spent = float(np.median(seconds[:, 0]))
        yield self.row("checkpoints", "share", self._checkpoint_share(trainer))
        evaluation = self._evaluation_seconds(trainer)
        between = self.budget_images / EVALUATIONS / self.batch * spent
        yield self.row("evaluation", "share", evaluation / (between + evaluation))

    def _online(self, tokenizer: Tokenizer) -> OnlineBatches:
        side = tokenizer.image_side
        pixels = np.random.default_rng(0).integers(
            0, 256, (2 * self.batch, 3, side, side), dtype=np.uint8
        )
        images = ArraySplit(images_N3HW=pixels, labels_N=np.zeros(len(pixels), dtype=np.int64))
        split = ReplacingSplit(images)
        return OnlineBatches(split, tokenizer, seed=0, batch=self.batch, flips=False)

    def _checkpoint_share(self, trainer: Trainer) -> float:
        """Of the time between two: what the run stands still for, the second time."""
        with tempfile.TemporaryDirectory() as folder:
            saver = Saver(CheckpointFolder(folder=Path(folder)), TrainRunConfig().checkpoint_every)
            state_of_now = partial(trainer.state, saver.copy)
            saver.save(state_of_now, wait=True)  # makes the memory that is copied to
            before, started = saver.blocked_seconds, time.monotonic()
            saver.save(state_of_now, wait=False)
            blocked = saver.blocked_seconds - before
            saver.close()
            took = time.monotonic() - started
        return blocked / max(saver.every_seconds, LEAST_INTERVAL * took)

    def _evaluation_seconds(self, trainer: Trainer) -> float:
        """Of one evaluation: the NLL of every plan on select images, from one batch of them."""
        images = TrainRunConfig().evaluate_images
        shard = torch.zeros(self.batch, self.subject.geometry.tokens, dtype=torch.short)
        split = TokenSplit(shards=(shard,), labels_N=torch.zeros(self.batch, dtype=torch.long))

        def evaluate() -> None:
            for plan in self.subject.plans:
                nll_per_scale(trainer.model, trainer.tokenizer, split, plan)

        return images / self.batch * self.watch.seconds(evaluate)
