"""How far the gradients of subnets point away from the full network's, layer by layer.

VARiant (arXiv 2511.16546) gives this conflict as the reason to train progressively: one step pulls
the shared weights towards a subnet, the next towards the full network. A cosine of 1: both want the
same of a layer; 0: nothing to do with each other; below 0: what helps one harms the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from varant.data.tokens import TokenBatch
from varant.model.plan import DepthPlan
from varant.model.tokenizer import Tokenizer
from varant.model.transformer import VAR
from varant.training.run import Evaluator
from varant.training.trainer import Trainer

WHOLE = 0  # stands for all parameters, embeddings and head among them, beside layers from 1


def cosine_name(plan: DepthPlan, layer: int) -> str:
    """Of a metric: `gradient_cosine/d4@3/layer_05`; `layer_00` is the whole network."""
    return f"gradient_cosine/{plan.name}/layer_{layer:02d}"


@dataclass(frozen=True, kw_only=True)
class ConflictEvaluator(Evaluator):
    """An evaluation that adds the cosines, named by `cosine_name`, at the weights that train.

    Attributes:
        gradient_images: the first select images, on which all gradients are taken.
    """

    gradient_images: int

    def __call__(self, trainer: Trainer) -> dict[str, float]:
        found, config = super().__call__(trainer), trainer.config
        batch = self.tokens.rows(slice(0, self.gradient_images))
        plans = {depth: config.plan_of(depth, trainer.model.geometry) for depth in config.depths}
        trainer.model.eval()
        cosines = gradient_cosines(trainer.model, trainer.tokenizer, batch, plans)
        trainer.model.train()
        return found | {
            cosine_name(plans[depth], layer): cosine
            for depth, by_layer in cosines.items()
            for layer, cosine in by_layer.items()
        }


def gradient_cosines(
    model: VAR, tokenizer: Tokenizer, batch: TokenBatch, plans: Mapping[int, DepthPlan]
) -> dict[int, dict[int, float]]:
    """Cosine between the gradients of the full network and of each plan, by the plans' keys.

    Of each layer, from 1, and of all parameters (`WHOLE`); none where a gradient is zero, as that
    of a layer that no token passes.
    """
    full = _gradients(model, tokenizer, batch, None)
    norms = {layer: float(own.norm()) for layer, own in full.items()}
    found: dict[int, dict[int, float]] = {}
    for key, plan in plans.items():
        subnet = _gradients(model, tokenizer, batch, plan)
        scales = {layer: norms[layer] * float(own.norm()) for layer, own in subnet.items()}
        found[key] = {
            layer: float(full[layer] @ subnet[layer]) / scale
            for layer, scale in scales.items()
            if scale > 0
        }
    return found


def _gradients(
    model: VAR, tokenizer: Tokenizer, batch: TokenBatch, plan: DepthPlan | None
) -> dict[int, Tensor]:
    """Of the mean cross-entropy over all tokens, as training has it: a vector a layer, and one of
    all parameters."""
    device = model.pos_1LC.device
    tokens_NL = batch.tokens_NL.to(device)
    with torch.enable_grad():
        logits_NLV = model(tokenizer.teacher_inputs(tokens_NL), batch.labels_N.to(device), plan)
        loss = F.cross_entropy(logits_NLV.flatten(0, 1).float(), tokens_NL.flatten())
        named = dict(model.named_parameters())
        gradients = torch.autograd.grad(
            loss, list(named.values()), allow_unused=True, materialize_grads=True
        )
    parts: dict[int, list[Tensor]] = {WHOLE: []}
    for name, gradient in zip(named, gradients, strict=True):
        part = gradient.flatten().double()
        parts[WHOLE].append(part)
        group, _, rest = name.partition(".")
        if group == "blocks":
            parts.setdefault(int(rest.partition(".")[0]) + 1, []).append(part)
    return {layer: torch.cat(found) for layer, found in sorted(parts.items())}
