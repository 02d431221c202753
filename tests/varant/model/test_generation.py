"""Generation equals the teacher-forced pass, frees what is dead, and pairs its random numbers."""

import copy
import itertools

import numpy as np
import pytest
import torch
from scipy import stats
from small_networks import small_geometry, small_tokenizer

import varant
from varant import DepthPlan, UserError
from varant.model import sampling
from varant.model.cache import KVCache
from varant.model.sampling import draw_tokens, filter_logits, image_uniforms

PATCH_NUMS, DEPTH = (1, 2, 3, 4), 6
PLANS = {
    "full": DepthPlan.full(PATCH_NUMS, DEPTH),
    "d3@2": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=3, switch=2),
    "d2@0": DepthPlan.two_zone(PATCH_NUMS, DEPTH, subnet_depth=2, switch=0),
    "non-monotone": DepthPlan.per_scale(PATCH_NUMS, DEPTH, depths=(6, 1, 5, 2)),
    "in turns": DepthPlan(PATCH_NUMS, DEPTH, ((0, 2, 4), (1, 3, 5), (0, 5), (2, 3))),
}
LABELS = torch.tensor([0, 1, 2, 3, 0, 1, 2])


@pytest.fixture(scope="module")
def pair():
    """A tokenizer and network in float64: rounding then never decides a token."""
    torch.manual_seed(3)
    geometry = small_geometry(PATCH_NUMS, 23, depth=DEPTH, num_classes=4)
    config = small_tokenizer(PATCH_NUMS, 23, phis=2)
    model, tokenizer = varant.VAR(geometry).double(), varant.Tokenizer(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape) * 0.25)
    return tokenizer, model


def draw(pair, **options):
    tokenizer, model = pair
    defaults = {"cfg": 1.5, "top_k": 0, "top_p": 0.0, "seed": 11}
    return varant.generate(model, tokenizer, LABELS, **(defaults | options))


@pytest.mark.parametrize("options", [{"top_k": 1}, {}, {"top_k": 9, "top_p": 0.8}, {"cfg": 0.0}])
@pytest.mark.parametrize("name", PLANS)
@torch.no_grad()
def test_generation_equals_the_teacher_forced_pass(pair, name, options):
    tokenizer, model = pair
    sample = draw(pair, plan=PLANS[name], **options)
    options = {"cfg": 1.5, "top_k": 0, "top_p": 0.0} | options
    inputs = tokenizer.teacher_inputs(sample.tokens)
    conditional = model(inputs, LABELS, PLANS[name])
    unconditional = model(inputs, torch.full_like(LABELS, 4), PLANS[name])
    start = 0
    for k, p in enumerate(PATCH_NUMS):
        rows = slice(start, start + p * p)
        t = options["cfg"] * k / (len(PATCH_NUMS) - 1)
        logits = (1 + t) * conditional[:, rows] - t * unconditional[:, rows]
        logits = filter_logits(logits.float(), top_k=options["top_k"], top_p=options["top_p"])
        uniforms = torch.from_numpy(image_uniforms(11, range(len(LABELS)), k, p * p))
        assert torch.equal(draw_tokens(logits, uniforms), sample.tokens[:, rows]), f"scale {k + 1}"
        start = rows.stop
    images = (tokenizer.decode(sample.tokens).float() + 1) / 2
    torch.testing.assert_close(sample.images, images)


def random_plans(count: int):
    rng = np.random.default_rng(5)
    for _ in range(count):
        layers = [
            tuple(sorted(rng.choice(DEPTH, size=rng.integers(1, DEPTH + 1), replace=False)))
            for _ in PATCH_NUMS
        ]
        yield DepthPlan(PATCH_NUMS, DEPTH, tuple(tuple(map(int, scale)) for scale in layers))


@pytest.mark.parametrize("cfg", [0.0, 1.5])
def test_measured_cache_is_the_analytic_one(pair, cfg):
    for plan in itertools.chain(PLANS.values(), random_plans(20)):
        cost = varant.plan_cost(
            pair[1].geometry, plan, batch=len(LABELS), guidance=cfg != 0, kv_bytes=8
        )
        assert draw(pair, plan=plan, cfg=cfg).kv_bytes_peak == cost.kv_bytes_peak
        assert cost.kv_bytes_limit <= cost.kv_bytes_peak


def test_the_last_scale_is_never_stored(pair):
    kept_tokens = sum(p * p for p in PATCH_NUMS[:-1]) * DEPTH
    assert draw(pair, cfg=0.0).kv_bytes_peak == len(LABELS) * kept_tokens * 32 * 2 * 8


@pytest.mark.parametrize("top_k", [0, 1])
def test_batch_size_and_order_change_no_image(pair, top_k):
    tokenizer, model = pair
    together = draw(pair, top_k=top_k)
    for order in ([3], [6, 0, 2], [5, 4, 3, 2, 1, 0]):
        alone = varant.generate(
            model,
            tokenizer,
            LABELS[order],
            cfg=1.5,
            top_k=top_k,
            top_p=0.0,
            seed=11,
            image_indices=order,
        )
        assert torch.equal(alone.tokens, together.tokens[order])


def test_the_cache_is_in_the_compute_type_under_autocast():
    """l2 normalisation promotes K to float32; the cache must hold it in half precision."""
    torch.manual_seed(0)
    geometry = small_geometry(PATCH_NUMS, 23, depth=DEPTH, num_classes=4)
    config = small_tokenizer(PATCH_NUMS, 23)
    model, tokenizer = varant.VAR(geometry), varant.Tokenizer(config).eval()
    for name in ("full", "d3@2"):
        plan = PLANS[name]
        with torch.autocast("cpu", dtype=torch.bfloat16):
            sample = varant.generate(model, tokenizer, LABELS, plan=plan, seed=0)
        cost = varant.plan_cost(geometry, plan, batch=len(LABELS), kv_bytes=2)
        assert sample.kv_bytes_peak == cost.kv_bytes_peak
        assert sample.images.dtype == torch.float32


def test_parts_of_a_batch_by_bytes_change_nothing(pair, monkeypatch):
    whole, parts = draw(pair, top_k=9, top_p=0.8), []
    monkeypatch.setattr(sampling, "LEAST_ROOM", 1)
    monkeypatch.setattr(sampling, "DRAWING_BYTES", 1000)  # an image as large as at 256 pixels
    split = draw(pair, top_k=9, top_p=0.8, watch=lambda stage, k: parts.append((stage, k)))
    assert parts.count(("head", 3)) > 1
    assert torch.equal(whole.tokens, split.tokens)
    torch.testing.assert_close(whole.images, split.images)
    assert whole.images.min() >= 0
    assert whole.images.max() <= 1


def test_stages_are_told_as_they_begin(pair):
    told = []
    draw(pair, watch=lambda *stage: told.append(stage))
    scales = [(name, k) for k in range(4) for name in ("blocks", "head", "sampling", "map")]
    assert told == [("condition", 0), *scales, ("decode", 3), ("end", 3)]


def test_uniforms_are_a_function_of_seed_image_and_scale():
    whole = image_uniforms(7, range(50), 2, 9)
    assert np.array_equal(image_uniforms(7, [31, 4, 4, 49], 2, 9), whole[[31, 4, 4, 49]])
    assert np.array_equal(image_uniforms(7, range(20, 30), 2, 9), whole[20:30])
    assert whole.min() >= 0
    assert whole.max() < 1
    for other in (image_uniforms(8, range(50), 2, 9), image_uniforms(7, range(50), 3, 9)):
        assert abs(np.corrcoef(whole.ravel(), other.ravel())[0, 1]) < 0.2
        assert not (whole == other).any()
    assert np.unique(whole).size == whole.size
    many = image_uniforms(0, range(2_000), 1, 4)
    assert abs(many.mean() - 0.5) < 0.02
    assert abs(many.var() - 1 / 12) < 0.005


def test_filters_against_the_definition():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(50, 12, generator=generator)
    for top_k, top_p in ((3, 0.0), (0, 0.7), (5, 0.5), (100, 0.0), (0, 1.0)):
        found = filter_logits(logits, top_k=top_k, top_p=top_p)
        for row, kept in zip(logits.tolist(), (found > -torch.inf).tolist(), strict=True):
            order = sorted(range(12), key=lambda i: -row[i])
            if top_k:
                order = order[:top_k]
            if top_p:
                weights = np.exp([row[i] for i in order])
                below = np.cumsum(weights / weights.sum()) - weights / weights.sum()
                order = [i for i, mass in zip(order, below, strict=True) if mass < top_p]
            assert {i for i in range(12) if kept[i]} == set(order)
    assert torch.equal(filter_logits(logits, top_k=0, top_p=0.0), logits)


def test_draws_follow_the_probabilities_and_never_take_a_filtered_code():
    logits = torch.tensor([-torch.inf, 0.0, 1.0, -torch.inf, -1.0, -torch.inf])
    ends = torch.tensor([0.0, 1 - 2**-53])
    assert draw_tokens(logits.expand(1, 2, 6), ends[None].double()).tolist() == [[1, 4]]
    uniforms = torch.from_numpy(image_uniforms(1, range(1), 0, 40_000))
    drawn = draw_tokens(logits.expand(1, 40_000, 6), uniforms)
    frequencies = torch.bincount(drawn[0], minlength=6) / 40_000
    torch.testing.assert_close(frequencies, logits.softmax(0), atol=0.01, rtol=0)


def test_a_plan_may_be_text_or_a_file(pair, tmp_path):
    PLANS["d3@2"].save(tmp_path / "plan.json")
    for plan in ("d3@2", tmp_path / "plan.json", str(tmp_path / "plan.json")):
        assert torch.equal(draw(pair, plan=plan).tokens, draw(pair, plan=PLANS["d3@2"]).tokens)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": -1}, "seed -1"),
        ({"top_k": -2}, "top_k -2"),
        ({"top_p": 1.5}, "top_p 1.5"),
        ({"cfg": float("inf")}, "cfg inf"),
        ({"plan": "d9@2"}, "depth 9"),
        ({"plan": DepthPlan.full(PATCH_NUMS, 5)}, "made for depth 5"),
        ({"image_indices": [1, 2]}, "2 image_indices for 7 labels"),
        ({"image_indices": [-1, 0, 1, 2, 3, 4, 5]}, "image_indices"),
    ],
)
def test_bad_arguments(pair, options, message):
    with pytest.raises(UserError, match=message):
        draw(pair, **options)


def test_bad_labels_and_foreign_tokenizers(pair):
    tokenizer, model = pair
    for labels in (torch.tensor([5]), torch.tensor([-1]), torch.zeros(0, dtype=torch.long)):
        with pytest.raises(UserError, match="labels"):
            varant.generate(model, tokenizer, labels)
    config = varant.TokenizerConfig(
        patch_nums=PATCH_NUMS, vocab_size=99, code_channels=4, backbone="light", channels=8
    )
    with pytest.raises(UserError, match="99 codes"):
        varant.generate(model, varant.Tokenizer(config).double(), LABELS)


def test_measured_cache_in_float32(pair):
    tokenizer, model = pair
    model, tokenizer = copy.deepcopy(model).float(), copy.deepcopy(tokenizer).float()
    for plan in PLANS.values():
        sample = varant.generate(model, tokenizer, LABELS, plan=plan)
        cost = varant.plan_cost(model.geometry, plan, batch=len(LABELS), kv_bytes=4)
        assert sample.kv_bytes_peak == cost.kv_bytes_peak


@pytest.mark.parametrize("name", PLANS)
def test_the_cache_holds_its_own_memory_and_nothing_at_the_end(pair, name, monkeypatch):
    """No stored tensor is a view of a larger one, and every pair is gone after the last scale."""
    caches = []

    class Watched(KVCache):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            caches.append(self)

        def extend(self, *args):
            context = super().extend(*args)
            stored = [t for chunks in self._chunks.values() for chunk in chunks for t in chunk]
            assert sum(t.untyped_storage().nbytes() for t in stored) == self.bytes_held
            return context

    monkeypatch.setattr(sampling, "KVCache", Watched)
    draw(pair, plan=PLANS[name])
    assert caches[0].bytes_held == 0
    assert not any(caches[0]._chunks.values())


def test_the_peak_is_the_largest_moment_and_not_the_last(pair):
    plan = DepthPlan(PATCH_NUMS, DEPTH, ((0, 1, 2, 3, 4, 5),) * 3 + ((0,),))
    tokens = (1 + 4) * DEPTH + 9  # layers 1 to 5 are read for the last time at the third scale
    assert draw(pair, plan=plan, cfg=0.0).kv_bytes_peak == len(LABELS) * tokens * 32 * 2 * 8
    # Layer 5 stores nine tokens after the layers below it were freed: fewer than before.
    plan = DepthPlan(PATCH_NUMS, DEPTH, ((0, 1, 2, 3, 4, 5),) * 3 + ((5,),))
    tokens = (1 + 4) * DEPTH
    assert draw(pair, plan=plan, cfg=0.0).kv_bytes_peak == len(LABELS) * tokens * 32 * 2 * 8


def test_uniforms_are_uniform_and_unrelated_across_seeds_scales_and_images():
    draws = {
        (seed, k): image_uniforms(seed, range(400), k, 16) for seed in (0, 1, 2) for k in (0, 1, 2)
    }
    for values in draws.values():
        assert stats.kstest(values.ravel(), "uniform").pvalue > 1e-4
        across_images = np.corrcoef(values[:-1].ravel(), values[1:].ravel())[0, 1]
        across_tokens = np.corrcoef(values[:, :-1].ravel(), values[:, 1:].ravel())[0, 1]
        assert max(abs(across_images), abs(across_tokens)) < 5 / np.sqrt(values.size)
    for a, b in itertools.combinations(draws.values(), 2):
        assert abs(np.corrcoef(a.ravel(), b.ravel())[0, 1]) < 5 / np.sqrt(a.size)
    # Nothing is drawn twice, whatever the scale, seed or image.
    everything = np.concatenate([values.ravel() for values in draws.values()])
    assert np.unique(everything).size == everything.size


@pytest.mark.parametrize("tokens", [1, 3, 4, 5, 9])
def test_images_never_share_uniforms(tokens):
    values = image_uniforms(3, range(200), 1, tokens)
    assert np.unique(values).size == values.size


def test_uniforms_are_pinned():
    """Samples of a seed must not change with a version: reports quote them."""
    found = image_uniforms(0, [0, 5], 2, 2)
    np.testing.assert_array_equal(
        found, [[0.8144335776159864, 0.4396808049627232], [0.7736991886971674, 0.9335839418268094]]
    )


def test_ends_of_the_unit_interval_draw_codes_that_exist():
    """Uniforms at and next to the ends, over logits of any shape, and codes never filtered."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, 300, 37, generator=generator) * 8
    filtered = filter_logits(logits, top_k=5, top_p=0.9)
    for end in (0.0, 5e-324, 2**-53, 1 - 2**-53, 1 - 2**-52):
        drawn = draw_tokens(filtered, torch.full((4, 300), end, dtype=torch.float64))
        assert drawn.min() >= 0
        assert drawn.max() < 37
        assert (filtered.gather(-1, drawn.unsqueeze(-1)) > -torch.inf).all(), end


def test_top_p_keeps_the_smallest_set_that_reaches_it_and_never_nothing():
    equal = torch.zeros(4)  # a quarter each, exactly
    for top_p, kept in ((0.25, 1), (0.5, 2), (0.75, 3), (1.0, 4), (0.51, 3)):
        assert int((filter_logits(equal, top_k=0, top_p=top_p) > -torch.inf).sum()) == kept
    logits = torch.tensor([0.0, 3.0, 1.0])
    found = filter_logits(logits, top_k=0, top_p=1e-9)
    assert found.tolist() == [-torch.inf, 3.0, -torch.inf]


def test_codes_that_tie_with_the_kth_stay_or_go_with_it():
    """Logits of a few values, as half precision makes them, against the definition."""
    logits = torch.randint(-2, 3, (200, 40), generator=torch.Generator().manual_seed(0)).float()
    for top_k, top_p in ((7, 0.0), (7, 0.9), (20, 0.7), (39, 0.5), (3, 1.0)):
        kept_NV = filter_logits(logits, top_k=top_k, top_p=top_p) > -torch.inf
        for row, kept in zip(logits, kept_NV, strict=True):
            least = row.sort(descending=True).values[top_k - 1]
            among = row >= least
            assert not (kept & ~among).any()
            if not top_p:
                assert torch.equal(kept, among)
                continue
            mass = row.masked_fill(~among, -torch.inf).softmax(0)
            assert mass[kept].sum() > top_p - 1e-6
            if kept[row == least].all():  # the smallest set, but for its last group of ties
                assert mass[kept & (row > least)].sum() < top_p + 1e-6
            else:
                assert mass[kept].sum() - mass[kept].min() < top_p + 1e-6


def test_probabilities_are_inverted_in_float64():
    """Half of a large vocabulary has so little mass that float32 sums would lose it."""
    logits = torch.cat([torch.zeros(1), torch.full((4095,), -18.0)])
    weights = logits.double().exp()
    below = (weights.cumsum(0) - 0.5 * weights) / weights.sum()
    drawn = draw_tokens(logits.expand(1, 4096, 4096), below[None])
    assert torch.equal(drawn[0], torch.arange(4096))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": 2**64}, "seed 18446744073709551616"),
        ({"top_p": -0.1}, "top_p -0.1"),
        ({"top_p": float("nan")}, "top_p nan"),
        ({"cfg": float("nan")}, "cfg nan"),
        ({"plan": "d3@9"}, "switch 9"),
        ({"plan": "nowhere.json"}, "nowhere.json"),
        ({"plan": DepthPlan.full((1, 2, 3), DEPTH)}, "scales 1,2,3"),
    ],
)
def test_more_bad_arguments(pair, options, message):
    with pytest.raises(UserError, match=message) as error:
        draw(pair, **options)
    assert "\n" not in str(error.value)


def test_tokenizers_and_labels_of_another_kind(pair):
    tokenizer, model = pair
    sizes = {"patch_nums": PATCH_NUMS, "vocab_size": 23, "code_channels": 4}
    for change, message in (
        ({"patch_nums": (1, 2, 3, 5)}, r"scales \(1, 2, 3, 5\)"),
        ({"code_channels": 5}, "codes of 5 channels: the network takes 4"),
    ):
        config = varant.TokenizerConfig(**(sizes | change), backbone="light", channels=8)
        with pytest.raises(UserError, match=message):
            varant.generate(model, varant.Tokenizer(config).double(), LABELS)
    for labels in (LABELS.double(), LABELS[None]):
        with pytest.raises(UserError, match="labels of"):
            varant.generate(model, tokenizer, labels)
    unconditional = torch.full_like(LABELS, model.num_classes)
    assert varant.generate(model, tokenizer, unconditional).tokens.shape == (len(LABELS), 30)


def test_compiling_asks_for_a_torch_that_can_be_held_to_it(pair, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda model, dynamic=None: model)
    with pytest.raises(UserError, match=r"compile_layers: needs torch 2\.13 or newer"):
        pair[1].compile_layers()


def test_compiled_layers_serve_every_plan_and_no_unstated_batch(pair):
    tokenizer, model = copy.deepcopy(pair)
    torch._dynamo.utils.counters.clear()
    model.compile_layers(backend="eager")
    for name in [*PLANS, *PLANS]:
        sample = draw((tokenizer, model), plan=PLANS[name])
        assert torch.equal(sample.tokens, draw(pair, plan=PLANS[name]).tokens), name
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2 * len(PATCH_NUMS)
    with pytest.raises(torch._dynamo.exc.FailOnRecompileLimitHit):
        varant.generate(model, tokenizer, LABELS[:3], plan="full")
