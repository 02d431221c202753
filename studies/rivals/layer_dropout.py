"""Training steps whose late tokens skip layers at random: what `early_exit` trains with."""

import functools
import math
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.randomness import stream
from varant.training.trainer import Trainer


def drop_rates(depth: int, rate: float) -> np.ndarray:
    """(depth,) probability of each layer to drop: LayerSkip's exponential curve up to `rate`."""
    return rate * np.expm1(np.arange(depth) * math.log(2) / max(1, depth - 1))


def dropped(plan: DepthPlan, switch: int, lost: np.ndarray) -> DepthPlan:
    """The plan without the layers that are `lost`, (depth,) bool, at scales after `switch`; a
    scale that would keep none keeps its first."""
    late = (
        tuple(layer for layer in layers if not lost[layer]) or layers[:1]
        for layers in plan.layers[switch:]
    )
    return DepthPlan(plan.patch_nums, plan.depth, (*plan.layers[:switch], *late))


class DroppingTrainer(Trainer):
    """A trainer whose passes drop layers; each step's draw is a function of (seed, step)."""

    def __init__(self, *trained: Any, rate: float) -> None:
        super().__init__(*trained)
        self._rates = drop_rates(self.model.depth, rate)
        cost = functools.cache(partial(plan_cost, self.model.geometry, guidance=False))
        steps = range(self.config.steps)
        flops_S = [sum(cost(plan).flops for plan in self._plans(step)) for step in steps]
        passes = 4 if self.config.activation_checkpointing else 3
        self._flops_S = np.cumsum(flops_S) * float(self.config.batch * passes)

    def _plans(self, step: int) -> Iterator[DepthPlan]:
        """Of the step's passes."""
        lost = stream(self.config.seed, "layer dropout", step).random(len(self._rates))
        for depth in self.draws.depths[step]:
            yield dropped(self.plans[depth], self.config.switch, lost < self._rates)

    def _accumulate_gradients(self, step: int, plans: tuple[DepthPlan, ...]) -> Tensor:
        return super()._accumulate_gradients(step, tuple(self._plans(step)))
