"""The multi-scale tokenizer against plain code, and its training."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from varant import Tokenizer, TokenizerConfig, UserError
from varant.data import shapes
from varant.data.datasets import ArraySplit
from varant.model.tokenizer import Phis
from varant.training.tokenizer import (
    Codebook,
    TokenizerTraining,
    reconstruction_psnr,
    train_tokenizer,
)

PATCH_NUMS = (1, 2, 3, 5)


def light(phis: int = 4, patch_nums=PATCH_NUMS) -> Tokenizer:
    torch.manual_seed(0)
    config = TokenizerConfig(
        patch_nums=patch_nums,
        vocab_size=31,
        code_channels=6,
        backbone="light",
        channels=12,
        phis=phis,
    )
    return Tokenizer(config).eval()


def phi(tokenizer: Tokenizer, maps, scale_index: int):
    """phi of a scale by the rule of the paper's code, with NumPy."""
    convs = tokenizer.quantize.quant_resi.qresi_ls
    if not len(convs):
        return maps
    margin = 1 / (3 if len(convs) == 4 else 2) / len(convs)
    ticks = np.linspace(margin, 1 - margin, len(convs))
    place = scale_index / (len(tokenizer.patch_nums) - 1)
    return 0.5 * maps + 0.5 * convs[int(np.argmin(np.abs(ticks - place)))](maps)


@pytest.mark.parametrize("phis", [0, 1, 3, 4])
@torch.no_grad()
def test_teacher_inputs_and_decode_against_interpolate(phis):
    tokenizer = light(phis)
    side = PATCH_NUMS[-1]
    tokens = torch.randint(0, 31, (2, sum(p * p for p in PATCH_NUMS)))
    starts = [0, *itertools.accumulate(p * p for p in PATCH_NUMS)]
    total, parts = 0, []
    for k, p in enumerate(PATCH_NUMS):
        codes = tokenizer.quantize.embedding(tokens[:, starts[k] : starts[k + 1]])
        maps = codes.transpose(1, 2).reshape(2, 6, p, p)
        if p != side:
            maps = F.interpolate(maps, size=(side, side), mode="bicubic")
        total = total + phi(tokenizer, maps, k)
        if k + 1 < len(PATCH_NUMS):
            following = F.interpolate(total, size=(PATCH_NUMS[k + 1],) * 2, mode="area")
            parts.append(following.flatten(2).transpose(1, 2))
    expected = torch.cat(parts, dim=1)
    found = tokenizer.teacher_inputs(tokens)
    assert found.shape == (2, starts[-1] - 1, 6)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    images = tokenizer.decoder(tokenizer.post_quant_conv(total)).clamp(-1, 1)
    torch.testing.assert_close(tokenizer.decode(tokens), images, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_encode_snaps_the_residual_to_the_nearest_code():
    tokenizer = light().double()
    images = torch.rand(3, 3, 20, 20).double() * 2 - 1
    tokens = tokenizer.encode(images)
    assert tokens.dtype == torch.int64
    assert tokens.shape == (3, sum(p * p for p in PATCH_NUMS))
    residual = tokenizer.encoder(images)
    start, side = 0, PATCH_NUMS[-1]
    for k, p in enumerate(PATCH_NUMS):
        vectors = F.interpolate(residual, size=(p, p), mode="area").flatten(2).transpose(1, 2)
        codes = tokenizer.quantize.embedding.weight
        nearest = ((vectors[:, :, None] - codes) ** 2).sum(-1).argmin(-1)
        assert torch.equal(tokens[:, start : start + p * p], nearest)
        maps = tokenizer.quantize.embedding(nearest).transpose(1, 2).reshape(3, 6, p, p)
        if p != side:
            maps = F.interpolate(maps, size=(side, side), mode="bicubic")
        residual = residual - phi(tokenizer, maps, k)
        start += p * p


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"takes \(B, 3, 20, 20\)"):
        light().encode(torch.zeros(1, 3, 24, 24))


def rendered(stream: int, count: int) -> ArraySplit:
    images = shapes.render(0, stream, range(count), side=24)
    return ArraySplit(images_N3HW=images, labels_N=shapes.labels_of(range(count)))


def test_training_is_a_function_of_its_arguments_and_learns():
    images = rendered(0, 400)
    config = TokenizerConfig(
        patch_nums=(1, 2, 3, 4, 6),
        vocab_size=32,
        code_channels=8,
        backbone="light",
        channels=16,
        phis=0,
    )
    training = TokenizerTraining(steps=40, batch=32)
    state_before = torch.random.get_rng_state()
    first = train_tokenizer(images, config, training)
    assert torch.equal(torch.random.get_rng_state(), state_before), "the caller's generator moved"
    again = train_tokenizer(images, config, training)
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name]), name
    untrained = train_tokenizer(images, config, TokenizerTraining(steps=1, batch=32))
    held_out = rendered(2, 100)
    assert reconstruction_psnr(first, held_out) > reconstruction_psnr(untrained, held_out) + 3


def test_codebook_keeps_running_means_and_restarts_dead_codes():
    quantizer = light().quantize
    codebook = Codebook(quantizer, TokenizerTraining(codebook_decay=0.5, restart_below=0.4))
    rng = np.random.default_rng(0)
    vectors = torch.randn(200, 6) + 3
    before = quantizer.embedding.weight[0].clone()
    codebook.update(torch.zeros(200, dtype=torch.long), vectors, rng)
    expected = (0.5 * before + 0.5 * vectors.sum(0)) / (0.5 + 0.5 * 200)
    torch.testing.assert_close(quantizer.embedding.weight[0], expected)
    codebook.update(torch.zeros(200, dtype=torch.long), vectors, rng)
    restarted = quantizer.embedding.weight.detach()[1:]
    on_a_vector = (restarted[:, None] == vectors).all(-1).any(-1)
    assert on_a_vector.all(), "a dead code was not put on a vector of the batch"


@pytest.mark.parametrize("patch_nums", [(1, 2, 3, 5), (1, 2, 4), (2, 3, 7), (1, 2, 3, 4, 6), (3,)])
@torch.no_grad()
def test_resampling_is_interpolate(patch_nums):
    tokenizer = light(phis=0, patch_nums=patch_nums).double()
    quantizer, side = tokenizer.quantize, patch_nums[-1]
    maps = torch.randn(2, 6, side, side).double()
    for k, p in enumerate(patch_nums):
        down = F.interpolate(maps, size=(p, p), mode="area")
        torch.testing.assert_close(
            quantizer.down(maps.flatten(2), k), down.flatten(2), atol=1e-5, rtol=0
        )
        codes = torch.randn(2, 6, p, p).double()
        up = codes if p == side else F.interpolate(codes, size=(side, side), mode="bicubic")
        torch.testing.assert_close(
            quantizer.up(codes.flatten(2), k), up.flatten(2), atol=1e-5, rtol=0
        )


@pytest.mark.parametrize("patch_nums", [(1, 2, 4), (2, 3, 7), (3,)])
@torch.no_grad()
def test_light_shapes_and_ranges_at_any_scales(patch_nums):
    tokenizer = light(phis=2, patch_nums=patch_nums)
    side, length = 4 * patch_nums[-1], sum(p * p for p in patch_nums)
    assert tokenizer.image_side == side
    tokens = tokenizer.encode(torch.rand(2, 3, side, side) * 2 - 1)
    assert tokens.shape == (2, length)
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < tokenizer.vocab_size
    assert tokenizer.teacher_inputs(tokens).shape == (2, length - patch_nums[0] ** 2, 6)
    for parameter in tokenizer.decoder.parameters():
        parameter.mul_(50)
    images = tokenizer.decode(tokens)
    assert images.shape == (2, 3, side, side)
    assert images.min() == -1
    assert images.max() == 1


def test_tokens_carry_no_gradient_and_channels_are_checked():
    tokenizer = light()
    images = torch.zeros(1, 3, 20, 20, requires_grad=True)
    tokens = tokenizer.encode(images)
    assert not tokenizer.teacher_inputs(tokens).requires_grad
    assert not tokenizer.decode(tokens).requires_grad
    with pytest.raises(UserError, match=r"takes \(B, 3, 20, 20\)"):
        tokenizer.encode(torch.zeros(1, 1, 20, 20))


@torch.no_grad()
def test_nearest_code_against_brute_force():
    quantizer = light().double().quantize
    vectors = torch.randn(4, 50, 6).double() * 2
    distances = torch.stack(
        [((vectors - code) ** 2).sum(-1) for code in quantizer.embedding.weight], dim=-1
    )
    assert torch.equal(quantizer.nearest(vectors), distances.argmin(-1))
    # A code is nearest to itself.
    codes = quantizer.embedding.weight[None]
    assert torch.equal(quantizer.nearest(codes), torch.arange(31)[None])


@torch.no_grad()
def test_an_image_does_not_depend_on_its_batch():
    tokenizer = light().double()
    images = torch.rand(5, 3, 20, 20).double() * 2 - 1
    tokens = tokenizer.encode(images)
    for i in range(5):
        assert torch.equal(tokenizer.encode(images[i : i + 1]), tokens[i : i + 1])


def test_which_phi_a_scale_uses():
    """The reference's rule in NumPy, ties between two phis included; official scales pinned."""
    assert Phis(4, 2, 10).of_scale == [0, 0, 1, 1, 1, 2, 2, 3, 3, 3]
    assert Phis(4, 2, 5).of_scale == [0, 1, 2, 2, 3]
    assert Phis(0, 2, 4).of_scale == []
    for count, scales in itertools.product(range(1, 9), range(2, 17)):
        margin = 1 / 3 / count if count == 4 else 1 / 2 / count
        ticks = np.linspace(margin, 1 - margin, count)
        expected = [int(np.argmin(np.abs(ticks - k / (scales - 1)))) for k in range(scales)]
        assert Phis(count, 2, scales).of_scale == expected, (count, scales)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "resnet"}, "backbone 'resnet': use official or light"),
        ({"backbone": "official", "channels": 48}, "channels 48: must be a multiple of 32"),
    ],
)
def test_impossible_configs(change, message):
    sizes = {"patch_nums": (1, 2), "vocab_size": 8, "code_channels": 4}
    with pytest.raises(UserError, match=message):
        TokenizerConfig(**(sizes | {"backbone": "light", "channels": 8} | change))
