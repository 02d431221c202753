"""Training a VAR supernet: what one step does, and the state that goes from step to step.

Shape suffixes: B images, L tokens of all scales, K scales, P passes of a step, V vocabulary.
"""

import contextlib
import copy
import math
import statistics
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from varant.data.batches import Batches
from varant.errors import Diverged
from varant.model.cost import plan_cost
from varant.model.plan import DepthPlan
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.randomness import stream
from varant.training.config import TrainingConfig
from varant.training.distributed import Ranks
from varant.training.resume import RunState

# Official parameter groups: no weight decay on these, nor on any one-dimensional tensor.
NO_DECAY = ("class_emb", "pos_start", "pos_1LC", "lvl_embed", "ada_gss", "scale_mul")
BETAS = (0.9, 0.95)  # of AdamW
DIVERGENCE_NATS = 1.5  # a loss so far above the median of its depth's last steps ends the run
# A step's loss is compared with the median of the last so many of its depth, once there are enough.
HISTORY, LEAST_HISTORY = 64, 16


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups by the official rule: embeddings, biases, scales and gammas do not decay."""
    named = dict(model.named_parameters())
    free = {n for n, p in named.items() if p.ndim == 1 or any(part in n for part in NO_DECAY)}
    return [
        {"params": [named[n] for n in named if n not in free], "weight_decay": weight_decay},
        {"params": [named[n] for n in named if n in free], "weight_decay": 0.0},
    ]


class SupernetLoss(nn.Module):
    """The loss of a step: the cross-entropy of r_k given r_<k under the active layers, over scales.

    VARiant (arXiv 2511.16546), section 3.2: the tokens of bridge-zone scales pass every layer,
    those of flexible-zone scales the subnet's, so a skipped layer still gets a gradient from the
    bridge zone. As in the official VAR code the sum runs over tokens, divided by their number.
    """

    weights_L: Tensor

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
        how = {"activation_checkpointing": self.config.activation_checkpointing}
        for plan in plans:
            logits_BLV = self.model(inputs_BLC, labels_B, plan, **how)
            logits_BLV = logits_BLV.float() if logits_BLV.dtype.itemsize < 4 else logits_BLV
            rows_NV, targets_N = logits_BLV.flatten(0, 1), tokens_BL.flatten()
            entropy_BL = F.cross_entropy(rows_NV, targets_N, reduction="none").view_as(tokens_BL)
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

        `config` must suit the network, the device and the ranks, else `UserError`.
        """
        self.device = model.pos_1LC.device
        config.check_fits(model.geometry, device=self.device.type, ranks=ranks.count)
        self.model, self.tokenizer = model.train(), tokenizer
        self.config, self.batches, self.ranks = config, batches, ranks
        self.step = 0
        self.averaged = copy.deepcopy(model).requires_grad_(False) if config.ema else model
        groups = parameter_groups(model, config.weight_decay)
        self.optimiser = torch.optim.AdamW(groups, betas=BETAS, fused=True)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=config.precision == "float16")
        self.draws = config.draws(model.depth)
        depths = sorted({depth for step in self.draws.depths for depth in step})
        self.plans = {depth: config.plan_of(depth, model.geometry) for depth in depths}
        costs = {d: plan_cost(model.geometry, p, guidance=False) for d, p in self.plans.items()}
        passes = 4 if config.activation_checkpointing else 3  # forward, and backward costs two
        flops_S = [sum(costs[d].flops for d in step) * passes for step in self.draws.depths]
        self._flops_S = np.cumsum(flops_S) * float(config.batch)
        subnets_S = np.cumsum(self.draws.subnet_S(model.depth))
        self._realised_S = subnets_S / np.arange(1, config.steps + 1)
        self._recent: dict[int, list[float]] = {depth: [] for depth in depths}
        if config.compile:
            # One graph a plan: shapes taken for dynamic gave wrong attention masks (torch 2.13).
            model.compile(dynamic=False)
        self.loss: nn.Module = SupernetLoss(model, tokenizer, config)
        if ranks.count > 1:
            # With a switch at 0 the layers outside the subnet are in no pass of a subnet step.
            unused = config.switch == 0 and not config.schedule.sandwich
            ids = [self.device.index] if self.device.type == "cuda" else None
            self.loss = DistributedDataParallel(
                self.loss, device_ids=ids, find_unused_parameters=unused
            )

    @property
    def finished(self) -> bool:
        return self.step == self.config.steps

    def advance(self) -> dict[str, float]:
        """Do one step.

        Returns:
            `loss` (nats a token, mean over passes), `loss/scale_01` ..., `loss/depth_04` ... for
            each pass, `depth` drawn, `share/scheduled`, `share/realised` so far,
            `lr`, `gradient_norm`, `images_seen` (passes), `flops/training` so far.

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
        rate = config.lr_at(step)
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
            "lr": rate,
            "gradient_norm": norm,
            "flops/training": float(self._flops_S[step]),
        }
        if not config.schedule.sandwich:
            metrics["share/scheduled"] = float(self.draws.share_S[step])
            metrics["share/realised"] = float(self._realised_S[step])
        metrics |= {f"loss/depth_{d:02d}": loss for d, loss in zip(depths, loss_P, strict=True)}
        losses_K = enumerate(losses_PK.mean(0).tolist(), 1)
        return metrics | {f"loss/scale_{k:02d}": loss for k, loss in losses_K}

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
            with self._synchronised(part == config.accumulate - 1):
                with autocast:
                    loss, losses_PK = self.loss(batch.tokens_NL.to(device), labels_B, plans)
                self.scaler.scale(loss / config.accumulate).backward()
            total_PK = total_PK + losses_PK / config.accumulate
        return total_PK

    def _synchronised(self, last: bool) -> contextlib.AbstractContextManager[None]:
        """Ranks average their gradients in the last part's backward pass only."""
        if last or not isinstance(self.loss, DistributedDataParallel):
            return contextlib.nullcontext()
        return self.loss.no_sync()

    def _check_loss(self, depth: int, loss: float) -> None:
        if not math.isfinite(loss):
            raise self._diverged(f"the loss of depth {depth} is {loss}")
        recent = self._recent[depth]
        usual = statistics.median(recent) if len(recent) >= LEAST_HISTORY else math.inf
        if loss > usual + DIVERGENCE_NATS:
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
