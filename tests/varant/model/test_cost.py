"""The cost of a plan: published counts, and a brute-force replay of the cache."""

import itertools

import numpy as np
import pytest
import reference
import torch
from small_networks import small_geometry
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import varant
from varant import VAR, DepthPlan, Geometry, UserError, plan_cost
from varant.model.cache import KVCache
from varant.model.cost import parameter_count

MIB = 2**20
D30 = Geometry.official(30)

# VAR-d30, batch 64 with guidance: KV in MiB (reference style, plan-sized buffers, freed per scale,
# freed per layer), reference FLOPs over full, our FLOPs over full (None where not published).
TABLE = {
    "full": (28_688, 11_925, 11_925, 11_925, 1.0, 1.0),
    "d16@6": (17_092, 7_082, 6_360, 6_360, 0.598, 0.595),
    "d8@6": (10_465, 4_314, 3_180, 3_180, 0.368, 0.364),
    "d4@6": (7_152, 2_931, 1_682, 1_590, 0.253, 0.249),
    "d2@6": (5_496, 2_239, 1_614, 1_581, 0.195, 0.191),
    "d16@7": (18_352, 7_554, 6_360, 6_360, 0.640, None),
    "d8@7": (12_445, 5_057, 3_180, 3_180, 0.435, None),
    "d4@7": (9_492, 3_808, 2_799, 2_619, 0.332, None),
    "d2@7": (8_016, 3_184, 2_679, 2_619, 0.281, None),
}


@pytest.mark.parametrize("name", TABLE)
def test_table_of_var_d30(name):
    cost = plan_cost(D30, DepthPlan.parse(name, D30.patch_nums, 30), batch=64)
    full = plan_cost(D30, batch=64)
    reference_style, planned, per_scale, per_layer, reference_flops, flops = TABLE[name]
    found = (
        cost.kv_bytes_reference,
        cost.kv_bytes_planned,
        cost.kv_bytes_freed_per_scale,
        cost.kv_bytes_limit,
    )
    for actual, published in zip(
        found, (reference_style, planned, per_scale, per_layer), strict=True
    ):
        assert abs(actual / MIB - published) <= 1
    assert cost.kv_bytes_peak == cost.kv_bytes_limit
    assert abs(cost.flops_reference / full.flops_reference - reference_flops) <= 0.002
    if flops is not None:
        assert abs(cost.flops / full.flops - flops) <= 0.002


def test_totals_of_var_d30():
    full = plan_cost(D30, batch=64)
    assert abs(full.flops_reference / 1e12 - 242.56) < 0.01
    assert abs(full.flops / 1e12 - 240.33) < 0.01
    half_precision = full.kv_bytes_reference * 4 / 6
    assert abs(half_precision / MIB - 19_125) <= 1
    # One layer's K and V of all 680 tokens.
    assert full.kv_bytes_scratch == half_precision / 30


@pytest.mark.parametrize("depth", [16, 20, 24, 30, 36])
def test_parameters_of_the_published_checkpoints(depth):
    keys = reference.keys(f"official_var_d{depth}_keys.txt")
    expected = sum(int(np.prod(key.shape)) for key in keys if key.is_parameter)
    assert plan_cost(Geometry.official(depth)).parameters == expected


@pytest.mark.parametrize("shared", [False, True])
def test_parameters_are_the_module_s(shared):
    geometry = Geometry(
        depth=3,
        width=12,
        heads=2,
        patch_nums=(1, 2),
        vocab_size=7,
        code_channels=5,
        num_classes=4,
        mlp_ratio=3,
        shared_adaln=shared,
    )
    assert parameter_count(geometry) == sum(p.numel() for p in VAR(geometry).parameters())
    plan = DepthPlan((1, 2), 3, ((0, 2), (0,)))
    block = sum(p.numel() for p in VAR(geometry).blocks[0].parameters())
    assert plan_cost(geometry, plan).parameters == parameter_count(geometry) - block


def replayed_peak(plan: DepthPlan) -> int:
    """Most tokens of K held at once, by keeping every pair and dropping those nobody reads."""
    steps = [(k, layer) for k, layers in enumerate(plan.layers) for layer in layers]
    peak = 0
    for now in range(len(steps)):
        alive = 0
        for then, (k, layer) in enumerate(steps[: now + 1]):
            later = [i for i, (j, other) in enumerate(steps) if other == layer and j > k]
            if later and later[-1] >= now and then <= now:
                alive += plan.patch_nums[k] ** 2
        peak = max(peak, alive)
    return peak


def test_peak_against_a_replay():
    rng = np.random.default_rng(0)
    geometry = Geometry(
        depth=5,
        width=8,
        heads=1,
        patch_nums=(1, 2, 3, 5),
        vocab_size=3,
        code_channels=2,
        num_classes=2,
    )
    for _ in range(200):
        layers = tuple(
            tuple(sorted(map(int, rng.choice(5, size=rng.integers(1, 6), replace=False))))
            for _ in range(4)
        )
        plan = DepthPlan((1, 2, 3, 5), 5, layers)
        cost = plan_cost(geometry, plan, batch=1, guidance=False, kv_bytes=1)
        assert cost.kv_bytes_peak == 2 * 8 * replayed_peak(plan)
        assert cost.kv_bytes_limit <= cost.kv_bytes_freed_per_scale <= cost.kv_bytes_planned


def test_rows_and_bytes_scale_the_cache():
    one = plan_cost(D30, batch=1, guidance=False, kv_bytes=1)
    for batch, guidance, kv_bytes in itertools.product((1, 3), (False, True), (1, 2, 4)):
        cost = plan_cost(D30, batch=batch, guidance=guidance, kv_bytes=kv_bytes)
        rows = batch * (1 + guidance)
        assert cost.kv_bytes_peak == one.kv_bytes_peak * rows * kv_bytes
        assert cost.kv_bytes_reference == one.kv_bytes_reference * rows


def test_a_plan_for_another_network_is_refused():
    with pytest.raises(UserError, match="made for depth 4"):
        plan_cost(D30, DepthPlan.full(D30.patch_nums, 4))
    with pytest.raises(UserError, match="depth 12: the published VAR depths are 16"):
        Geometry.official(12)


@pytest.mark.parametrize("case", ["tiny", "shared_adaln", "ten_scales"])
def test_parameters_of_the_golden_cases(case, tmp_path):
    _, model = varant.load_official(
        **dict(zip(("vae", "var"), reference.official_files(case, tmp_path), strict=True))
    )
    listed = reference.keys(f"{case}_var_keys.txt")
    expected = sum(int(np.prod(key.shape)) for key in listed if key.is_parameter)
    assert plan_cost(model.geometry).parameters == expected
    assert expected == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("guidance", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("first_side", [1, 2])
def test_flops_are_those_that_a_generation_runs(first_side, shared, guidance):
    """Every matrix product of a real generation, counted by torch, for plans of all kinds.

    The counter knows attention only as plain products, so that kernel is chosen.
    """
    sides = (first_side, 3, 4)
    geometry = Geometry(
        depth=4,
        width=12,
        heads=2,
        patch_nums=sides,
        vocab_size=7,
        code_channels=5,
        num_classes=4,
        mlp_ratio=3,
        shared_adaln=shared,
    )
    model = VAR(geometry)
    labels = torch.tensor([0, 1, 2])
    rows = labels.repeat(2) if guidance else labels
    for layers in (
        ((0, 1, 2, 3),) * 3,
        ((0, 1, 2, 3), (0, 3), (0, 3)),
        ((1,), (0, 1), (1, 3)),
        ((0,), (3,), (0,)),
    ):
        plan = DepthPlan(sides, 4, layers)
        cost = plan_cost(geometry, plan, batch=3, guidance=guidance)
        with (
            torch.no_grad(),
            sdpa_kernel(SDPBackend.MATH),
            FlopCounterMode(display=False) as counter,
        ):
            condition = model.condition(rows, plan)
            cache = KVCache(plan)
            for k, side in enumerate(sides):
                codes = None if k == 0 else torch.zeros(len(rows), side * side, 5)
                hidden = model.run_scale(k, codes, condition, plan, cache)
                model.head(model.head_input(hidden, condition)[:3])
        # `word_embed` is counted once an image (its two guidance halves are equal).
        embedded = sum(2 * 5 * 12 * side**2 for side in sides[1:])
        assert counter.get_total_flops() - embedded * (len(rows) - 3) == cost.flops
        again = adaln_flops(plan, shared, len(rows), 12)
        head_again = (len(rows) - 3) * 2 * 12 * 7 * geometry.tokens
        assert cost.flops_reference == cost.flops + again + head_again
        assert cost.kv_bytes_scratch == 2 * 2 * len(rows) * 12 * max(
            sum(sides[j] ** 2 for j in range(k + 1) if layer in layers[j])
            for k in range(3)
            for layer in layers[k]
        )


def adaln_flops(plan: DepthPlan, shared: bool, rows: int, width: int) -> int:
    """What the reference spends beyond us: AdaLN again at each scale, in blocks and head."""
    used = len({layer for layers in plan.layers for layer in layers})
    blocks = 0 if shared else sum(plan.depths) - used
    return rows * width**2 * (12 * blocks + 4 * (len(plan.layers) - 1))


def test_parameters_of_a_first_map_of_several_tokens():
    geometry = small_geometry((2, 3), 7, depth=2, width=12, num_classes=4, code_channels=5)
    assert parameter_count(geometry) == sum(p.numel() for p in VAR(geometry).parameters())
