"""Training a network, or a base network; all evaluations of it share that."""

from __future__ import annotations

import json
import math
import shutil
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from studies.cells.cell import Cell, Network, Task
from studies.cells.result import FINISHED, WORSE, CellResult, Measurements
from varant.model.geometry import Geometry
from varant.training.config import SELECT_NLL, TrainingConfig

if TYPE_CHECKING:
    from varant.data.batches import Batches
    from varant.data.tokens import TokenSplit
    from varant.model.tokenizer import Tokenizer
    from varant.model.transformer import VAR
    from varant.start.calibration import Speed
    from varant.store.checkpoint import LoadedModel
    from varant.training.run import Evaluator, RunFolder
    from varant.training.trainer import Trainer

TRAINING_SCHEMA = 1  # raise it when a change of code changes what training gives
CURVE_STEPS = 40  # steps that a curve shows besides the evaluations
CURVE_METRICS = ("loss", "share/scheduled", "share/realised", "lr", "gradient_norm")


@dataclass(frozen=True, kw_only=True)
class Training(Task):
    """One training from one base network. Its folder is a checkpoint that `varant.load` reads.

    Attributes:
        evaluate_images, evaluate_every: select images of an evaluation, and image passes between
            two; they make the curves and choose nothing.
        gradient_images: select images on which each evaluation also takes the cosines between
            gradients of full network and subnets; None where it does not.
    """

    config: TrainingConfig
    evaluate_images: int
    evaluate_every: int
    gradient_images: int | None = None
    tabled: ClassVar[bool] = False
    trains: ClassVar[bool] = True

    @property
    def images(self) -> int:
        return self.config.image_passes

    @property
    def splits(self) -> tuple[str, ...]:
        return "train", "select"

    def seconds(self, speed: Speed, geometry: Geometry) -> float:
        """Of its steps, and of its evaluations before, between and after them."""
        depths = (*self.config.depths, geometry.depth)
        *_, full = flops = [self.config.flops_at(depth, geometry) for depth in depths]
        passes = sum(one / full for one in flops)
        steps = self.images * self.mean_flops(geometry)
        evaluations = 1 + math.ceil(self.images / self.evaluate_every)
        steps += evaluations * passes * (self.gradient_images or 0)
        evaluated = evaluations * passes * self.evaluate_images
        return steps / speed.training_images_per_second + evaluated / speed.nll_images_per_second

    def check_fits(self, geometry: Geometry, device: str) -> None:
        self.config.check_fits(geometry, device=device, ranks=1)

    def training_facts(self, geometry: Geometry) -> dict[str, Any]:
        full = self.config.draws(geometry.depth).passes[geometry.depth]
        return {"seed": self.config.seed, "full_passes": full * self.config.batch}

    def mean_flops(self, geometry: Geometry) -> float:
        """FLOPs of its average pass, as a share of a full one's."""
        counts = self.config.draws(geometry.depth).passes
        total = sum(n * self.config.flops_at(depth, geometry) for depth, n in counts.items())
        return total / (counts.total() * self.config.flops_at(geometry.depth, geometry))

    def select_nll(self, metrics: Mapping[str, float], geometry: Geometry) -> dict[int, float]:
        """NLL of an evaluation on select images in nats/token, by depth; the full one's last."""
        named = {
            depth: f"{SELECT_NLL}{self.config.plan_of(depth, geometry).name}"
            for depth in (*self.config.depths, geometry.depth)
        }
        return {depth: metrics[name] for depth, name in named.items() if name in metrics}

    def curve(self, folder: Path, geometry: Geometry) -> Iterator[dict[str, object]]:
        for images_seen, metrics in curve_of(folder):
            for depth, value in self.select_nll(metrics, geometry).items():
                plan = self.config.plan_of(depth, geometry).name
                placed = {"images_seen": images_seen, "plan": plan, "value": value}
                yield placed | {"images": self.evaluate_images}

    def cosines(self, folder: Path, geometry: Geometry) -> Iterator[tuple[int, int, int, float]]:
        """(images seen, subnet depth, layer, cosine) of the gradients at its evaluations, as far
        as the folder tells; layers as `varant.training.conflict` counts them."""
        from varant.training.conflict import cosine_name
        from varant.training.run import read_metrics

        plans = {depth: self.config.plan_of(depth, geometry) for depth in self.config.depths}
        try:
            lines = read_metrics(folder) if self.gradient_images is not None else []
        except (OSError, ValueError):
            return
        for line, layer, (depth, plan) in product(lines, range(geometry.depth + 1), plans.items()):
            if (cosine := line.get(cosine_name(plan, layer))) is not None:
                yield int(line["images_seen"]), depth, layer, cosine

    def identity(self, network: Network) -> dict[str, object]:
        evaluate = {"images": self.evaluate_images, "every": self.evaluate_every}
        if self.gradient_images is not None:
            evaluate["gradient_images"] = self.gradient_images
        return {
            "schema": TRAINING_SCHEMA,
            "start": network.model,
            "tokenizer": network.held_out.tokenizer_sha256,
            "tokens": network.tokens_digest,
            "training": self.config.as_dict(),
            "evaluate": evaluate,
        }

    def images_done(self, folder: Path) -> int:
        from varant.training.run import METRICS_FILE

        try:
            with (folder / METRICS_FILE).open("rb") as file:
                return int(json.loads(deque(file, maxlen=1)[0])["images_seen"])
        except (OSError, ValueError, KeyError, IndexError):
            return 0

    def measure(self, cell: Cell, folder: Path) -> CellResult:
        """Train; a network that ended worse than it began gets no numbers."""
        from varant.store.checkpoint import MODEL_FILE, read_config
        from varant.training.run import CHECKPOINTS, WORSE_NOTE, RunFolder, read_metrics

        run = RunFolder(folder=folder, identity=cell.identity)
        run.once(lambda run: self._train(cell, run))
        shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        content, last = read_config(folder), read_metrics(folder)[-1]
        seconds = float(content["note"]["seconds"])  # of all visits
        worse = content["note"].get(WORSE_NOTE)
        found = {
            name: Measurements(value=value, count=self.evaluate_images)
            for name, value in last.items()
            if name.startswith("select/") and not worse
        }
        facts = {
            "sha256": content["sha256"][MODEL_FILE],
            "seconds": seconds,
            "image_passes": last["images_seen"],
            "training_flops": last["flops/training"],
            "realised_share": last.get("share/realised"),  # a sandwich has none
        }
        return CellResult(
            digest=cell.digest,
            status=WORSE if worse else FINISHED,
            metrics=found,
            facts=facts,
            seconds=seconds,
            error=worse,
        )

    def start(self, cell: Cell) -> LoadedModel:
        from varant.store.checkpoint import load

        return load(cell.network.model_folder)

    def _train(self, cell: Cell, run: RunFolder) -> None:
        from varant.data.batches import CachedBatches
        from varant.data.tokens import Tokens
        from varant.training.run import run_training

        start = self.start(cell)
        tokenizer, model = start.tokenizer.to(cell.device), start.model.to(cell.device)
        tokens = Tokens(folder=cell.network.tokens_folder)
        batches = CachedBatches(tokens.train, seed=self.config.seed, batch=self.config.batch)
        trainer = self.trainer(model, tokenizer, batches)
        run_training(run, trainer, evaluator=self.evaluator(tokens.select))

    def evaluator(self, select: TokenSplit) -> Evaluator:
        """What looks at the network in training."""
        from varant.training.conflict import ConflictEvaluator
        from varant.training.run import Evaluator

        how: dict[str, Any] = {"tokens": select, "every_images": self.evaluate_every}
        how["images"] = min(self.evaluate_images, len(select))
        if self.gradient_images is None:
            return Evaluator(**how)
        return ConflictEvaluator(**how, gradient_images=self.gradient_images)

    def trainer(self, model: VAR, tokenizer: Tokenizer, batches: Batches) -> Trainer:
        """What does its steps."""
        from varant.training.trainer import Trainer

        return Trainer(model, tokenizer, batches, self.config)


def curve_of(folder: Path) -> list[tuple[int, dict[str, float]]]:
    """(images seen, metrics) over a training, as its cell's folder tells: every evaluation, and
    some steps between; [] of a cell that trains nothing."""
    from varant.training.run import read_metrics

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


@dataclass(frozen=True, kw_only=True)
class BaseTraining(Training):
    """A base network: trained from random weights.

    Initialisation and order of the data follow from the seed, so that bases of one seed and
    different budgets begin alike.
    """

    geometry: Geometry

    def identity(self, network: Network) -> dict[str, object]:
        made = {"start": "random weights", "geometry": asdict(self.geometry)}
        return super().identity(network) | made

    def start(self, cell: Cell) -> LoadedModel:
        from varant.model.transformer import VAR
        from varant.randomness import torch_seed
        from varant.store.checkpoint import LoadedModel, load_tokenizer

        tokenizer = load_tokenizer(cell.network.held_out.tokenizer_folder)
        with torch_seed(self.config.seed):
            return LoadedModel(tokenizer=tokenizer, model=VAR(self.geometry))
