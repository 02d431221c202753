"""What an image costs that one network begins and another ends, by the study's own counting."""

from dataclasses import replace

from varant.model.cost import plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan


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
