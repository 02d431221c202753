"""What plans and tokenizers cost by arithmetic, as `study.json` of the efficiency study has it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from analysis.efficiency_file import PlanFacts
from analysis.study_file import PaperCost
from varant.devices import element_bytes
from varant.model.cost import held_tokens, plan_cost
from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

if TYPE_CHECKING:  # torch takes seconds: a study is planned without it
    from varant.model.tokenizer import TokenizerConfig

PAPER_PLANS = ((30, 10), *((d, n) for n in (5, 6, 7) for d in (16, 8, 4, 2)))
"""(depth, switch) of VAR-d30: the published switch point is 6."""


def plan_facts(geometry: Geometry, plan: DepthPlan, precision: str) -> PlanFacts:
    """Of one image with guidance."""
    size, width = element_bytes(precision), geometry.width
    cost = plan_cost(geometry, plan, batch=1, guidance=True, kv_bytes=size)
    pair = 2 * 2 * width * size  # K and V of both halves of guidance
    steps = [(k, layer) for k, layers in enumerate(plan.layers) for layer in layers]
    computed = sum(plan.tokens[k] for k, _ in steps)
    read = sum(plan.context_tokens(k, layer) for k, layer in steps)
    block = (4 + 2 * geometry.mlp_ratio) * width**2
    once = 6 * width**2 * (1 if geometry.shared_adaln else len({layer for _, layer in steps}))
    head = geometry.vocab_size * width * len(plan.layers)
    return PlanFacts(
        layers=plan.layers,
        kv_bytes=cost.kv_bytes_peak,
        # K in float32, V in the study's type.
        kv_bytes_reference=computed * 2 * width * (element_bytes("float32") + size),
        kv_course=tuple(pair * tokens for tokens in held_tokens(plan)),
        flops=cost.flops,
        flops_reference=cost.flops_reference,
        traffic_bytes=size * (block * len(steps) + once + head),
        kv_traffic_bytes=pair * (computed + read),
    )


@functools.cache
def tokenizer_flops(config: TokenizerConfig) -> tuple[int, int]:
    """Of decoding and of encoding one image."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from varant.model.tokenizer import Tokenizer

    with torch.device("meta"), torch.inference_mode():
        tokenizer = Tokenizer(config)
        side = config.image_side
        image = torch.empty(1, 3, side, side)
        codes = torch.empty(1, config.code_channels, config.patch_nums[-1] ** 2)
    found = []
    for work, given in ((tokenizer.decode_features, codes), (tokenizer.encode_features, image)):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            work(given)
        found.append(int(counter.get_total_flops()))
    return found[0], found[1]


def paper_cost() -> dict[str, PaperCost]:
    """What plans of VAR-d30 cost at batch 64 with guidance, by arithmetic (PAPER's cost table)."""
    geometry = Geometry.official(30)
    full = plan_cost(geometry, batch=64, guidance=True, kv_bytes=2)
    found = {}
    for depth, switch in PAPER_PLANS:
        plan = DepthPlan.two_zone(geometry.patch_nums, 30, subnet_depth=depth, switch=switch)
        cost = plan_cost(geometry, plan, batch=64, guidance=True, kv_bytes=2)
        found[plan.name] = PaperCost(
            kv_mib_reference=cost.kv_bytes_reference / 2**20,
            kv_mib_limit=cost.kv_bytes_limit / 2**20,
            flops_share=cost.flops / full.flops,
        )
    return found
