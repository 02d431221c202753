"""Training a VAR supernet: what one step does, and the state that goes from step to step.

Shape suffixes: B images, L tokens of all scales, K scales, P passes of a step, V vocabulary.
"""

import contextlib
import copy
import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import get_ema_multi_avg_fn

from varant.data.batches import Batches
from varant.devices import check_compile
from varant.errors import Diverged
from varant.model.plan import DepthPlan
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.randomness import stream
from varant.training.config import TrainingConfig
from varant.training.distributed import ALONE, Ranks
from varant.training.optimiser import make_optimiser, optimiser_state, restore_optimiser
from varant.training.resume import RunState

# A loss so far above the median of its depth's last steps, or above a uniform guess and the first
# step's, ends the run.
DIVERGENCE_NATS = 1.5
# A step's loss is compared with the median of the last so many of its depth, once there are enough.
HISTORY, LEAST_HISTORY = 64, 16


class PassLoss(NamedTuple):
    """What one pass of a step gives.

    Attributes:
        loss: mean over tokens in nats, with its graph.
        losses_K: mean cross-entropy of each scale, without one.
        taught_BLV: under distillation, the full network's predictions, without one.
    """

    loss: Tensor
    losses_K: Tensor
    taught_BLV: Tensor | None


class Wishes(NamedTuple):
    """What a rank wants done after a step; what one of them wants, all do.

    Attributes:
        save: a checkpoint is due.
        stop: the machine has asked the process to stop.
    """

    save: bool = False
    stop: bool = False


class Step(NamedTuple):
    """What a step gives: see `Trainer.advance`."""

    metrics: dict[str, float]
    wishes: Wishes


class SupernetLoss(nn.Module):
    """The loss of a step: the cross-entropy of r_k given r_<k under the active layers, over scales.

    VARiant (arXiv 2511.16546), section 3.2: the tokens of bridge-zone scales pass every layer,
    those of flexible-zone scales the subnet's, so a skipped layer still gets a gradient from the
    bridge zone. As in the official VAR code the sum runs over tokens, divided by their number.
    """

    weights_L: Tensor

    def __init__(self, model: VAR, config: TrainingConfig, plans: int) -> None:
        """The loss of `model`, of which `config.compile` makes a graph for each of `plans` plans.

        One more, or one that is in parts, raises: Dynamo would go on uncompiled.
        """
        super().__init__()
        self.model = model
        # Only training runs compiled: evaluation has other shapes, and would take graphs as well.
        # Shapes taken for dynamic gave wrong attention masks (torch 2.13).
        self._network: Callable[..., Tensor] = model.forward
        if config.compile:
            check_compile("--compile")
            limits: dict[str, Any] = {"recompile_limit": plans, "isolate_recompiles": True}
            self._network = torch.compile(model.forward, dynamic=False, fullgraph=True, **limits)
        self.config = config
        counts = torch.tensor(model.geometry.scale_tokens)
        weights_K = torch.tensor(config.scale_weights or (1.0,) * len(counts))
        weights_L = weights_K.repeat_interleave(counts, output_size=model.geometry.tokens)
        device = model.pos_1LC.device
        self.register_buffer("weights_L", (weights_L / weights_L.mean()).to(device), False)

    def forward(
        self,
        inputs_BLC: Tensor,
        tokens_BL: Tensor,
        labels_B: Tensor,
        plan: DepthPlan,
        taught_BLV: Tensor | None = None,
    ) -> PassLoss:
        """One pass, towards the tokens or, where they are given, an earlier pass's predictions.

        Args:
            inputs_BLC: (B, L - patch_nums[0]**2, Cvae), from `Tokenizer.teacher_inputs`.
        """
        checkpointing = self.config.activation_checkpointing
        logits_BLV = self._network(
            inputs_BLC, labels_B, plan, activation_checkpointing=checkpointing
        )
        logits_BLV = logits_BLV.float() if logits_BLV.dtype.itemsize < 4 else logits_BLV
        rows_NV, targets_N = logits_BLV.flatten(0, 1), tokens_BL.flatten()
        entropy_BL = F.cross_entropy(rows_NV, targets_N, reduction="none").view_as(tokens_BL)
        parts = entropy_BL.detach().split(self.model.geometry.scale_tokens, dim=1)
        losses_K = torch.stack([part.mean() for part in parts])
        if taught_BLV is not None:
            entropy_BL = -(taught_BLV * logits_BLV.log_softmax(-1)).sum(-1)
        elif self.config.distill:
            taught_BLV = logits_BLV.detach().softmax(-1)
        if self.config.scale_weights is not None:
            entropy_BL = entropy_BL * self.weights_L
        return PassLoss(loss=entropy_BL.mean(), losses_K=losses_K, taught_BLV=taught_BLV)


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
        ranks: Ranks = ALONE,
        *,
        shard_optimiser: bool = False,
    ) -> None:
        """Take `model` into training, on the device that it and `tokenizer` are on.

        `config` must suit the network, the device and the ranks, else `UserError`. A sharded
        optimiser changes no number, and needs ranks to be shared out among.
        """
        self.device = model.pos_1LC.device
        config.check_fits(model.geometry, device=self.device.type, ranks=ranks.count)
        self.model, self.tokenizer = model.train(), tokenizer
        self.config, self.batches, self.ranks = config, batches, ranks
        self.step, self.steps = 0, config.steps
        self.averaged = copy.deepcopy(model).requires_grad_(False) if config.ema else model
        self.optimiser = make_optimiser(model, config.weight_decay, sharded=shard_optimiser)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.draws = config.draws(model.depth)
        depths = sorted(self.draws.passes)
        self.plans = {depth: config.plan_of(depth, model.geometry) for depth in depths}
        flops = {depth: config.flops_at(depth, model.geometry) for depth in depths}
        passes = 4 if config.activation_checkpointing else 3  # forward, and backward costs two
        flops_S = [sum(flops[d] for d in step) * passes for step in self.draws.depths]
        self._flops_S = np.cumsum(flops_S) * float(config.batch)
        subnets_S = np.cumsum(self.draws.subnet_S(model.depth))
        self._realised_S = subnets_S / np.arange(1, config.steps + 1)
        self._recent: dict[int, list[float]] = {depth: [] for depth in depths}
        self._began: float | None = None  # the first step's loss
        self.loss: nn.Module = SupernetLoss(model, config, len(self.plans))
        if ranks.count > 1:
            # With a switch at 0 the layers outside the subnet are in no pass of a subnet step, nor
            # in the last one of a sandwich step, which is the one that ranks share.
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.loss = DistributedDataParallel(
                self.loss,
                device_ids=ids,
                find_unused_parameters=config.switch == 0,
                gradient_as_bucket_view=True,
                broadcast_buffers=False,  # constants
            )

    @property
    def finished(self) -> bool:
        return self.step == self.steps

    @property
    def losses(self) -> tuple[dict[str, float], dict[str, float]]:
        """Training loss by plan that was trained: of the first step, and the last ones' median."""
        if self._began is None:
            return {}, {}
        names = {depth: plan.name for depth, plan in self.plans.items()}
        recent = {names[depth]: losses for depth, losses in self._recent.items() if losses}
        began = dict.fromkeys(recent, self._began)
        return began, {plan: statistics.median(losses) for plan, losses in recent.items()}

    def advance(self, wishes: Callable[[], Wishes] = Wishes) -> Step:
        """Do one step.

        Args:
            wishes: asked once the step's work is under way.

        Returns:
            What any rank wishes, and the metrics: `loss` (nats a token, mean over passes),
            `loss/scale_01` ..., `loss/depth_04` ... for each pass, `depth` drawn,
            `share/scheduled`, `share/realised` so far, `lr`, `gradient_norm` but where float16
            overflowed and the step was skipped, `images_seen` (passes), `flops/training` so far.

        Raises:
            Diverged: the loss or the gradient is no number, or the loss is far above its
                depth's recent median, or above a uniform guess and the first step's. The
                network is as it was before the step.
        """
        config, step = self.config, self.step
        depths = self.draws.depths[step]
        losses_PK = self._accumulate_gradients(step, tuple(self.plans[d] for d in depths))
        wished = torch.tensor(wishes()).to(losses_PK)
        shared = self.ranks.mean(torch.cat([losses_PK.flatten(), wished]))
        self.scaler.unscale_(self.optimiser)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        # All that the step asks of the device, read at once: each reading waits for it.
        *losses, save, stop, norm = torch.cat([shared, norm.reshape(1)]).tolist()
        losses_PK = torch.tensor(losses, dtype=losses_PK.dtype).view(losses_PK.shape)
        counts_K = torch.tensor(self.model.geometry.scale_tokens, dtype=losses_PK.dtype)
        loss_P = (losses_PK @ counts_K / counts_K.sum()).tolist()
        for depth, loss in zip(depths, loss_P, strict=True):
            self._check_loss(depth, loss)
        # In float16 it may be the scale's doing: the scaler skips the step and halves the scale. At
        # 1, where it also stands without a scaler, nothing but the network is left to blame.
        if not math.isfinite(norm) and self.scaler.get_scale() <= 1:
            raise self._diverged(f"the gradient's norm is {norm}")
        rate = config.lr_at(step)
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()
        if config.ema:
            average = get_ema_multi_avg_fn(config.ema)
            average(list(self.averaged.parameters()), list(self.model.parameters()), step)
        self._began = max(loss_P) if self._began is None else self._began
        for depth, loss in zip(depths, loss_P, strict=True):
            self._recent[depth] = [*self._recent[depth], loss][-HISTORY:]
        self.step += 1
        metrics = {
            "images_seen": self.step * config.batch * config.passes,
            "loss": statistics.fmean(loss_P),
            "depth": depths[-1],
            "lr": rate,
            "flops/training": float(self._flops_S[step]),
        }
        if math.isfinite(norm):  # else the step was skipped, and JSON knows no such number
            metrics["gradient_norm"] = norm
        if not config.schedule.sandwich:
            metrics["share/scheduled"] = float(self.draws.share_S[step])
            metrics["share/realised"] = float(self._realised_S[step])
        metrics |= {f"loss/depth_{d:02d}": loss for d, loss in zip(depths, loss_P, strict=True)}
        losses_K = enumerate(losses_PK.mean(0).tolist(), 1)
        metrics |= {f"loss/scale_{k:02d}": loss for k, loss in losses_K}
        return Step(metrics=metrics, wishes=Wishes(save=save > 0, stop=stop > 0))

    def _accumulate_gradients(self, step: int, plans: tuple[DepthPlan, ...]) -> Tensor:
        """Gradients of one step, summed over its parts; (P, K) losses of this rank's images."""
        config, device, total_PK = self.config, self.device, torch.zeros((), device=self.device)
        kind = getattr(torch, config.precision)
        autocast = torch.autocast(device.type, dtype=kind, enabled=kind != torch.float32)
        self.optimiser.zero_grad(set_to_none=True)
        dropped_B = stream(config.seed, "class drop", step).random(config.batch) < config.class_drop
        size = config.batch // (self.ranks.count * config.accumulate)
        for part in range(config.accumulate):
            first = (self.ranks.rank * config.accumulate + part) * size
            here = slice(first, first + size)
            batch, dropped_b = self.batches.batch(step, here), torch.from_numpy(dropped_B[here])
            labels_B = batch.labels_N.masked_fill(dropped_b, self.model.num_classes).to(device)
            tokens_BL = batch.tokens_NL.to(device)
            # Outside autocast, as in the reference: the inputs are those of the float32 network.
            inputs_BLC, taught_BLV = self.tokenizer.teacher_inputs(tokens_BL), None
            rows = []
            for number, plan in enumerate(plans, 1):
                last = part + 1 == config.accumulate and number == len(plans)
                with self._synchronised(last):
                    with autocast:
                        found = self.loss(inputs_BLC, tokens_BL, labels_B, plan, taught_BLV)
                    # At once, so that no other pass's graph is held.
                    self.scaler.scale(found.loss / (config.accumulate * len(plans))).backward()
                taught_BLV = found.taught_BLV
                rows.append(found.losses_K)
            losses_PK = torch.stack(rows)
            total_PK = total_PK + losses_PK / config.accumulate
        return total_PK

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Ranks average their gradients in the last backward pass of a step only."""
        if last or not isinstance(self.loss, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.loss.no_sync()

    def _check_loss(self, depth: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss of depth {depth} is {loss}")
        # Also before there is a history, and where exploded losses are all of it.
        usual, than = math.log(self.model.vocab_size), "where a uniform guess has"
        if (began := loss if self._began is None else self._began) > usual:
            usual, than = began, "where training began with"
        recent = self._recent[depth]
        if len(recent) >= LEAST_HISTORY and statistics.median(recent) < usual:
            usual = statistics.median(recent)
            than = f"after a median over its last {len(recent)} steps of"
        if loss > usual + DIVERGENCE_NATS:
            raise self._diverged(
                f"the loss of depth {depth} is {loss:.3f} nats a token, {than} {usual:.3f}"
            )

    def _diverged(self, what: str) -> Diverged:
        first = self.step * self.config.batch
        return Diverged(
            f"diverged at step {self.step + 1} (images {first} to {first + self.config.batch - 1} "
            f"of the training order): {what}; lower --lr or --clip, or use --precision float32"
        )

    def state(self, copy: Callable[[str, Tensor], Tensor]) -> RunState:
        """Everything that the next steps depend on, besides config and data; on every rank.

        Args:
            copy: called on the first rank with name and value of each tensor, which the next step
                changes; gives what is to be stored.
        """
        live = {f"model/{name}": tensor for name, tensor in self.model.state_dict().items()}
        if self.config.ema:
            live |= {f"averaged/{name}": t for name, t in self.averaged.state_dict().items()}
        optimiser = optimiser_state(self.optimiser, self.model, self.ranks)
        named = itertools.chain(live.items(), optimiser)
        return RunState(
            step=self.step,
            tensors={name: copy(name, t) for name, t in named if self.ranks.first},
            facts={
                "began": self._began,
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
        restore_optimiser(self.optimiser, self.model, state.tensors)
        self._began = state.facts.get("began")  # none of an older version
        self._recent = {int(depth): losses for depth, losses in state.facts["recent"].items()}
        self.scaler.load_state_dict(state.facts["scaler"])
