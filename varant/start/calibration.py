"""How fast this machine is, from a second of work: what `--dry-run` bases its estimates on."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch.utils.benchmark import Timer

from varant.data.datasets import Dataset
from varant.model.cache import KVCache
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.model.transformer import VAR

BATCH = 64
PREPARED = 800  # held-out images a CPU-second of a Xeon, of 32 x 32 pixels


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Images a second on one thread, at full depth."""

    training_images_per_second: float
    nll_images_per_second: float
    samples_per_second: float


def calibrate(geometry: Geometry, *, guidance: bool) -> Speed:
    """Time training, teacher-forced evaluation and generation on random inputs."""
    model = VAR(geometry)
    inputs = torch.randn(BATCH, geometry.tokens - geometry.scale_tokens[0], geometry.code_channels)
    labels = torch.zeros(BATCH, dtype=torch.long)
    targets = torch.zeros(BATCH * geometry.tokens, dtype=torch.long)

    def step() -> None:
        F.cross_entropy(model(inputs, labels).flatten(0, 1), targets).backward()

    training = _images_per_second(step)
    with torch.inference_mode():
        nll = _images_per_second(lambda: model(inputs, labels))
        rows = labels.repeat(2) if guidance else labels
        sampling = _images_per_second(lambda: _scales(model, rows))
    return Speed(
        training_images_per_second=training, nll_images_per_second=nll, samples_per_second=sampling
    )


def _scales(model: VAR, rows: torch.Tensor) -> None:
    geometry = model.geometry
    plan = DepthPlan.full(geometry.patch_nums, geometry.depth)
    condition, cache = model.condition(rows, plan), KVCache(plan)
    for k, tokens in enumerate(geometry.scale_tokens):
        codes = torch.zeros(len(rows), tokens, geometry.code_channels) if k else None
        model.head(model.head_input(model.run_scale(k, codes, condition, plan, cache), condition))


def _images_per_second(work: Callable[[], object]) -> float:
    timer = Timer("work()", globals={"work": work}, timer=time.process_time)  # on one thread, warm
    return BATCH / timer.timeit(3).median


def held_out_seconds(dataset: Dataset, units: int) -> float:
    """CPU-seconds of drawing, tokenising and giving features to the held-out images of so many
    units; none where these are of a finite data set, which is tokenised once."""
    if dataset.make_unit is None:
        return 0.0
    images = sum(dataset.of_unit(0).sizes.values())
    return units * images * (dataset.image_side / 32) ** 2 / PREPARED
