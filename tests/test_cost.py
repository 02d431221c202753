"""The cost of a plan: published counts, and a brute-force replay of the cache."""

import itertools

import numpy as np
import pytest
import reference

from varant import VAR, DepthPlan, Geometry, UserError, plan_cost
from varant.cost import parameter_count

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
        depth=3, width=12, heads=2, patch_nums=(1, 2), vocab_size=7, code_channels=5,
        num_classes=4, mlp_ratio=3, shared_adaln=shared,
    )  # fmt: skip
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
        depth=5, width=8, heads=1, patch_nums=(1, 2, 3, 5), vocab_size=3, code_channels=2,
        num_classes=2,
    )  # fmt: skip
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
