"""Timing things by turns, and what `studies.efficiency` times."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from analysis.study_file import TimingFacts
from varant.data.batches import Batches, CachedBatches, OnlineBatches
from varant.data.datasets import ArraySplit
from varant.data.folders import ReplacingSplit
from varant.data.tokens import TokenSplit
from varant.model.cost import plan_cost
from varant.model.geometry import OFFICIAL_PATCH_NUMS_256, Geometry
from varant.model.tokenizer import Tokenizer, TokenizerConfig
from varant.model.transformer import VAR
from varant.presets import DEFAULT, presets
from varant.randomness import torch_seed
from varant.start.presets import base_geometry, light_tokenizer
from varant.training.config import TrainingConfig, default_switch
from varant.training.schedule import Schedule
from varant.training.trainer import Trainer

MATRIX_GEOMETRY = replace(Geometry.official(16), depth=12, width=384, heads=6)
OFFICIAL = TokenizerConfig.official(OFFICIAL_PATCH_NUMS_256)
Work = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Stopwatch:
    """How things are timed: so many times, by turns, on a device; tiny networks when quick."""

    repeats: int
    device: str
    quick: bool = False

    def by_turns(self, works: Sequence[Work]) -> np.ndarray:
        """(repeats, works) seconds: CPU time of this process, or wall time of a CUDA device.

        By turns, so that a slow moment of the machine falls on all of them alike; each runs once
        before, untimed.
        """
        cuda = self.device.startswith("cuda")
        clock = time.perf_counter if cuda else time.process_time
        wait: Work = torch.cuda.synchronize if cuda else lambda: None

        def seconds(work: Work) -> float:
            wait()
            started = clock()
            work()
            wait()
            return clock() - started

        for work in works:
            work()
        return np.array([[seconds(work) for work in works] for _ in range(self.repeats)])

    def trainer(
        self, geometry: Geometry, tokenizer: Tokenizer, *, batch: int, depth: int
    ) -> Trainer:
        """A trainer whose every step trains `depth`, on random tokens."""
        with torch_seed(0):
            model = VAR(geometry).to(self.device)
            shard = torch.randint(geometry.vocab_size, (4 * batch, geometry.tokens)).short()
        tokens = TokenSplit(shards=(shard,), labels_N=torch.zeros(4 * batch, dtype=torch.long))
        config = TrainingConfig(
            budget_images=10_000 * batch,
            batch=batch,
            schedule=Schedule.fixed(0.0 if depth == geometry.depth else 1.0),
            depths=(depth,),
            switch=default_switch(geometry.patch_nums),
        )
        batches = CachedBatches(tokens, seed=0, batch=batch)
        return Trainer(model, tokenizer.to(self.device), batches, config)


def training_timings(watch: Stopwatch) -> Iterator[TimingFacts]:
    """Step ratios, cached against online tokens, loading share, images a second."""
    yield from _steps(watch)
    yield _tokenising(watch)
    yield from _small_default(watch)


def _steps(watch: Stopwatch) -> Iterator[TimingFacts]:
    """A subnet step over a full step, at a size where matrix products dominate."""
    geometry = MATRIX_GEOMETRY
    if watch.quick:
        geometry = replace(geometry, depth=4, width=64, heads=2)
    with torch_seed(0):  # the backbone takes no part in a step on cached tokens
        tokenizer = Tokenizer(replace(OFFICIAL, channels=32))
    depths = (geometry.depth, geometry.depth // 2, geometry.depth // 4)
    trainers = [watch.trainer(geometry, tokenizer, batch=2, depth=depth) for depth in depths]
    seconds = watch.by_turns([trainer.advance for trainer in trainers])
    for i in (1, 2):
        plan = trainers[i].plans[depths[i]]
        flops, full = (plan_cost(geometry, p, guidance=False).flops for p in (plan, None))
        name, ratios = f"step time {plan.name} / full", seconds[:, i] / seconds[:, 0]
        yield _timing(name, ratios, "ratio", expected=flops / full, against="FLOPs ratio")


def _tokenising(watch: Stopwatch) -> TimingFacts:
    """Throughput on cached tokens over tokenising at every step, official geometry."""
    geometry, shape = Geometry.official(16), OFFICIAL
    if watch.quick:
        geometry = replace(geometry, depth=2, width=64, heads=2)
        shape = replace(shape, channels=32)
    with torch_seed(0):
        tokenizer = Tokenizer(shape).eval()
    trainer = watch.trainer(geometry, tokenizer, batch=1, depth=geometry.depth)
    side = tokenizer.image_side
    pixels = np.random.default_rng(0).integers(0, 256, (4, 3, side, side), dtype=np.uint8)
    images = ArraySplit(images_N3HW=pixels, labels_N=np.zeros(4, dtype=np.int64))
    online = OnlineBatches(ReplacingSplit(images), tokenizer, seed=0, batch=1, flips=False)

    def step_on(batches: Batches) -> None:
        trainer.batches = batches
        trainer.advance()

    sources = (trainer.batches, online)
    seconds = watch.by_turns([partial(step_on, batches) for batches in sources])
    name = "throughput on cached tokens / tokenised online"
    ratios = seconds[:, 1] / seconds[:, 0]
    return _timing(name, ratios, "ratio", expected=1.12, against="target, at least")


def _small_default(watch: Stopwatch) -> Iterator[TimingFacts]:
    """Images a second of the small default network, and the share of loading in a step."""
    steps, batch, preset = 2 if watch.quick else 20, 64, presets()[DEFAULT]
    with torch_seed(0):
        tokenizer = Tokenizer(light_tokenizer(preset)).eval()
    trainer = watch.trainer(base_geometry(preset), tokenizer, batch=batch, depth=preset.depth)

    def train() -> None:
        for _ in range(steps):
            trainer.advance()

    def load() -> None:
        for step in range(steps):
            trainer.batches.batch(step, slice(None)).tokens_NL.to(watch.device)

    seconds = watch.by_turns([train, load])
    name, ratios = "loading / step, small default", seconds[:, 1] / seconds[:, 0]
    yield _timing(name, ratios, "share", expected=0.02, against="target, below")
    unit = "images/s" if watch.device.startswith("cuda") else "images/CPU-s"
    name, rate = "training speed, small default", batch * steps / seconds[:, 0]
    yield _timing(name, rate, unit, expected=400.0, against="target, at least")


def _timing(name: str, values: np.ndarray, unit: str, **compared: Any) -> TimingFacts:
    low, median, high = np.quantile(values, (0, 0.5, 1)).tolist()
    return TimingFacts(name=name, value=median, low=low, high=high, unit=unit, **compared)
