"""What an image costs in rivals' ways, by the study's own counting."""

from dataclasses import dataclass, replace

from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Pairs that a head of a layer keeps.

    Attributes:
        tokens: that the pairs are of, at most.
        first: scale (0-based) after which pairs are chosen first.
    """

    tokens: int
    first: int


def budget_cost(
    geometry: Geometry, plan: DepthPlan, budget: Budget, *, guidance: bool = True, kv_bytes: int = 4
) -> tuple[int, int]:
    """KV bytes and FLOPs of an image, as `plan_cost` counts them without a budget."""
    held, peak, saved = [0] * plan.depth, 0, 0
    for k, layers in enumerate(plan.layers):
        for layer in layers:
            seen = held[layer] + plan.tokens[k]
            product = 2 * geometry.width * plan.tokens[k]  # of queries and keys, a key
            saved += 2 * product * (plan.context_tokens(k, layer) - seen)
            if plan.keeps(k, layer):
                held[layer] = seen
                peak = max(peak, sum(held))
                if k >= budget.first and seen > budget.tokens:
                    saved -= product * seen
                    held[layer] = budget.tokens
            elif plan.last_reader[layer] == k:
                held[layer] = 0
    rows = 2 if guidance else 1
    flops = plan_cost(geometry, plan, guidance=guidance).flops - rows * saved
    return rows * 2 * kv_bytes * geometry.width * peak, flops


def handover_cost(
    geometry: Geometry,
    drafts: DepthPlan,
    refines: DepthPlan,
    switch: int,
    *,
    guidance: bool,
    kv_bytes: int = 4,
) -> tuple[int, int]:
    """KV bytes and FLOPs of an image whose first `switch` scales are drawn under `drafts` and the
    others, by another network of the same sizes, under `refines`."""
    begun = replace(geometry, patch_nums=geometry.patch_nums[:switch])
    drafter = plan_cost(begun, drafts.begun(switch), guidance=guidance, kv_bytes=kv_bytes)
    refiner = plan_cost(geometry, refines, guidance=guidance, kv_bytes=kv_bytes)
    unused = 2 * geometry.width * geometry.vocab_size * sum(refines.tokens[:switch])  # its head
    kv = max(drafter.kv_bytes_peak, refiner.kv_bytes_peak)
    return kv, drafter.flops + refiner.flops - unused
