"""What a depth plan costs: KV bytes, FLOPs and parameters, from the plan and the geometry alone.

Nothing is run: VAR-d30's table takes milliseconds on a laptop. Formulas are PAPER-level counting
(two FLOPs a multiply-add); rows R are `batch`, doubled with classifier-free guidance.
"""

from dataclasses import dataclass

from varant.model.geometry import Geometry
from varant.model.plan import DepthPlan

# Under half-precision autocast the reference keeps K in float32 (the l2 normalisation promotes
# it) and V in half precision, for every pair that it computes.
REFERENCE_BYTES_PER_KV_PAIR = 6


@dataclass(frozen=True, kw_only=True)
class PlanCost:
    """Cost of generating one batch under a plan.

    Attributes:
        kv_bytes_peak: largest sum of cache buffers alive at once in our sampler; what
            `Sample.kv_bytes_peak` measures.
        kv_bytes_scratch: largest K and V of one attention call (cached context and own scale side
            by side), held beside the cache while that layer runs.
        kv_bytes_reference: the reference's cache: every computed pair, 6 bytes a K and V element.
        kv_bytes_limit: the lower bound of any schedule that frees a pair once its last reader has
            run ("freed per layer").
        flops: transformer FLOPs our way: AdaLN once for each layer used, guidance mixed before
            the head.
        flops_reference: the reference's way: AdaLN at every scale, head on both guidance halves.
        parameters: parameters of the layers that the plan uses, embeddings and head included;
            for the full plan all of the network's.
    """

    kv_bytes_peak: int
    kv_bytes_scratch: int
    kv_bytes_reference: int
    kv_bytes_limit: int
    flops: int
    flops_reference: int
    parameters: int


def plan_cost(
    geometry: Geometry,
    plan: DepthPlan | None = None,
    *,
    batch: int = 1,
    guidance: bool = True,
    kv_bytes: int = 2,
) -> PlanCost:
    """Cost of one generation of `batch` images under `plan` (None: full depth).

    Args:
        plan: for this network, else `UserError`.
        kv_bytes: bytes of one element of K, and of one of V (2 in half precision, 4 in float32).
    """
    plan = plan or DepthPlan.full(geometry.patch_nums, geometry.depth)
    plan.check_fits(geometry.patch_nums, geometry.depth)
    rows = batch * (2 if guidance else 1)
    elements = rows * geometry.width  # of K, and of V, of one token
    pair = 2 * kv_bytes * elements
    steps = [(k, layer) for k, layers in enumerate(plan.layers) for layer in layers]
    computed = sum(plan.tokens[k] for k, _ in steps)
    peak = pair * max(held_tokens(plan))
    return PlanCost(
        kv_bytes_peak=peak,
        kv_bytes_scratch=pair * max(plan.context_tokens(k, layer) for k, layer in steps),
        kv_bytes_reference=REFERENCE_BYTES_PER_KV_PAIR * elements * computed,
        # Our cache frees a layer's pairs right after its last reader, so it attains the limit.
        kv_bytes_limit=peak,
        flops=_flops(geometry, plan, batch=batch, rows=rows, reference=False),
        flops_reference=_flops(geometry, plan, batch=batch, rows=rows, reference=True),
        parameters=parameter_count(geometry, plan),
    )


def held_tokens(plan: DepthPlan) -> tuple[int, ...]:
    """For each scale the largest number of token pairs alive at any of its layers' steps.

    Alive at a step: stored by its end, and read at this step or later. All pairs of a layer have
    the same last reader, so a layer's pairs die together.
    """
    held = [0] * plan.depth
    most = []
    for scale_index, layers in enumerate(plan.layers):
        peak = 0
        for layer in layers:
            if plan.keeps(scale_index, layer):
                held[layer] += plan.tokens[scale_index]
            peak = max(peak, sum(held))
            if plan.last_reader[layer] == scale_index:
                held[layer] = 0
        most.append(peak)
    return tuple(most)


def _flops(geometry: Geometry, plan: DepthPlan, *, batch: int, rows: int, reference: bool) -> int:
    """Transformer FLOPs of one generation (the tokenizer's decoder is not counted).

    A layer at scale k costs R (24 W^2 T_k + 4 W T_k S), with S the tokens it attends to, for an
    MLP ratio of 4: 8 W^2 for the attention's projections and 4 W^2 a unit of the ratio.
    """
    width, total = geometry.width, 0
    for scale_index, (tokens, layers) in enumerate(zip(plan.tokens, plan.layers, strict=True)):
        linear = (8 + 4 * geometry.mlp_ratio) * width**2 * tokens
        for layer in layers:
            attention = 4 * width * tokens * plan.context_tokens(scale_index, layer)
            total += rows * (linear + attention)
        total += 2 * (rows if reference else batch) * width * geometry.vocab_size * tokens
        if scale_index:
            total += 2 * batch * geometry.code_channels * width * tokens
    used = {layer for layers in plan.layers for layer in layers}
    calls = sum(plan.depths) if reference else len(used)  # of AdaLN
    head_calls = len(plan.layers) if reference else 1
    total += rows * 12 * width**2 * (1 if geometry.shared_adaln else calls)
    return total + rows * 4 * width**2 * head_calls


def training_bytes(geometry: Geometry, batch: int) -> int:
    """The least that training takes: weights, gradients and AdamW's two moments in float32, and a
    pass's logits with their gradient. Activations are not counted."""
    logits = batch * geometry.tokens * geometry.vocab_size
    return 4 * (4 * parameter_count(geometry) + 2 * logits)


def parameter_count(geometry: Geometry, plan: DepthPlan | None = None) -> int:
    """Parameters that generation under `plan` reads (None: all of the network's)."""
    width, hidden = geometry.width, geometry.width * geometry.mlp_ratio
    used = geometry.depth if plan is None else len({i for layers in plan.layers for i in layers})
    attention = 3 * width * width + 2 * width + geometry.heads + width * width + width
    mlp = 2 * width * hidden + hidden + width
    adaln = 6 * width * width + 6 * width
    block = attention + mlp + (6 * width if geometry.shared_adaln else adaln)
    vectors = geometry.num_classes + 1 + geometry.scale_tokens[0] + geometry.tokens
    embeddings = width * (vectors + len(geometry.patch_nums) + geometry.code_channels + 1)
    head = 2 * width * width + 2 * width + geometry.vocab_size * (width + 1)
    return used * block + embeddings + head + (adaln if geometry.shared_adaln else 0)
