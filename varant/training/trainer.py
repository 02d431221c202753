"""Training a VAR supernet: what one step does, and the state that goes from step to step.

Shape suffixes: B images, L tokens of all scales, K scales, P passes of a step, V vocabulary.
"""

from __future__ import annotations

import contextlib
import copy
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from varant.data.batches import Batches, CachedBatches
from varant.data.tokens import TokenSplit
from varant.errors import Diverged, UserError
from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.randomness import stream
from varant.training.distributed import Ranks
from varant.training.resume import RunState
from varant.training.schedule import Schedule, check_depths, draw_steps

Log = Callable[[int, dict[str, float]], None]

# Official parameter groups: no weight decay on these, nor on any one-dimensional tensor.
NO_DECAY = ("class_emb", "pos_start", "pos_1LC", "lvl_embed", "ada_gss", "scale_mul")
PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
RATE_SCHEDULES = ("cosine", "constant")
# A step's loss is compared with the median of the last so many of its depth, once there are enough.
HISTORY, LEAST_HISTORY = 64, 16


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a network is trained: all that its weights depend on besides data and start.

    Attributes:
        budget_images: image passes through the network; a sandwich step of three passes costs
            three an image.
        batch: images of an optimiser step, over all ranks and accumulated parts.
        accumulate: parts that a rank's images of a step are trained in, one after another.
        learning_rate: peak, after `warmup_steps`; a `cosine` takes it to `final_rate_share` of
            it, `constant` keeps it. A cosine starves the last phase of a schedule, which can be
            mistaken for an effect of the schedule.
        clip: largest gradient norm.
        class_drop: share of images trained with the unconditional class.
        schedule, depths, switch, selector, draw: which steps train which subnet; `switch` is the
            last scale of the bridge zone, that all layers run at.
        distill: under the sandwich rule, subnets learn the full network's predictions
            (in-place distillation, BigNAS, arXiv 2003.11142) in place of the tokens.
        scale_weights: weight of each scale's tokens in the loss; None weighs all tokens alike.
        ema: decay a step of a running average of the weights, which is then what is evaluated
            and saved; None keeps none.
        precision: `float32`, or autocast to `bfloat16` or `float16` (CUDA only).
        recompute: activation checkpointing.
        divergence_nats: a loss so far above the median of its depth's last steps ends the run.
        seed: of initialisation, data order, class drop, and draws of share and depth.

    Raises:
        UserError: a budget below one step, or values that make no sense together.
    """

    budget_images: int = 48_000
    batch: int = 64
    accumulate: int = 1
    learning_rate: float = 5e-3
    rate_schedule: str = "cosine"
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.02
    clip: float = 2.0
    warmup_steps: int = 50
    final_rate_share: float = 0.05
    class_drop: float = 0.1
    schedule: Schedule = Schedule.full()
    depths: tuple[int, ...] = ()
    switch: int = 0
    selector: str = "equidistant"
    draw: str = "stratified"
    distill: bool = False
    scale_weights: tuple[float, ...] | None = None
    ema: float | None = None
    precision: str = "float32"
    compile: bool = False
    recompute: bool = False
    divergence_nats: float = 1.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.batch < 1 or self.accumulate < 1 or self.batch % self.accumulate:
            raise UserError(
                f"--batch {self.batch}: must be a multiple of --accumulate ({self.accumulate})"
            )
        if self.budget_images < self.batch * self.passes:
            passes = f" of {self.passes} passes" if self.passes > 1 else ""
            raise UserError(
                f"--budget {self.budget_images}: below one batch of {self.batch} images{passes}; "
                f"give at least {self.batch * self.passes}"
            )
        if self.precision not in PRECISIONS:
            raise UserError(f"--precision {self.precision}: use one of {', '.join(PRECISIONS)}")
        if self.rate_schedule not in RATE_SCHEDULES:
            raise UserError(
                f"--lr-schedule {self.rate_schedule}: use one of {', '.join(RATE_SCHEDULES)}"
            )
        for flag, value, least, most in (
            ("--lr", self.learning_rate, 0.0, math.inf),
            ("--weight-decay", self.weight_decay, 0.0, math.inf),
            ("--clip", self.clip, 0.0, math.inf),
            ("--class-drop", self.class_drop, 0.0, 1.0),
            ("--ema", self.ema if self.ema is not None else 0.0, 0.0, 1.0),
        ):
            if not least <= value <= most or math.isinf(value):
                raise UserError(f"{flag} {value}: must be from {least:g} to {most:g}")
        if self.ema == 1:
            raise UserError("--ema 1.0: would average nothing; use a decay below 1, such as 0.999")
        if self.distill and not self.schedule.sandwich:
            raise UserError(
                "--distill: needs --schedule sandwich, whose steps run the full network"
            )

    @property
    def passes(self) -> int:
        """Passes of each image in a step."""
        return 3 if self.schedule.sandwich else 1

    @property
    def steps(self) -> int:
        return self.budget_images // (self.batch * self.passes)

    def rate_at(self, step: int) -> float:
        """Learning rate of step `step` (0-based)."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        if self.rate_schedule == "constant":
            return self.learning_rate * warm
        cosine = 0.5 * (1 + math.cos(math.pi * step / self.steps))
        share = self.final_rate_share + (1 - self.final_rate_share) * cosine
        return self.learning_rate * warm * share

    def check_fits(self, geometry: Geometry, *, device: str, ranks: int) -> None:
        """Raise `UserError` unless all of it suits the network, the device and the ranks."""
        if self.precision == "float16" and not device.startswith("cuda"):
            raise UserError("--precision float16: needs --device cuda; use float32 or bfloat16")
        if self.batch % (ranks * self.accumulate):
            raise UserError(
                f"--batch {self.batch}: must be a multiple of {ranks} ranks x "
                f"--accumulate {self.accumulate}"
            )
        check_depths(self.schedule, self.depths, geometry.depth)
        scales = len(geometry.patch_nums)
        if not 0 <= self.switch <= scales:
            raise UserError(f"--switch {self.switch}: the network has {scales} scales")
        for depth in self.depths:
            self.plan_of(depth, geometry)
        if self.scale_weights is not None:
            shown = ",".join(f"{weight:g}" for weight in self.scale_weights)
            good = all(0 <= weight < math.inf for weight in self.scale_weights)
            if len(self.scale_weights) != scales or not good or not any(self.scale_weights):
                raise UserError(
                    f"--scale-weights {shown}: give one weight for each of the {scales} scales, "
                    "none negative, not all zero"
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

    def as_dict(self) -> dict:
        """JSON-ready fields."""
        return asdict(self) | {
            "betas": list(self.betas),
            "depths": list(self.depths),
            "scale_weights": list(self.scale_weights) if self.scale_weights else None,
            "schedule": self.schedule.as_dict(),
        }


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict]:
    """AdamW groups by the official rule: embeddings, biases, scales and gammas do not decay."""
    decayed, free = [], []
    for name, parameter in model.named_parameters():
        exempt = parameter.ndim == 1 or any(part in name for part in NO_DECAY)
        (free if exempt else decayed).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": free, "weight_decay": 0.0},
    ]


class SupernetLoss(nn.Module):
    """The loss of a step: the cross-entropy of r_k given r_<k under the active layers, over scales.

    VARiant (arXiv 2511.16546), section 3.2: the tokens of bridge-zone scales pass every layer,
    those of flexible-zone scales the subnet's, so a skipped layer still gets a gradient from the
    bridge zone. As in the official VAR code the sum runs over tokens, divided by their number.
    """

    def __init__(self, model: VAR, tokenizer: Tokenizer, config: TrainingConfig) -> None:
        super().__init__()
        self.model = model
        # Not a part of this module: it is not trained, and its state belongs to no optimiser.
        self._teacher_inputs = tokenizer.teacher_inputs
        self.config = config
        counts = torch.tensor(model.geometry.scale_tokens)
        weights_K = torch.tensor(config.scale_weights or (1.0,) * len(counts))
        weights_L = weights_K.repeat_interleave(counts)
        device = model.pos_1LC.device
        self.register_buffer("weights_L", (weights_L / weights_L.mean()).to(device), False)

    def forward(
        self, tokens_BL: Tensor, labels_B: Tensor, plans: tuple[DepthPlan, ...]
    ) -> tuple[Tensor, Tensor]:
        """One pass for each plan.

        Returns:
            Their mean loss in nats a token, with its graph; and (P, K) the mean cross-entropy of
            each pass and scale, without one.
        """
        inputs_BLC = self._teacher_inputs(tokens_BL)
        losses, rows, taught_BLV = [], [], None
        for plan in plans:
            logits_BLV = self.model(inputs_BLC, labels_B, plan, recompute=self.config.recompute)
            logits_BLV = logits_BLV.float() if logits_BLV.dtype.itemsize < 4 else logits_BLV
            entropy_BL = F.cross_entropy(
                logits_BLV.flatten(0, 1), tokens_BL.flatten(), reduction="none"
            ).view_as(tokens_BL)
            parts = entropy_BL.detach().split(self.model.geometry.scale_tokens, dim=1)
            rows.append(torch.stack([part.mean() for part in parts]))
            if taught_BLV is not None:
                entropy_BL = -(taught_BLV * logits_BLV.log_softmax(-1)).sum(-1)
            elif self.config.distill:
                taught_BLV = logits_BLV.detach().softmax(-1)
            if self.config.scale_weights is not None:
                entropy_BL = entropy_BL * self.weights_L
            losses.append(entropy_BL.mean())
        return torch.stack(losses).mean(), torch.stack(rows)


class Trainer:
    """A network in training. `advance` does one step; `state` and `restore` carry it over.

    Every random decision is a function of (seed, step), so a restored trainer goes on exactly as
    the one whose state it took.

    Attributes:
        step: steps done.
        averaged: the network of averaged weights under `config.ema`, else the trained one.
    """

    def __init__(
        self,
        model: VAR,
        tokenizer: Tokenizer,
        batches: Batches,
        config: TrainingConfig,
        ranks: Ranks = Ranks(),  # noqa: B008 - frozen
    ) -> None:
        """Take `model` into training, on the device that it and `tokenizer` are on.

        Raises:
            UserError: a config that does not suit the network, the device or the ranks.
        """
        self.device = model.pos_1LC.device
        config.check_fits(model.geometry, device=self.device.type, ranks=ranks.count)
        self.model, self.config, self.batches, self.ranks = model.train(), config, batches, ranks
        self.step = 0
        self.averaged = copy.deepcopy(model).requires_grad_(False) if config.ema else model
        self.optimiser = torch.optim.AdamW(
            parameter_groups(model, config.weight_decay), betas=config.betas, fused=True
        )
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.draws = draw_steps(
            config.schedule,
            steps=config.steps,
            depths=config.depths,
            full_depth=model.depth,
            seed=config.seed,
            draw=config.draw,
        )
        depths = sorted({depth for step in self.draws.depths for depth in step})
        self.plans = {depth: config.plan_of(depth, model.geometry) for depth in depths}
        forward = {
            d: plan_cost(model.geometry, p, guidance=False).flops for d, p in self.plans.items()
        }
        backward = 3 if config.recompute else 2  # in forward passes
        self._flops_S = np.cumsum(
            [sum(forward[d] for d in step) * (1 + backward) for step in self.draws.depths]
        ) * float(config.batch)
        self._realised_S = np.cumsum(self.draws.subnet_S(model.depth)) / np.arange(
            1, config.steps + 1
        )
        self._recent: dict[int, list[float]] = {depth: [] for depth in depths}
        if config.compile:
            # One graph a plan: shapes taken for dynamic gave wrong attention masks (torch 2.13).
            model.compile(dynamic=False)
        self.loss: nn.Module = SupernetLoss(model, tokenizer, config)
        if ranks.count > 1:
            # With a switch at 0 the layers outside the subnet are in no pass of a subnet step.
            unused = config.switch == 0 and not config.schedule.sandwich
            self.loss = DistributedDataParallel(
                self.loss,
                device_ids=[self.device.index] if self.device.type == "cuda" else None,
                find_unused_parameters=unused,
            )

    @property
    def finished(self) -> bool:
        return self.step == self.config.steps

    def advance(self) -> dict[str, float]:
        """Do one step.

        Returns:
            `loss` (nats a token, mean over passes), `loss/scale_01` ..., `loss/depth_04` ... for
            each pass, `depth` drawn, `share/scheduled`, `share/realised` so far,
            `learning_rate`, `gradient_norm`, `images_seen` (passes), `flops/training` so far.

        Raises:
            Diverged: the loss or the gradient is no number, or the loss is far above its
                depth's recent median. The network is as it was before the step.
        """
        config, step = self.config, self.step
        depths = self.draws.depths[step]
        losses_PK = self._accumulate_gradients(step, tuple(self.plans[d] for d in depths))
        losses_PK = self.ranks.mean(losses_PK).cpu()
        counts_K = torch.tensor(self.model.geometry.scale_tokens, dtype=losses_PK.dtype)
        loss_P = (losses_PK @ counts_K / counts_K.sum()).tolist()
        for depth, loss in zip(depths, loss_P, strict=True):
            self._check_loss(depth, loss)
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip).item()
        if not math.isfinite(norm) and not self.scaler.is_enabled():
            raise self._diverged(f"the gradient's norm is {norm}")
        rate = config.rate_at(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if config.ema:
            torch._foreach_lerp_(
                list(self.averaged.parameters()), list(self.model.parameters()), 1 - config.ema
            )
        for depth, loss in zip(depths, loss_P, strict=True):
            self._recent[depth] = [*self._recent[depth], loss][-HISTORY:]
        self.step += 1
        metrics = {
            "images_seen": self.step * config.batch * config.passes,
            "loss": statistics.fmean(loss_P),
            "depth": depths[-1],
            "share/scheduled": float(self.draws.share_S[step]),
            "share/realised": float(self._realised_S[step]),
            "learning_rate": rate,
            "gradient_norm": norm,
            "flops/training": float(self._flops_S[step]),
        }
        if config.schedule.sandwich:
            del metrics["share/scheduled"], metrics["share/realised"]
        metrics |= {f"loss/depth_{d:02d}": loss for d, loss in zip(depths, loss_P, strict=True)}
        for k, loss in enumerate(losses_PK.mean(0).tolist()):
            metrics[f"loss/scale_{k + 1:02d}"] = loss
        return metrics

    def _accumulate_gradients(self, step: int, plans: tuple[DepthPlan, ...]) -> Tensor:
        """Gradients of one step, summed over its parts; (P, K) losses of this rank's images."""
        config, total = self.config, None
        self.optimiser.zero_grad(set_to_none=True)
        dropped_B = stream(config.seed, "class drop", step).random(config.batch) < config.class_drop
        size = config.batch // (self.ranks.count * config.accumulate)
        for part in range(config.accumulate):
            first = (self.ranks.rank * config.accumulate + part) * size
            here = slice(first, first + size)
            batch = self.batches.batch(step, here)
            labels_B = batch.labels_N.masked_fill(
                torch.from_numpy(dropped_B[here]), self.model.num_classes
            )
            with self._synchronised(part == config.accumulate - 1), self._autocast():
                loss, losses_PK = self.loss(
                    batch.tokens_NL.to(self.device), labels_B.to(self.device), plans
                )
            with self._synchronised(part == config.accumulate - 1):
                self.scaler.scale(loss / config.accumulate).backward()
            losses_PK = losses_PK / config.accumulate
            total = losses_PK if total is None else total + losses_PK
        return total

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager:
        """Ranks average their gradients in the last part's backward pass only."""
        if last or self.ranks.count == 1:
            return contextlib.nullcontext()
        return self.loss.no_sync()

    def _autocast(self) -> contextlib.AbstractContextManager:
        kind = PRECISIONS[self.config.precision]
        if kind is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=kind)

    def _check_loss(self, depth: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss of depth {depth} is {loss}")
        recent = self._recent[depth]
        if len(recent) >= LEAST_HISTORY:
            usual = statistics.median(recent)
            if loss > usual + self.config.divergence_nats:
                raise self._diverged(
                    f"the loss of depth {depth} is {loss:.3f} nats a token, after a median of "
                    f"{usual:.3f} over its last {len(recent)} steps"
                )

    def _diverged(self, what: str) -> Diverged:
        first = self.step * self.config.batch
        return Diverged(
            f"diverged at step {self.step + 1} (images {first} to {first + self.config.batch - 1} "
            f"of the training order): {what}; lower --lr or --clip, or use --precision float32"
        )

    def state(self) -> RunState:
        """Everything that the next steps depend on, besides config and data."""
        tensors = {f"model/{name}": t.detach() for name, t in self.model.state_dict().items()}
        if self.config.ema:
            tensors |= {f"averaged/{name}": t for name, t in self.averaged.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            for key, value in self.optimiser.state[parameter].items():
                tensors[f"optimiser/{key}/{name}"] = value
        return RunState(
            step=self.step,
            tensors={name: tensor.cpu().contiguous() for name, tensor in tensors.items()},
            facts={
                "recent": {str(depth): losses for depth, losses in self._recent.items()},
                "scaler": self.scaler.state_dict(),
            },
        )

    @torch.no_grad()
    def restore(self, state: RunState) -> None:
        """Go on from a state that a trainer of the same config, network and data had."""
        self.step = state.step
        for prefix, model in (("model", self.model), ("averaged", self.averaged)):
            if prefix == "model" or self.config.ema:
                for name, tensor in model.state_dict().items():
                    tensor.copy_(state.tensors[f"{prefix}/{name}"])
        for name, parameter in self.model.named_parameters():
            for key in ("step", "exp_avg", "exp_avg_sq"):
                stored = state.tensors.get(f"optimiser/{key}/{name}")
                if stored is not None:
                    self.optimiser.state[parameter][key] = stored.to(self.device)
        self._recent = {int(depth): losses for depth, losses in state.facts["recent"].items()}
        self.scaler.load_state_dict(state.facts["scaler"])


def train(
    model: VAR,
    tokenizer: Tokenizer,
    tokens: TokenSplit,
    config: TrainingConfig,
    *,
    log: Log = lambda step, metrics: None,
) -> VAR:
    """Train `model` in memory, without a folder to resume from; see `training_run` for that.

    Args:
        log: called after each step with what `Trainer.advance` returns.

    Returns:
        The trained network: `model` itself, or the average of its weights under `config.ema`.

    Raises:
        Diverged: see `Trainer.advance`.
    """
    batches = CachedBatches(tokens, seed=config.seed, batch=config.batch)
    trainer = Trainer(model, tokenizer, batches, config)
    while not trainer.finished:
        metrics = trainer.advance()
        log(trainer.step, metrics)
    return trainer.averaged.eval()
