"""How a network is trained: what flags say, and the config that follows for one network.

Three classes, each the next one's base: what every study that trains asks (`SupernetTraining`),
what `varant.train` asks beyond it (`TrainingFlags`), and what one training is (`TrainingConfig`),
in which nothing is left open.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

from tyro.conf import arg

from varant.devices import Precision, check_precision, require_memory
from varant.errors import UserError
from varant.flags import (
    AboveZero,
    BelowOne,
    Count,
    Depths,
    Natural,
    NotNegative,
    Positive,
    Share,
    Weights,
    check,
)
from varant.model.cost import plan_cost, training_bytes
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan, Selector, default_depths
from varant.presets import preset_of
from varant.training.schedule import Draw, Draws, Schedule, check_subnets, draw_steps
from varant.values import show_count

RateSchedule = Literal["cosine", "constant", "wsd"]
MOST_STEPS = 10_000_000  # whose draws take a gigabyte
KEPT_A_LAYER = 12  # numbers a token and channel at least: normed twice, q, k, v, attended, hidden 8
FINAL_RATE_SHARE = 0.05  # of the peak, that a decay ends at
DECAY_SHARE = 0.2  # of the steps, over which `wsd` decays
EVALUATIONS = 10  # of a training
SELECT_NLL = "select/nll/mean/"  # and a plan's name: what an evaluation measures


def default_switch(patch_nums: tuple[int, ...]) -> int:
    """The preset's of these scales, else six tenths of them: the paper's 6 of 10."""
    preset = preset_of(patch_nums)
    return round(0.6 * len(patch_nums)) if preset is None else preset.switch


@dataclass(frozen=True, kw_only=True)
class SupernetTraining:
    """How models are trained."""

    budget_images: Annotated[Count, arg(name="budget")] = 100_000
    """Image passes of a model, such as 100k, 1.5M or 2e5; a sandwich step takes three an image."""
    depths: Depths | None = None
    """Subnet depths, such as 2,4,6; default: a quarter, half and three quarters of the layers."""
    batch: Positive = 64
    """Images of an optimiser step, over all ranks."""
    accumulate: Positive = 1
    """Parts that a rank trains its images of a step in, to save memory."""
    lr: AboveZero | None = None
    """Peak learning rate; default: 1e-3 from a trained network, 1e-6 (the paper's) from official
    files, 5e-3 from scratch, or VAR's 1e-4 x batch / 256 where the width is 256 or more."""
    lr_schedule: RateSchedule = "cosine"
    """cosine (to 5 percent; starves the last phase of a schedule), constant, or wsd: constant, then
    linear to 5 percent over the last fifth (warmup-stable-decay)."""
    activation_checkpointing: bool = False
    """Keep only layer inputs for the backward pass: less memory, a third more time."""

    def subnet_depths(self, depth: int) -> tuple[int, ...]:
        """The depths of subnets of a network of `depth` layers; `UserError` if one is none's."""
        depths = default_depths(depth) if self.depths is None else self.depths
        check_subnets(depths, depth)
        return depths


@dataclass(frozen=True, kw_only=True)
class TrainingFlags(SupernetTraining):
    """How the model is trained."""

    switch: Natural | None = None
    """Last scale that runs all layers; default: the preset's, else six tenths of the scales."""
    selector: Selector = "equidistant"
    """Which layers a subnet keeps."""
    draw: Draw = "stratified"
    """How steps draw: stratified (shares hold over every short window) or independent."""
    distill: bool = False
    """With sandwich: subnets learn the full network's predictions in place of the tokens."""
    scale_weights: Weights | None = None
    """Weight of each scale's tokens in the loss, such as 1,1,1,0.5,0.5; default: all 1."""
    warmup_steps: Natural = 50
    """Steps over which the learning rate rises."""
    weight_decay: NotNegative = 0.02
    """Of AdamW; embeddings, biases, scales and AdaLN gammas are exempt."""
    clip: AboveZero = 2.0
    """Largest gradient norm."""
    class_drop: Share = 0.1
    """Share of images trained with the unconditional class."""
    ema: BelowOne | None = None
    """Decay a step of averaged weights, which are then what is evaluated and saved."""
    compile: bool = False
    """Compile the network with torch.compile: one graph for each depth that is trained."""

    def check(self) -> None:
        if self.batch % self.accumulate:
            raise UserError(
                f"--batch {self.batch}: must be a multiple of --accumulate ({self.accumulate})"
            )


@dataclass(frozen=True, kw_only=True)
class TrainingConfig(TrainingFlags):
    """All that a network's weights depend on besides data and start.

    Attributes:
        precision: of autocast.
        seed: of initialisation, data order, class drop, and draws of share and depth.

    Raises:
        UserError: a budget below one step, or values that make no sense, alone or together.
    """

    schedule: Schedule = Schedule.full()
    depths: tuple[int, ...] = ()
    switch: Natural = 0
    lr: AboveZero = 5e-3
    precision: Precision = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        check(self)

    def check(self) -> None:
        super().check()
        if self.budget_images < self.batch * self.passes:
            passes = f" of {self.passes} passes" if self.passes > 1 else ""
            raise UserError(
                f"--budget {self.budget_images}: below one batch of {self.batch} images{passes}; "
                f"give at least {self.batch * self.passes}"
            )
        if self.steps > MOST_STEPS:
            raise UserError(
                f"--budget {show_count(self.budget_images)}: {self.steps:,} steps of --batch "
                f"{self.batch}, at most {MOST_STEPS:,}; give less, or a larger --batch"
            )
        if self.distill and not self.schedule.sandwich:
            raise UserError(
                "--distill: needs --schedule sandwich, whose steps run the full network"
            )

    @classmethod
    def of(
        cls, flags: SupernetTraining, geometry: Geometry, schedule: Schedule, **more: Any
    ) -> TrainingConfig:
        """What the flags mean for this network; `more` overrules them."""
        given = {field.name: getattr(flags, field.name) for field in fields(flags)} | more
        given["depths"] = flags.subnet_depths(geometry.depth)
        if given.get("switch") is None:
            given["switch"] = default_switch(geometry.patch_nums)
        return cls(schedule=schedule, **given)

    @property
    def passes(self) -> int:
        return 3 if self.schedule.sandwich else 1

    @property
    def steps(self) -> int:
        return self.budget_images // (self.batch * self.passes)

    @property
    def evaluate_every(self) -> int:
        """Images between evaluations, where nothing else is asked for."""
        return max(1, self.budget_images // EVALUATIONS)

    @property
    def image_passes(self) -> int:
        """Passes of the whole training: the budget, cut to whole steps."""
        return self.steps * self.batch * self.passes

    def lr_at(self, step: int) -> float:
        """Learning rate of step `step` (0-based)."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.lr_schedule == "constant":
            return self.lr * warm
        progress = step / self.steps
        if self.lr_schedule == "wsd":
            left = min(1.0, (1 - progress) / DECAY_SHARE)
        else:
            left = 0.5 * (1 + math.cos(math.pi * progress))
        return self.lr * warm * (FINAL_RATE_SHARE + (1 - FINAL_RATE_SHARE) * left)

    def check_fits(self, geometry: Geometry, *, device: str, ranks: int) -> None:
        """Raise `UserError` unless all of it suits the network, the device and the ranks."""
        check_precision(self.precision, device)
        self._check_memory(geometry, device, self.batch // (ranks * self.accumulate))
        if self.batch % (ranks * self.accumulate):
            raise UserError(
                f"--batch {self.batch}: must be a multiple of {ranks} ranks x "
                f"--accumulate {self.accumulate}"
            )
        self.schedule.check_depths(self.depths, geometry.depth)
        scales = len(geometry.patch_nums)
        if self.switch > scales:
            raise UserError(f"--switch {self.switch}: the network has {scales} scales")
        if self.scale_weights is not None:
            shown = ",".join(f"{weight:g}" for weight in self.scale_weights)
            if len(self.scale_weights) != scales or not any(self.scale_weights):
                raise UserError(
                    f"--scale-weights {shown}: give one weight for each of the {scales} scales, "
                    "not all zero"
                )

    def _check_memory(self, geometry: Geometry, device: str, images: int) -> None:
        """Of a pass of so many images."""
        sizes = f"--depth {geometry.depth} --width {geometry.width}"
        fixed = training_bytes(geometry, 0)
        require_memory(fixed, device, sizes, "use a smaller network")
        kept = images * geometry.tokens * geometry.width * min(self.depths, default=1)
        layers = 4 * kept * (1 if self.activation_checkpointing else KEPT_A_LAYER)
        batch, remedy = f"--batch {self.batch}", "use a smaller --batch, or a larger --accumulate"
        needed = training_bytes(geometry, images) + layers
        require_memory(needed, device, batch, remedy, images=images, fixed=fixed)

    def draws(self, full_depth: int) -> Draws:
        """What every step of this training trains in a network of `full_depth` layers."""
        return draw_steps(
            self.schedule,
            steps=self.steps,
            depths=self.depths,
            full_depth=full_depth,
            seed=self.seed,
            draw=self.draw,
        )

    def plan_of(self, depth: int, geometry: Geometry) -> DepthPlan:
        """The plan that a pass of this depth trains."""
        if depth == geometry.depth:
            return DepthPlan.full(geometry.patch_nums, geometry.depth)
        return DepthPlan.two_zone(
            geometry.patch_nums,
            geometry.depth,
            subnet_depth=depth,
            switch=self.switch,
            selector=self.selector,
        )

    def flops_at(self, depth: int, geometry: Geometry) -> int:
        """Of an image's pass forward at this depth."""
        return plan_cost(geometry, self.plan_of(depth, geometry), guidance=False).flops

    def as_dict(self) -> dict[str, Any]:
        return asdict(self) | {"schedule": self.schedule.as_dict()}
