"""Depth plans and the selectors of layers."""

import itertools
import json

import pytest

from varant import DepthPlan, UserError
from varant.model.plan import equidistant, nested_order, select_layers

PATCH_NUMS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16)


@pytest.mark.parametrize("depth", [1, 2, 3, 8, 16, 30, 36])
def test_equidistant_is_the_paper_s_formula(depth):
    assert select_layers(depth, 1) == (0,)
    for d in range(2, depth + 1):
        expected = tuple((i * (depth - 1)) // (d - 1) for i in range(d))
        assert select_layers(depth, d) == expected
        assert len(set(expected)) == d
        assert expected[0] == 0
        assert expected[-1] == depth - 1


def test_equidistant_subnets_of_30_layers_are_not_nested():
    chosen = {d: set(select_layers(30, d)) for d in (4, 8, 16)}
    assert chosen[4] == {0, 9, 19, 29}
    assert {9, 19}.isdisjoint(chosen[8])
    assert len(chosen[8] - chosen[16]) == 6


@pytest.mark.parametrize("depth", range(1, 37))
def test_nested_subnets_are_nested_for_every_pair_of_depths(depth):
    chosen = [set(select_layers(depth, d, "nested")) for d in range(1, depth + 1)]
    assert all(a < b for a, b in itertools.pairwise(chosen))
    assert [len(c) for c in chosen] == list(range(1, depth + 1))
    assert sorted(nested_order(depth)) == list(range(depth))


def test_nested_links_are_equidistant_choices_of_the_next_larger():
    larger = tuple(range(30))
    for d in (16, 8, 4, 2, 1):
        smaller = tuple(larger[i] for i in equidistant(len(larger), d))
        assert select_layers(30, d, "nested") == smaller
        larger = smaller


def test_first_and_last():
    assert select_layers(30, 3, "first") == (0, 1, 2)
    assert select_layers(30, 3, "last") == (27, 28, 29)


def test_two_zone_runs_everything_up_to_the_switch():
    plan = DepthPlan.two_zone(PATCH_NUMS, 30, subnet_depth=8, switch=6)
    assert plan.layers[:6] == (tuple(range(30)),) * 6
    assert plan.layers[6:] == ((0, 4, 8, 12, 16, 20, 24, 29),) * 4
    assert plan.name == "d8@6"
    assert DepthPlan.two_zone(PATCH_NUMS, 30, subnet_depth=8, switch=10).is_full


@pytest.mark.parametrize("text", ["full", "d8@6", "d1@0", "30,30,20,20,8,8,4,4,2,1"])
def test_names_parse_to_plans_of_that_name(text):
    plan = DepthPlan.parse(text, PATCH_NUMS, 30)
    assert plan.name == text
    assert DepthPlan.parse(plan.name, PATCH_NUMS, 30) == plan


def test_save_and_load(tmp_path):
    plan = DepthPlan.per_scale(PATCH_NUMS, 30, depths=[30] * 9 + [3], selector="last")
    plan.save(tmp_path / "plan.json")
    loaded = DepthPlan.load(tmp_path / "plan.json")
    assert loaded == plan
    assert loaded.digest == plan.digest
    assert DepthPlan.parse(tmp_path / "plan.json", PATCH_NUMS, 30) == plan


def test_digest_is_stable_and_tells_selectors_apart():
    plans = [
        DepthPlan.two_zone(PATCH_NUMS, 30, subnet_depth=8, switch=6, selector=selector)
        for selector in ("equidistant", "nested", "first", "last")
    ]
    assert len({plan.digest for plan in plans}) == 4
    assert plans[0].digest.startswith("4b1f3ca8c1ee1909")


def test_liveness():
    plan = DepthPlan((1, 2, 3), 3, ((0, 1), (0,), (0, 2)))
    assert plan.last_reader == (2, 0, 2)
    kept = [(k, layer) for k in range(3) for layer in range(3) if plan.keeps(k, layer)]
    assert kept == [(0, 0), (1, 0)]
    assert [plan.context_tokens(k, 0) for k in range(3)] == [1, 5, 14]
    assert plan.context_tokens(2, 2) == 9


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("d31@6", "depth 31: the network has 30 layers"),
        ("d0@6", "depth 0: the network has 30 layers"),
        ("d8@11", "switch 11: the network has 10 scales; use 0 to 10"),
        ("d8@-1", "switch -1"),
        ("8,8", "2 depths for 10 scales"),
        ("deep", "use full, d8@6"),
        ("d8@x", "use full, d8@6"),
        ("gone.json", "plan gone.json: No such file"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(UserError, match=message):
        DepthPlan.parse(text, PATCH_NUMS, 30)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "{}",
        '{"format": "other", "version": 1}',
        '{"format": "varant-plan", "version": 9}',
    ],
)
def test_foreign_files(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(UserError, match=r"plan.json: not a varant-plan file of version 1"):
        DepthPlan.load(tmp_path / "plan.json")


def test_a_file_with_impossible_layers_or_for_another_network(tmp_path):
    path = tmp_path / "plan.json"
    DepthPlan.full((1, 2), 4).save(path)
    with pytest.raises(UserError, match="made for depth 4 and scales 1,2"):
        DepthPlan.parse(path, PATCH_NUMS, 30)
    for layers in ([[0, 9], [0]], [[1, 0], [0]], [[], [0]], [[0]]):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"layers": layers}))
        with pytest.raises(UserError, match=r"plan.json"):
            DepthPlan.load(path)


def test_unknown_selector():
    with pytest.raises(UserError, match="selector 'middle': use one of equidistant"):
        select_layers(8, 2, "middle")


@pytest.mark.parametrize("depth", range(2, 37))
def test_each_power_of_two_is_an_equidistant_choice_of_the_next_larger_link(depth):
    larger = tuple(range(depth))
    for d in (32, 16, 8, 4, 2, 1):
        if d < depth:
            larger = tuple(larger[i] for i in equidistant(len(larger), d))
            assert select_layers(depth, d, "nested") == larger


def test_nested_sizes_between_two_links_spread_over_the_depth():
    """Five of eight layers add one to {0, 2, 4, 7}; bit reversal then takes 1, 5, 3, 6."""
    assert nested_order(8) == (0, 7, 2, 4, 1, 5, 3, 6)


@pytest.mark.parametrize("selector", ["nested", "first", "last"])
@pytest.mark.parametrize("text", ["d5@2", "8,8,5,1"])
def test_parse_takes_the_selector(text, selector):
    plan = DepthPlan.parse(text, (1, 2, 3, 4), 8, selector=selector)
    chosen = {"nested": (0, 1, 2, 4, 7), "first": (0, 1, 2, 3, 4), "last": (3, 4, 5, 6, 7)}
    assert plan.layers[2] == chosen[selector]


def test_a_bad_subnet_depth_is_refused_even_where_no_scale_uses_it():
    with pytest.raises(UserError, match="depth 31"):
        DepthPlan.two_zone(PATCH_NUMS, 30, subnet_depth=31, switch=10)
    with pytest.raises(UserError, match="selector 'middle'"):
        DepthPlan.two_zone(PATCH_NUMS, 30, subnet_depth=8, switch=10, selector="middle")


@pytest.mark.parametrize(
    "change",
    [
        {"layers": [[0, 1.5], [0]]},
        {"layers": ["01", "0"]},
        {"layers": None},
        {"layers": [0, 1]},
        {"patch_nums": "12"},
        {"patch_nums": [1.5, 2]},
        {"patch_nums": [0, 2]},
        {"patch_nums": [], "layers": []},
        {"depth": "4"},
        {"depth": 4.5},
        {"depth": True},
    ],
)
def test_files_with_anything_but_whole_numbers(tmp_path, change):
    path = tmp_path / "plan.json"
    DepthPlan.full((1, 2), 4).save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(UserError, match=r"plan.json: not a varant-plan file"):
        DepthPlan.load(path)


def test_truncated_binary_and_absurdly_deep_files(tmp_path):
    path = tmp_path / "plan.json"
    DepthPlan.full((1, 2), 4).save(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:-3], b"", b"\xff\xfe\x00", b"[" * 100_000):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"plan.json: not a varant-plan file"):
            DepthPlan.load(path)
    with pytest.raises(UserError, match="no regular file"):
        DepthPlan.load(tmp_path)
