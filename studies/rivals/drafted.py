"""What `two_models` runs: drawing by two networks in turn, and the NLL of their own scales.

Shape suffixes: B images, L tokens of all scales, N images of a split, K scales.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from studies.cells.measuring import Cost, LoadedNetwork, UnderPlan
from studies.rivals.costs import handover_cost
from varant.data.tokens import TokenSplit
from varant.evaluation.likelihood import nll_per_scale
from varant.model.plan import DepthPlan
from varant.model.sampling import Sample, generate
from varant.training.config import SELECT_NLL
from varant.training.run import Evaluator
from varant.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Drafted(UnderPlan):
    """A drafter in full for `switch` scales, then a refiner, which is `loaded`, under a plan."""

    drafter: LoadedNetwork
    switch: int

    def nll(self, tokens: TokenSplit, images: int) -> np.ndarray:
        """(N, K) each scale's by the network that draws it; both see the true earlier scales."""
        tokenizer = self.loaded.held_out.tokenizer
        drafts_NK = nll_per_scale(self.drafter.model, tokenizer, tokens, images=images)
        refines_NK = nll_per_scale(self.loaded.model, tokenizer, tokens, self.plan, images=images)
        return np.concatenate([drafts_NK[:, : self.switch], refines_NK[:, self.switch :]], axis=1)

    def sample(self, labels_B: Tensor, **drawing: Any) -> Sample:
        """Both draw with the uniforms of one seed, each for its scales; the first one's cache is
        freed before the second one's begins."""
        tokenizer = self.loaded.held_out.tokenizer
        draft = generate(self.drafter.model, tokenizer, labels_B, until=self.switch, **drawing)
        given_BL, held = draft.tokens, draft.kv_bytes_peak
        del draft
        whole = super().sample(labels_B, given=given_BL, **drawing)
        return replace(whole, kv_bytes_peak=max(held, whole.kv_bytes_peak))

    def cost(self, *, guidance: bool) -> Cost:
        model = self.drafter.model
        drafts = DepthPlan.full(model.patch_nums, model.depth)
        size = model.pos_1LC.element_size()
        how: dict[str, Any] = {"guidance": guidance, "kv_bytes": size}
        return Cost(*handover_cost(model.geometry, drafts, self.plan, self.switch, **how))


@dataclass(frozen=True, kw_only=True)
class SpecialistEvaluator(Evaluator):
    """NLL over the scales that a network is trained for, by the config's weights of scales."""

    def __call__(self, trainer: Trainer) -> dict[str, float]:
        model, config, found = trainer.averaged.eval(), trainer.config, {}
        weights_K = np.square(model.patch_nums) * np.array(config.scale_weights)
        for plan in trainer.plans.values():
            nll_NK = nll_per_scale(model, trainer.tokenizer, self.tokens, plan, images=self.images)
            mean = nll_NK.mean(axis=0) @ weights_K / weights_K.sum()
            found[f"{SELECT_NLL}{plan.name}"] = float(mean)
        trainer.model.train()
        return found
