"""AdamW as the official code groups it; its state whole on every rank, or a part of it on each."""

from collections.abc import Iterator
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from varant.training.distributed import Ranks

# Official parameter groups: no weight decay on these, nor on any one-dimensional tensor.
NO_DECAY = ("class_emb", "pos_start", "pos_1LC", "lvl_embed", "ada_gss", "scale_mul")
BETAS = (0.9, 0.95)  # of AdamW
KEYS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of a parameter


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """AdamW groups by the official rule: embeddings, biases, scales and gammas do not decay."""
    named = dict(model.named_parameters())
    free = {n for n, p in named.items() if p.ndim == 1 or any(part in n for part in NO_DECAY)}
    return [
        {"params": [named[n] for n in named if n not in free], "weight_decay": weight_decay},
        {"params": [named[n] for n in named if n in free], "weight_decay": 0.0},
    ]


def make_optimiser(model: nn.Module, weight_decay: float, *, sharded: bool) -> Optimizer:
    """The optimiser of a network.

    Args:
        sharded: over the ranks (ZeRO stage 1, arXiv 1910.02054): a rank keeps the state of some
            parameters, updates those, and sends them to the others. The same numbers, and 8 bytes
            a parameter divided by the ranks.
    """
    groups = parameter_groups(model, weight_decay)
    if not sharded:
        return AdamW(groups, betas=BETAS, fused=True)
    from torch.distributed.optim import ZeroRedundancyOptimizer  # takes a second

    return ZeroRedundancyOptimizer(groups, AdamW, betas=BETAS, fused=True)


def _of_this_rank(optimiser: Optimizer) -> Optimizer:
    return cast(Optimizer, getattr(optimiser, "optim", optimiser))  # ZeRO's own, local one


def optimiser_state(
    optimiser: Optimizer, model: nn.Module, ranks: Ranks
) -> Iterator[tuple[str, Tensor]]:
    """`optimiser/KEY/NAME` and value of each tensor of the state, all of them on the first rank.

    Those of a sharded one come from their ranks, one at a time, so every rank has to iterate.
    """
    local, named = _of_this_rank(optimiser), dict(model.named_parameters())
    owners = [0] * len(named)
    if local is not optimiser:
        device = next(model.parameters()).device
        owned = [ranks.rank * (parameter in local.state) for parameter in named.values()]
        owners = ranks.sum(torch.tensor(owned, device=device)).tolist()
    for (name, parameter), owner in zip(named.items(), owners, strict=True):
        held = local.state.get(parameter, {})
        for key in KEYS:
            value = held.get(key)
            if ranks.first and owner:
                like = parameter if key != "step" else torch.zeros((), device=parameter.device)
                value = torch.empty_like(like, requires_grad=False)
                dist.recv(value, owner)
            elif ranks.rank == owner != 0:
                dist.send(value, 0)
            if value is not None:
                yield f"optimiser/{key}/{name}", value


def restore_optimiser(optimiser: Optimizer, model: nn.Module, stored: dict[str, Tensor]) -> None:
    """Take over what `optimiser_state` gave, among others, of any number of ranks: a rank its
    part."""
    local = _of_this_rank(optimiser)
    own = {parameter for group in local.param_groups for parameter in group["params"]}
    for name, parameter in model.named_parameters():
        if parameter in own and f"optimiser/step/{name}" in stored:
            local.state[parameter] = {
                key: stored[f"optimiser/{key}/{name}"].to(parameter.device, copy=True)
                for key in KEYS
            }
