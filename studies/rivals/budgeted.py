"""What `cache_budget` runs: a KV cache that keeps what was attended to most.

Shape suffixes: B rows of the network, H heads, L tokens in the cache, T of a scale, c channels of a
head, S tokens that stay.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from studies.cells.measuring import Cost, UnderPlan
from studies.rivals.costs import Budget, budget_cost
from varant.data.tokens import TokenSplit
from varant.model.cache import KeysValues, KVCache
from varant.model.plan import DepthPlan
from varant.model.sampling import Sample


class BudgetedCache(KVCache):
    """A cache whose layers keep `budget` pairs a head, from a scale on."""

    def __init__(self, plan: DepthPlan, *, budget: Budget) -> None:
        super().__init__(plan)
        self.budget = budget

    def attend(
        self, scale_index: int, layer: int, q_BHTc: Tensor, k_BHTc: Tensor, v_BHTc: Tensor
    ) -> Tensor:
        attended_BHTc = super().attend(scale_index, layer, q_BHTc, k_BHTc, v_BHTc)
        if scale_index >= self.budget.first and self.plan.keeps(scale_index, layer):
            self._choose(layer, q_BHTc)
        return attended_BHTc

    def _choose(self, layer: int, q_BHTc: Tensor) -> None:
        """Drop all but the pairs that these queries gave the most attention to."""
        held = self.joined(layer)
        if held.k_BHLc.shape[2] <= self.budget.tokens:
            return
        mass_BHL = (q_BHTc.float() @ held.k_BHLc.float().mT).softmax(dim=-1).sum(dim=2)
        kept_BHS = mass_BHL.topk(self.budget.tokens, dim=-1).indices.sort(dim=-1).values
        places = kept_BHS.unsqueeze(-1).expand(*kept_BHS.shape, q_BHTc.shape[-1])
        self.replace(layer, KeysValues(*(t.gather(2, places) for t in held)))


@dataclass(frozen=True, kw_only=True)
class BudgetedSubject(UnderPlan):
    """A network under a plan, drawing with such a cache."""

    budget: Budget

    def nll(self, tokens: TokenSplit, images: int) -> None:
        """None: it would be of a cache that no drawing had."""
        return None

    def sample(self, labels_B: Tensor, **drawing: Any) -> Sample:
        return super().sample(
            labels_B, make_cache=partial(BudgetedCache, budget=self.budget), **drawing
        )

    def cost(self, *, guidance: bool) -> Cost:
        model = self.loaded.model
        how: dict[str, Any] = {"guidance": guidance, "kv_bytes": model.pos_1LC.element_size()}
        return Cost(*budget_cost(model.geometry, self.plan, self.budget, **how))
