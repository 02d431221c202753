"""A cell that trains a network; all evaluation cells of that network share it."""

from __future__ import annotations

import functools
import json
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from studies.cells.cell import Cell, Measured
from studies.cells.result import Measurements
from varant.data.batches import CachedBatches
from varant.data.tokens import read_tokens
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.start.calibration import Speed
from varant.store.checkpoint import MODEL_FILE, load, read_config
from varant.training.run import (
    CHECKPOINTS,
    METRICS_FILE,
    Evaluator,
    RunFolder,
    read_metrics,
    run_training,
)
from varant.training.schedule import draw_steps
from varant.training.trainer import Trainer, TrainingConfig

TRAINING_SCHEMA = 1  # raise it when a change of code changes what training gives
CURVE_STEPS = 40  # steps that a curve shows besides the evaluations
CURVE_METRICS = ("loss", "share/scheduled", "share/realised", "learning_rate", "gradient_norm")
_TAIL_BYTES = 8192  # of metrics.jsonl, more than its longest line


@dataclass(frozen=True, kw_only=True)
class TrainingCell(Cell):
    """One training from one start. Its folder is a checkpoint that `varant.load` reads.

    Attributes:
        start_folder, start_sha256: the network that it starts from.
        evaluate_images, evaluate_every: select images of an evaluation, and image passes between
            two; they make the curves and choose nothing.
    """

    start_folder: Path
    start_sha256: str
    tokenizer_sha256: str
    tokens_folder: Path
    tokens_digest: str
    training: TrainingConfig
    evaluate_images: int = 500
    evaluate_every: int
    checkpoint_seconds: float = 60.0
    device: str = "cpu"
    tabled: ClassVar[bool] = False

    @functools.cached_property
    def identity(self) -> dict:
        return {
            "schema": TRAINING_SCHEMA,
            "start": self.start_sha256,
            "tokenizer": self.tokenizer_sha256,
            "tokens": self.tokens_digest,
            "training": self.training.as_dict(),
            "evaluate": {"images": self.evaluate_images, "every": self.evaluate_every},
        }

    @property
    def images(self) -> int:
        return self.training.steps * self.training.batch * self.training.passes

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        return self.images * self.mean_flops(geometry) / speed.training_images_per_second

    def images_done(self, folder: Path) -> int:
        try:
            with (folder / METRICS_FILE).open("rb") as file:
                file.seek(max(0, file.seek(0, 2) - _TAIL_BYTES))
                lines = file.read().splitlines()
            return int(json.loads(lines[-1])["images_seen"])
        except (OSError, ValueError, KeyError, IndexError):
            return 0

    def _drawn(self, geometry: Geometry) -> Counter[int]:
        """How many passes of a batch each depth gets."""
        config = self.training
        draws = draw_steps(
            config.schedule,
            steps=config.steps,
            depths=config.depths,
            full_depth=geometry.depth,
            seed=config.seed,
            draw=config.draw,
        )
        return Counter(depth for step in draws.depths for depth in step)

    def full_passes(self, geometry: Geometry) -> int:
        """Image passes through the full network."""
        return self._drawn(geometry)[geometry.depth] * self.training.batch

    def mean_flops(self, geometry: Geometry) -> float:
        """FLOPs of its average pass, as a share of a full one's."""
        counts = self._drawn(geometry)
        full = plan_cost(geometry, guidance=False).flops
        total = sum(
            n * plan_cost(geometry, self.training.plan_of(d, geometry), guidance=False).flops
            for d, n in counts.items()
        )
        return total / (sum(counts.values()) * full)

    def curve(self, folder: Path) -> list[tuple[int, dict[str, float]]]:
        """As `Cell.curve`: every evaluation, and some steps between."""
        try:
            lines = read_metrics(folder)
        except (OSError, ValueError):
            return []
        every = max(1, len(lines) // CURVE_STEPS)
        points = []
        for i, line in enumerate(lines):
            names = [name for name in line if name.startswith("select/")]
            if i % every == 0 or i + 1 == len(lines):
                names += [name for name in CURVE_METRICS if name in line]
            if names:
                points.append((int(line["images_seen"]), {name: line[name] for name in names}))
        return points

    def measure(self, folder: Path) -> Measured:
        run = RunFolder(folder=folder, identity=self.identity)
        if not run.finished:
            with run.locked(wait=True):
                if not run.finished:  # by the study that we waited for
                    self._train(run)
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        content, last = read_config(folder), read_metrics(folder)[-1]
        found = {
            name: Measurements(values=(value,), count=self.evaluate_images)
            for name, value in last.items()
            if name.startswith("select/")
        }
        facts = {
            "sha256": content["sha256"][MODEL_FILE],
            "seconds": content["note"]["seconds"],
            "image_passes": last["images_seen"],
            "training_flops": last["flops/training"],
            "realised_share": last["share/realised"],
        }
        return Measured(metrics=found, facts=facts)

    def _train(self, run: RunFolder) -> None:
        run.claim()
        start = load(self.start_folder)
        tokenizer, model = start.tokenizer.to(self.device), start.model.to(self.device)
        tokens = read_tokens(self.tokens_folder)
        batches = CachedBatches(tokens.train, seed=self.training.seed, batch=self.training.batch)
        evaluator = Evaluator(
            tokenizer=tokenizer,
            tokens=tokens.select,
            every_images=self.evaluate_every,
            images=min(self.evaluate_images, len(tokens.select)),
        )
        trainer = Trainer(model, tokenizer, batches, self.training)
        run_training(
            run, trainer, tokenizer, evaluator=evaluator, checkpoint_seconds=self.checkpoint_seconds
        )
